"""From a job to a bucket that can be asked: boto3 finds credentials, region and profile in its own way.

What may live here: what the client is told before its first request. Nothing is asked of the server. Of boto3
its core is imported, botocore, which does all of that: the rest of it takes a fifth longer.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from reconcile.core.errors import TurnedAway, UsageError
from reconcile.core.job import Job, Reporter
from reconcile.remotes import Memory, Remote
from reconcile.remotes.s3.settings import Bucket, Settings, of_job
from reconcile.remotes.words import one_line

_NO_ANSWER = b"<Error><Code>NoAnswer</Code><Message>it does not say what was deleted</Message></Error>"
TRIES = 4  # of one request, by botocore, before it counts as lost


def open_bucket(job: Job, reporter: Reporter, memory: Memory) -> Remote:
    """The remote of a job. Raises UsageError for what boto3 can't work with, TurnedAway without keys."""
    bucket, settings = of_job(job)
    try:
        botocore = import_module("botocore.session")
    except ImportError:
        raise UsageError(
            "DEST is on S3, and boto3 is not installed here: pip install 'reconcile-sftp[s3]'"
        ) from None
    from reconcile.remotes.s3.quick import make_quick
    from reconcile.remotes.s3.remote import S3Remote
    from reconcile.remotes.s3.service import Service

    session, client = _make_client(botocore, bucket, settings, job.options.timeout)
    where = f"{bucket.endpoint or client.meta.endpoint_url}, bucket {bucket.bucket}"
    service = Service(client, bucket.bucket, where, make_quick(client, session, bucket.bucket))
    return S3Remote(service, bucket, settings, job.options, reporter, memory)


def _make_client(botocore: Any, bucket: Bucket, settings: Settings, patience: float) -> tuple[Any, Any]:
    exceptions, config = import_module("botocore.exceptions"), import_module("botocore.config")
    # What servers other than AWS's make of checksums that botocore adds by itself is not known: we send ours.
    asked = config.Config(
        connect_timeout=settings.timeout,
        read_timeout=patience,
        max_pool_connections=settings.channels + 4,
        retries={"mode": "standard", "total_max_attempts": TRIES},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        parameter_validation=True,
        user_agent_extra="reconcile",
        s3={"addressing_style": "path" if settings.path_style or _needs_path(bucket) else "auto"},
    )
    try:
        session = botocore.Session(profile=settings.profile)
        parsers = session.get_component("response_parser_factory")  # as the AWS CLI tells it, too
        parsers.set_parser_defaults(timestamp_parser=read_time)
        loader = session.get_component("data_loader")  # which would look for files in each of 400 folders
        loader.list_available_services = lambda _: [
            name for path in filter(os.path.isdir, loader.search_paths) for name in os.listdir(path)
        ]
        region = settings.region or session.get_config_variable("region")
        client = session.create_client(
            "s3",
            region_name=region or "us-east-1",  # which AWS corrects, and others don't heed
            endpoint_url=bucket.endpoint or None,
            config=asked,
        )
        if session.get_credentials() is None:
            raise TurnedAway(
                "boto3 finds no credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, fill "
                "~/.aws/credentials, or name a --profile. Nothing was done."
            )
    except exceptions.ProfileNotFound as error:
        raise UsageError(f"--profile: {one_line(str(error))}") from None
    except (exceptions.BotoCoreError, ValueError) as error:
        raise UsageError(f"boto3 can't work with this: {one_line(str(error))}") from None
    client.meta.events.register_first(
        "needs-retry.s3", import_module(f"{__package__}.silence").give_up_silence
    )
    client.meta.events.register("before-call.s3.DeleteObjects", _add_md5)
    client.meta.events.register("before-parse.s3.DeleteObjects", doubt_deletes)
    client.meta.events.register("before-parse.s3.DeleteObject", doubt_a_delete)
    return session, client


def _needs_path(bucket: Bucket) -> bool:
    """Whether the bucket's name can't be the beginning of a host's: by number, or with capitals."""
    return bucket.bucket != bucket.bucket.lower() or "_" in bucket.bucket


def read_time(text: Any) -> Any:
    """One of each item of a listing: botocore's own way takes longer than all else that is done with it."""
    try:
        when = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return import_module("botocore.utils").parse_timestamp(text)
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def doubt_deletes(response_dict: dict[str, Any], **_: object) -> None:
    """Of what was deleted nothing is told: any other answer would look as if all was."""
    if response_dict["status_code"] == 200 and b"DeleteResult" not in response_dict["body"]:
        response_dict.update(status_code=500, body=_NO_ANSWER)  # as botocore itself has it with others


def doubt_a_delete(response_dict: dict[str, Any], **_: object) -> None:
    """To one delete S3 answers 204, and nothing more."""
    if response_dict["status_code"] == 200 and response_dict["body"].strip():
        response_dict.update(status_code=500, body=_NO_ANSWER)


def _add_md5(params: dict[str, Any], **_: object) -> None:
    """Older servers insist on it, as S3 itself did before there were other checksums. That botocore would
    add another one where S3 wants any is taken back: some servers refuse it."""
    import base64
    import hashlib

    body = params.get("body")
    if isinstance(body, bytes) and "Content-MD5" not in params["headers"]:
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
    params.get("context", {}).pop("checksum", None)
