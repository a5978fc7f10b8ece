"""What there is to know of a bucket before it is opened: how DEST is written, and what opens it.

What may live here: see ``remotes.Scheme``. Light to import: a run with nothing to do needs no more.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from msgspec.structs import replace

from reconcile.core.job import Job, Reporter, Target
from reconcile.core.model import Caps
from reconcile.remotes import FORGETFUL, Memory, Opener, Remote, plain
from reconcile.remotes.s3.ability import Ability, unpack
from reconcile.remotes.s3.keys import is_plain
from reconcile.remotes.s3.settings import Bucket, Settings, of_job, read_rules
from reconcile.remotes.urls import URL, fold_path, refuse

FORMS = "s3://bucket/prefix"
TAKES = frozenset(
    {
        "acl",
        "cache_control",
        "channels",
        "content_type",
        "dirs",
        "endpoint",
        "path_style",
        "profile",
        "region",
        "sse",
        "storage_class",
    }
)
CAPS = Caps(
    dirs=False,
    empty_dirs=True,
    links=False,
    modes=False,
    times=False,
    rename=False,
    copy=True,
)

own_files, doubt = plain.own_files, plain.doubt  # keys are where boto3 finds them

_BUCKET = r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}"
_ENDPOINT = r"https?://[^\s/@?#]+(/[^\s?#]*)?"
_WORD = r"[A-Za-z0-9:/._-]+"
_MOST_CHANNELS = 256
_DIRS = ("keep", "ignore")


def parse(text: str) -> Bucket | None:
    """``s3://bucket/prefix``. The prefix is taken as it is, as all that know such URLs do: no ``%XX``."""
    url = URL.fullmatch(text)
    if url is None:
        return None
    bucket, _, prefix = url[2].partition("/")
    if "@" in bucket or ":" in bucket:
        refuse(
            "DEST: a bucket is named s3://bucket/prefix. Keys never belong in a URL: boto3 finds them in "
            "the environment, in ~/.aws or by --profile; a server other than AWS's is named by --endpoint"
        )
    if not re.fullmatch(_BUCKET, bucket):
        refuse(f"DEST: this is not the name of a bucket; write {FORMS}")
    try:
        prefix.encode()
    except UnicodeEncodeError:
        refuse("DEST: the prefix is no UTF-8, and keys on S3 are")
    if not is_plain(prefix):
        refuse("DEST: the prefix holds a control character, which few servers can list by")
    return Bucket(bucket, fold_path("/" + prefix)[1:])


def be_told(
    target: Target,
    flags: Mapping[str, Any],
    *,
    timeout: float | None,
    interactive: bool,  # noqa: ARG001 - nobody is asked
) -> tuple[Bucket, Settings]:
    """See ``Scheme``. The endpoint is a part of where DEST is: another one is another place."""
    assert isinstance(target, Bucket)
    told = dict(flags)
    endpoint = told.pop("endpoint", None) or _endpoint_of_environment()
    if endpoint:
        if not re.fullmatch(_ENDPOINT, endpoint):
            refuse("--endpoint takes the URL of a server, such as https://s3.example.org, with no keys in it")
        target = replace(target, endpoint=endpoint.rstrip("/"))
    for name in ("region", "storage_class", "sse", "acl"):
        if name in told and not re.fullmatch(_WORD, told[name]):
            refuse(f"--{name.replace('_', '-')}: this is no such name")
    for name in ("content_type", "cache_control"):
        if name in told:
            told[name] = read_rules(tuple(told[name]), f"--{name.replace('_', '-')}")
    if told.get("dirs", "keep") not in _DIRS:
        refuse("--dirs takes keep or ignore")
    if not 1 <= told.get("channels", 1) <= _MOST_CHANNELS:
        refuse(f"--channels takes a number from 1 to {_MOST_CHANNELS}")
    return target, Settings(**told, timeout=timeout or Settings().timeout)


def _endpoint_of_environment() -> str:
    """What boto3 would find there, and what makes it another place. One in ~/.aws/config it finds itself."""
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return ""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def folders(target: Target, workdir: str | None) -> Mapping[str, str]:
    """Nothing: it is on a server."""
    assert isinstance(target, Bucket)
    if workdir is not None and workdir.startswith("~"):
        refuse("--remote-workdir: there is no home folder in a bucket; write /prefix/in/the/bucket")
    if workdir is not None and workdir.rstrip("/") == target.path.rstrip("/"):
        refuse("--remote-workdir: name a folder of its own, not DEST")
    return {}


def may_open_early(job: Job) -> bool:  # noqa: ARG001 - whatever it is
    """Importing boto3 is what takes long."""
    return True


def load() -> None:
    """Import what opening needs; where boto3 is not installed, opening says so."""
    try:
        import_module("reconcile.remotes.s3.open")
    except ImportError:
        pass


def recall_caps(job: Job, memory: Memory) -> Caps:
    """What S3 can do, but for what this server is known not to."""
    return caps_for(of_job(job)[1], unpack(memory.recall()))


def caps_for(settings: Settings, can: Ability) -> Caps:
    """The same, as far as it is wanted."""
    shows_empty = settings.dirs == "keep" and (can.keeps_slashes or not can.known)
    return CAPS if shows_empty else replace(CAPS, empty_dirs=False)


def make_opener() -> Opener:
    """See ``Scheme``."""
    return _Opener()


class _Opener:
    """Asks nobody for anything."""

    waited = 0.0

    def __call__(self, job: Job, reporter: Reporter, memory: Memory = FORGETFUL) -> Remote:
        """Make ready to call the job's target. Nothing is asked of it before there is something to ask."""
        from reconcile.remotes.s3.open import open_bucket

        return open_bucket(job, reporter, memory)
