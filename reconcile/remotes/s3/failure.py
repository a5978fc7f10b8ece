"""What a server's refusals mean, and what may be asked once more.

What may live here: error codes of S3 (its API reference, "Error responses"), made ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconcile.core.errors import ConnectionLost
from reconcile.core.model import Problem, Reason, Stage
from reconcile.remotes.words import one_line

SLOW = {"SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "TooManyRequests", "503", "429"}
UNSIGNED = "SignatureDoesNotMatch"
# Of us, not of what was asked: whatever else is asked would be refused as well.
KEYS = {
    "ExpiredToken": "the credentials have expired",
    "ExpiredTokenException": "the credentials have expired",
    "TokenRefreshRequired": "the credentials have expired",
    "InvalidToken": "the session token is not valid",
    "InvalidAccessKeyId": "it does not know the access key",
    UNSIGNED: "the secret key does not fit the access key",
    "RequestTimeTooSkewed": "the clock here and the server's differ by too much: set it right",
    "RequestExpired": "the clock here and the server's differ by too much: set it right",
    "AccountProblem": "there is a problem with the account",
    "NotSignedUp": "the account has no S3",
    "InvalidSecurity": "the credentials are not valid",
}
REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_NO_SPACE = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "StorageFull", "507"}
_BAD_NAME = {"KeyTooLongError", "XMinioInvalidObjectName", "InvalidObjectName", "InvalidURI"}


class Failing(ConnectionLost):
    """The server says that it failed. What was asked for may be done, or not."""


class Refusal(Exception):
    """What was asked for was refused, and only that."""

    def __init__(self, code: str, status: int, message: str = "") -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.status = status
        self.message = message

    @property
    def is_absent(self) -> bool:
        """There is no such key; or no such upload."""
        return self.status == 404 and self.code != "NoSuchBucket"

    @property
    def is_unmet(self) -> bool:
        """What is there is not what the request was made for, or somebody is at it at the same time."""
        return self.status == 412 or (self.status == 409 and self.code == "ConditionalRequestConflict")

    @property
    def is_unsigned(self) -> bool:
        """The server makes another signature of this name than we do, if it has taken others."""
        return self.code == UNSIGNED

    @property
    def is_unknown(self) -> bool:
        """The server does not know such a request at all."""
        return self.status in (405, 501)

    @property
    def is_denied(self) -> bool:
        """We may not."""
        return self.status in (401, 403)


def refusal_of(response: Mapping[str, Any]) -> Refusal:
    """What a reply that is an error says."""
    error = response.get("Error", {})
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return Refusal(str(error.get("Code", status)), status, one_line(str(error.get("Message") or "")))


def explain(path: str, doing: str, refusal: Refusal) -> Problem:
    """A refusal as the problem of a path."""
    code = refusal.code
    if refusal.is_unsigned:
        said = f"{doing}: of such a name the server makes another signature than we do ({refusal})"
        return problem(path, Reason.BAD_NAME, said)
    if refusal.is_denied:
        said = f"{doing}: the server denies it ({refusal}). Its policy has to allow that to these credentials"
        return problem(path, Reason.DENIED, said)
    if code in _NO_SPACE:
        return problem(path, Reason.NO_SPACE, f"{doing}: there is no room on the server ({refusal})")
    if code in _BAD_NAME:
        return problem(path, Reason.BAD_NAME, f"{doing}: the server takes no such name ({refusal})")
    if code == "EntityTooLarge":
        return problem(path, Reason.UNSUPPORTED, f"{doing}: it is too large for the server ({refusal})")
    return problem(path, Reason.FAILED, f"{doing}: the server refuses ({refusal})")


def problem(path: str, reason: Reason, message: str) -> Problem:
    """One path that could not be done."""
    return Problem(path, Stage.APPLY, reason, message)
