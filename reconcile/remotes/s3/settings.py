"""What is told of a bucket: where it is, and how what we put there shall be.

What may live here: nouns, and what options mean by themselves. Light to import.
"""

from __future__ import annotations

from msgspec import Struct

from reconcile.core.errors import UsageError
from reconcile.core.filters import Filter, make_filter
from reconcile.core.job import Job

KMS = "aws:kms"
CHANNELS = 16  # requests under way at a time: threads, and connections


class Bucket(Struct, frozen=True):
    """A DEST in a bucket. ``endpoint``: whose; "": the one that boto3 finds, which is AWS's mostly."""

    bucket: str
    prefix: str = ""  # without a slash at either end
    endpoint: str = ""

    scheme = "s3"

    @property
    def name(self) -> str:
        """The bucket's."""
        return self.bucket

    @property
    def path(self) -> str:
        """The prefix, as a folder."""
        return f"/{self.prefix}"

    def __str__(self) -> str:
        place = f"s3://{self.bucket}/{self.prefix}"
        return f"{place}?endpoint={self.endpoint}" if self.endpoint else place


class Ruled(Struct, frozen=True):
    """A value for all files that a pattern matches."""

    pattern: str  # a line of gitignore(5)
    value: str


class Settings(Struct, frozen=True):
    """What flags say. What they don't, boto3 finds in its own places."""

    profile: str | None = None
    region: str | None = None
    path_style: bool = False
    storage_class: str | None = None
    sse: str | None = None  # "AES256", "aws:kms", or the key for that
    acl: str | None = None
    content_type: tuple[Ruled, ...] = ()
    cache_control: tuple[Ruled, ...] = ()
    dirs: str = "keep"
    channels: int = CHANNELS
    timeout: float = 30.0  # seconds that connecting may take


def of_job(job: Job) -> tuple[Bucket, Settings]:
    """Where a job sends to. It is for a bucket."""
    assert isinstance(job.target, Bucket)
    assert isinstance(job.login, Settings)
    return job.target, job.login


def read_rules(texts: tuple[str, ...], option: str) -> tuple[Ruled, ...]:
    """``PATTERN=VALUE``, split at the first ``=``. Raises UsageError."""
    rules = []
    for text in texts:
        pattern, equals, value = text.partition("=")
        if not equals or not pattern.strip() or not value.strip() or not value.isprintable():
            raise UsageError(f"{option} takes PATTERN=VALUE, such as '*.html=no-cache'")
        if not value.isascii():
            raise UsageError(f"{option}: what a header holds is ASCII")
        _filter_of(pattern)  # raises UsageError for one that it can't understand
        rules.append(Ruled(pattern, value.strip()))
    return tuple(rules)


class Rules:
    """The value that the last pattern to match a path gives it."""

    def __init__(self, rules: tuple[Ruled, ...]) -> None:
        self._rules = [(_filter_of(rule.pattern), rule.value) for rule in reversed(rules)]

    def of(self, path: str) -> str | None:
        """None: no pattern matches."""
        return next((value for matches, value in self._rules if matches.excludes(path, is_dir=False)), None)


def _filter_of(pattern: str) -> Filter:
    return make_filter((pattern,))
