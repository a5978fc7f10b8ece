"""A monitor that expects to hear from a job, and raises the alarm when it does not.

The convention is that of healthchecks.io, which others follow: ``URL/start`` when a run begins, ``URL`` when
it went well, ``URL/N`` with the exit code N when it did not; the body is text. Who knows the URL
may speak for the job, so it is told nowhere.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit, urlunsplit

from reconcile import __version__
from reconcile.core.errors import UsageError
from reconcile.core.job import Ending
from reconcile.report.endings import MOST, tell_end

PATIENCE = 5.0  # seconds for each, with all attempts
_ATTEMPTS = 3
_PAUSE = 0.5  # seconds between two of them
_OPTION = "--ping"
_WRONG = (
    f"{_OPTION} takes the URL of a check, such as https://hc-ping.com/…: http or https, in ASCII, with no "
    "password in it"
)


class Ping:
    """Tells one monitor of one run. Nothing of it ever fails; what did not get there is said."""

    def __init__(self, url: str, say: Callable[[str], None]) -> None:
        """Raises UsageError for a URL that is none. ``say``: how to say that it was not heard."""
        self._url = _split(url)
        self._say = say

    def start(self) -> None:
        """A run begins."""
        self._send("start", "")

    def end(self, ending: Ending) -> None:
        """It ended."""
        self._send(str(ending.exit_code) if ending.exit_code else "", tell_end(ending))

    def _send(self, what: str, text: str) -> None:
        path = "/".join(filter(None, (self._url.path.rstrip("/"), what)))
        body = text.encode("utf-8", "backslashreplace")[-MOST:]
        if why := send(urlunsplit(self._url._replace(path=path)), body):
            self._say(f"the monitor at {self._url.hostname} did not hear of it: {why}")


def send(url: str, body: bytes) -> str:
    """Post it; why it did not get there within ``PATIENCE`` seconds, or ''.

    A thread does it: a server of names that answers nothing can be waited for no other way. It may be
    called out of a signal's handler, which may have come in the middle of importing anything: so what is
    needed is imported by the first call.
    """
    import encodings.idna  # noqa: F401 - by any host's name
    import threading
    import urllib.request  # noqa: F401 - by `_post`

    outcome: list[str] = []
    give_up = time.monotonic() + PATIENCE
    sending = threading.Thread(target=lambda: outcome.append(_post(url, body, give_up)), daemon=True)
    sending.start()
    sending.join(PATIENCE)
    return outcome[0] if outcome else _late()


def _post(url: str, body: bytes, give_up: float) -> str:
    """Again and again while there is time and another attempt may help."""
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    headers = {"User-Agent": f"reconcile/{__version__}", "Content-Type": "text/plain; charset=utf-8"}
    request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - http or https: see _split
    why = _late()
    for attempt in range(_ATTEMPTS):
        time.sleep(_PAUSE if attempt else 0)
        left = give_up - time.monotonic()
        if left <= 0:
            break
        try:
            with urllib.request.urlopen(request, timeout=left):  # noqa: S310 - the same
                return ""
        except urllib.error.HTTPError as error:
            with error:
                why = f"it answered {error.code}"
            if error.code < 500 and error.code != 429:
                return why
        except urllib.error.URLError as error:
            reason = error.reason
            why = reason.strerror or str(reason) if isinstance(reason, OSError) else str(reason)
        except (OSError, HTTPException, ValueError) as error:
            why = str(error) or type(error).__name__
    return why


def _late() -> str:
    return f"no answer within {PATIENCE:g} s"


def _split(url: str) -> SplitResult:
    """Raises UsageError, which does not repeat the URL."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise UsageError(_WRONG) from None
    is_plain = re.fullmatch(r"[!-~]+", url) and "@" not in parts.netloc
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain:
        raise UsageError(_WRONG)
    return parts
