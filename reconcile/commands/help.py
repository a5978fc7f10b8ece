"""The help of commands with many options: in groups, as somebody looks for them."""

from __future__ import annotations

import click

from reconcile.jobs.settings import key_of

_GROUPS = {
    "What is sent": (
        *("exclude", "include", "exclude_from", "default_excludes", "growing", "only", "min_age", "links"),
        *("times", "perms", "chmod", "name", "site", "user", "config", "job", "state"),
    ),
    "Deleting": (
        *("mirror", "delete_excluded", "max_delete", "allow_mass_delete", "adopt_orphans", "keep"),
        *("trash", "trash_replaced", "keep_releases"),
    ),
    "The server": (
        *("remote_workdir", "port", "identity", "known_hosts", "host_key", "ssh_config"),
        *("retries", "retry_max_wait", "timeout", "limit_rate", "fsync"),
    ),
    "Caution": (
        *(
            "dry_run",
            "plan",
            "strict",
            "deep",
            "sample",
            "budget",
            "fix",
            "yes",
            "adopt_existing",
            "adopt_by",
        ),
        *(
            "keep_remote_links",
            "on_drift",
            "refresh",
            "on_stale",
            "check_mark",
            "start_over",
            "release_held",
            "moved_from",
        ),
        *("adopt_by", "rehash", "ignore_inode", "ignore_ctime", "lock", "wait", "before", "after", "publish"),
        "last",
    ),
    "Output": (
        *(
            "ping",
            "on_success",
            "on_failure",
            "events",
            "detailed_exitcode",
            "out",
            "json",
            "verbose",
            "quiet",
        ),
        "help",
    ),
}
_GROUP_OF = {key: title for title, keys in _GROUPS.items() for key in keys}


class Grouped(click.Command):
    """A command with all that may be said of a job. An option of no group is told where that before it is."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does it, but in groups."""
        groups: dict[str, list[tuple[str, str]]] = {title: [] for title in _GROUPS}
        title = next(iter(_GROUPS))
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if isinstance(parameter, click.Option) and record is not None:
                title = _GROUP_OF.get(key_of(parameter), title)
                groups[title].append(record)
        for title, records in groups.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as click calls it
        """What holds of all of them."""
        formatter.write_paragraph()
        formatter.write_text(
            "DEST is user@host:path, sftp://[user@]host[:port]/path, s3://bucket/prefix, or a folder here, "
            "./folder. Options may also stand in reconcile.toml, max_delete for --max-delete, and in the "
            "environment, RECONCILE_MAX_DELETE."
        )
