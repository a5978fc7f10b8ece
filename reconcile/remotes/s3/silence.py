"""A server that has fallen silent: who has waited for as long as --timeout says does not wait again.

What may live here: telling that from a connection that broke, in what botocore, urllib3 and sockets raise.
"""

from __future__ import annotations

from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as UrlTimeoutError

from reconcile.remotes.words import one_line

SILENCE = "it has answered nothing, or taken nothing, for as long as --timeout says"
BROKEN = (BotoCoreError, HTTPError, OSError)  # what may be raised where a connection breaks
_SILENT = (TimeoutError, UrlTimeoutError)


def is_silence(error: BaseException) -> bool:
    """Whether nothing came, or nothing was taken, for as long as we wait for that."""
    inner = getattr(error, "kwargs", {}).get(
        "error"
    )  # botocore holds what urllib3 met, which that of sockets
    every = (error, inner, *getattr(inner, "args", ()))
    return any(isinstance(each, _SILENT) and not isinstance(each, NewConnectionError) for each in every)


def explain_loss(error: BaseException) -> str:
    """Why a connection counts as lost."""
    return SILENCE if is_silence(error) else one_line(str(error))


def give_up_silence(caught_exception: BaseException | None, **_: object) -> None:
    """Have botocore ask no more: it would wait as long three times more. Raises what was caught."""
    if caught_exception is not None and is_silence(caught_exception):
        raise caught_exception
