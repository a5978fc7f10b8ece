"""The options that plan and run share, in the order of the help.

What may live here: what is typed and how it is told of. What it means is ``config``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from reconcile.core.job import AdoptBy, Fsync, Links, Lock, OnDrift, OnStale, Options, Perms, Release
from reconcile.core.model import Publish

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_Command = TypeVar("_Command", bound=Callable[..., Any])
_DEFAULTS = Options()
_DEST = click.argument("target", metavar="DEST")


def _complete_names(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of jobs, for a shell, and a file's name. Then the context holds who knows them."""
    from click.shell_completion import CompletionItem

    names = [name for name in context.obj(context.params.get("config")) if name.startswith(begun)]
    return [*map(CompletionItem, names), *([] if names else [CompletionItem(begun, type="file")])]


_CONFIG = click.option(
    "--config",
    metavar="FILE",
    help="The file of jobs.  [default: reconcile.toml here or in a folder above, or the user's]",
)
_JOBS = [
    click.argument("names", nargs=-1, metavar="[JOB]... | SRC DEST", shell_complete=_complete_names),
    _CONFIG,
]
_OPTIONS = [
    click.option(
        "--ci",
        is_flag=True,
        help="For a job of a CI: --state remote, --times ignore, --chmod D755,F644, --check-mark and "
        "--default-excludes, where nothing else is said of these.",
    ),
    click.option("--mirror", is_flag=True, help="Delete on the remote what was deleted here."),
    click.option(
        "--adopt-existing",
        is_flag=True,
        help="First run against a folder that holds files: equal size and time, or equal content, counts as "
        "sent, files that differ are kept in the trash there and replaced, nothing else is touched.",
    ),
    click.option(
        "--adopt-by",
        type=click.Choice([choice.value for choice in AdoptBy]),
        default=_DEFAULTS.adopt_by.value,
        show_default=True,
        help="With that, what makes a file of equal size count as sent: an equal time; that or, where it is "
        "another or times are ignored, equal content, read back; or nothing more.",
    ),
    click.option(
        "--adopt-orphans",
        is_flag=True,
        help="With --mirror: list DEST, and delete what SRC does not have, whoever put it there. Once.",
    ),
    click.option(
        "--keep-remote-links",
        is_flag=True,
        help="Leave a link on the remote where there is a folder here (uploads -> ../shared/uploads), and "
        "bring nothing into it.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        metavar="PATTERN",
        help="Leave out, gitignore syntax; repeatable. A .reconcileignore in SRC is read first.",
    ),
    click.option(
        "--include",
        multiple=True,
        metavar="PATTERN",
        help="Take back in what an exclude left out; repeatable.",
    ),
    click.option(
        "--exclude-from", multiple=True, metavar="FILE", help="Read exclude patterns from FILE; repeatable."
    ),
    click.option(
        "--default-excludes/--no-default-excludes",
        default=False,
        help="Leave out .git, .hg, .svn, .DS_Store and Thumbs.db, and tell how many; --include takes one "
        "back in.",
    ),
    click.option(
        "--delete-excluded",
        is_flag=True,
        help="With --mirror: delete on the remote also what this job has sent and leaves out by now.",
    ),
    click.option(
        "--growing",
        multiple=True,
        metavar="PATTERN",
        help="What is only added to, as *.log is: while that goes on, send what was in it; repeatable.",
    ),
    click.option(
        "--only",
        multiple=True,
        metavar="PATH",
        help="Nothing but this path in SRC and what is in it, this time: all else is neither touched nor "
        "forgotten; repeatable.",
    ),
    click.option(
        "--min-age",
        metavar="TIME",
        help="Leave to the next run what changed within the last 30s, 5m or 2h, say: files that may still be "
        "written.",
    ),
    click.option(
        "--publish",
        type=click.Choice([choice.value for choice in Publish]),
        default=_DEFAULTS.publish.value,
        show_default=True,
        help="Put each file in its place as soon as it is there whole, or none before all are: then all at "
        "once, documents last (if one can't be brought none is published, and what has come by then is not "
        "sent again); or make a release of all, a folder in DEST/releases, and have the link DEST/current "
        "lead there.",
    ),
    click.option(
        "--publish-partial",
        is_flag=True,
        help="With --publish end or release: let the rest go if some files can't be brought.",
    ),
    click.option(
        "--shared",
        multiple=True,
        metavar="PATH",
        help="With --publish release: what the site writes itself. It is DEST/shared/PATH in all releases; "
        "repeatable.",
    ),
    click.option(
        "--leave-foreign",
        is_flag=True,
        help="With --publish release: go on though the release before holds what is not ours; it stays.",
    ),
    click.option(
        "--keep-releases",
        type=int,
        default=Release().keep,
        metavar="N",
        help="With --publish release: so many stay, the one that is shown counted.  "
        f"[default: {Release().keep}]",
    ),
    click.option(
        "--last",
        multiple=True,
        metavar="PATTERN",
        help="Documents that name others, and so come after all else, as *.html, index.* and .htaccess do "
        "anyway; '!*.html' takes back; repeatable.",
    ),
    click.option(
        "--links",
        type=click.Choice([links.value for links in Links]),
        default=Links.KEEP.value,
        show_default=True,
        help="Symlinks: send as links, send what they point to, or leave out.",
    ),
    click.option(
        "--times",
        type=click.Choice(["keep", "ignore"]),
        default="keep",
        show_default=True,
        help="Modification times of files.",
    ),
    click.option(
        "--perms",
        type=click.Choice([perms.value for perms in Perms]),
        default=Perms.KEEP.value,
        show_default=True,
        help="Permission bits (0777): those from here, those that DEST gives, or for what is new those from "
        "here, while what is replaced keeps what it has there.",
    ),
    click.option(
        "--chmod",
        metavar="CHMOD",
        help="Permission bits instead of those here, whatever --perms says: D755,F644, or Dgo=rx,Fu+w, with "
        "D for directories and F for files.",
    ),
    click.option(
        "--max-delete",
        metavar="N|P%",
        help="Refuse to delete more than N entries or P per cent of all.  [default: 50% beyond 20 entries]",
    ),
    click.option("--allow-mass-delete", is_flag=True, help="Delete however much it is, this time."),
    click.option(
        "--on-drift",
        type=click.Choice([choice.value for choice in OnDrift]),
        default=_DEFAULTS.on_drift.value,
        show_default=True,
        help="Where DEST holds what we did not put there: keep it in the trash there and go on, "
        "leave it in place and report it, or overwrite it.",
    ),
    click.option(
        "--keep",
        metavar="AGE",
        default="ever",
        show_default=True,
        help="Purge what is kept in the trash there once it is older than 12h, 30d or 8w, say.",
    ),
    click.option(
        "--trash",
        metavar="AGE|SIZE",
        default="none",
        show_default=True,
        help="Keep there what is deleted or replaced, for 30d, say, or up to 5GB, or 30d,5GB; see 'trash'.",
    ),
    click.option(
        "--trash-replaced/--no-trash-replaced",
        default=True,
        help="With it, what is replaced is kept, too, and not only what is deleted.  [default: it is]",
    ),
    click.option(
        "--refresh",
        is_flag=True,
        help="List DEST first, and bring again what is no longer there as it was left.",
    ),
    click.option(
        "--on-stale",
        type=click.Choice([choice.value for choice in OnStale]),
        default=_DEFAULTS.on_stale.value,
        show_default=True,
        help="Where the mark on DEST shows that it is older or newer than the state here (a restored backup "
        "or cache, another machine): do as with --refresh, or refuse.",
    ),
    click.option(
        "--check-mark",
        is_flag=True,
        help="Connect and look at that mark even if nothing changed here.",
    ),
    click.option(
        "--start-over",
        is_flag=True,
        help="Forget what this job has sent, and take DEST as it is now, as with --adopt-existing. Once: "
        "later runs go on from there.",
    ),
    click.option(
        "--again",
        "release_held",
        is_flag=True,
        help="Bring up to SRC again what 'reconcile undo' has taken back. Once.",
    ),
    click.option(
        "--moved-from",
        metavar="PATH",
        help="SRC was there before: take over what is known of it. Once.",
    ),
    click.option(
        "--job",
        metavar="NAME",
        help="Know what was sent to DEST by this name instead of by the path of SRC, which may then be "
        "another each time.",
    ),
    click.option("--rehash", is_flag=True, help="Read every file again instead of trusting its times."),
    click.option("--ignore-inode", is_flag=True, help="For file systems whose inode numbers change."),
    click.option("--ignore-ctime", is_flag=True, help="For file systems whose change times lie."),
    click.option(
        "--state",
        metavar="DIR|remote",
        help="Where snapshots are kept: in DIR, or at DEST, under the name that --job gives, for runs from "
        "any machine (each then connects).  [default: the user's state directory]",
    ),
    click.option(
        "--remote-workdir", metavar="PATH", help="Our folder with DEST.  [default: .reconcile in DEST]"
    ),
]
_PORT = click.option("--port", type=int, metavar="N", help="SSH port; wins over the one in DEST.")
_KNOWN_HOSTS = click.option(
    "--known-hosts", metavar="FILE", help="Known host keys.  [default: ~/.ssh/known_hosts]"
)
_SSH_CONFIG = click.option(
    "--ssh-config",
    metavar="FILE",
    help="SSH configuration, in the place of ~/.ssh/config and the machine's; 'none': neither.",
)
_REACHING = [  # DEST: what other commands need as well
    _PORT,
    click.option("--identity", metavar="FILE", help="Private key; only this one is offered."),
    _KNOWN_HOSTS,
    click.option(
        "--host-key",
        multiple=True,
        metavar="KEY",
        help="The key that the host has to show: its fingerprint (SHA256:…), or a line as in known_hosts; "
        "repeatable. No file is asked then.",
    ),
    _SSH_CONFIG,
    click.option(
        "--accept-new-host-key",
        is_flag=True,
        help="Enrol the key of an unknown host; never a changed one.",
    ),
    click.option(
        "--password-env",
        metavar="NAME",
        help="Environment variable with the password or the key's passphrase.",
    ),
    click.option(
        "--password-command",
        metavar="CMD",
        help="What the shell runs to have the password printed (pass show nas), and for nothing else.",
    ),
    click.option("--passphrase-command", metavar="CMD", help="The same for the passphrase of the key."),
    click.option("--compress", is_flag=True, help="Compress on the wire."),
    click.option(
        "--channels",
        type=click.IntRange(min=1),
        metavar="N",
        help="Open no more than N channels to the server at a time. What it refuses of them is remembered.  "
        "[default: 8, for large files far away; on S3 16 connections]",
    ),
    click.option(
        "--endpoint",
        metavar="URL",
        help="S3: the server, if it is not AWS's.  [default: what boto3 finds, AWS_ENDPOINT_URL_S3 say]",
    ),
    click.option(
        "--profile", metavar="NAME", help="S3: whose credentials in ~/.aws.  [default: AWS_PROFILE]"
    ),
    click.option("--region", metavar="NAME", help="S3: where the bucket is.  [default: what boto3 finds]"),
    click.option("--path-style", is_flag=True, help="S3: the bucket in the path of URLs, not in the host."),
    click.option("--storage-class", metavar="NAME", help="S3: for what is sent, STANDARD_IA say."),
    click.option(
        "--sse",
        metavar="AES256|aws:kms|KEY",
        help="S3: encrypt there, with the KMS key of this id if it is one.",
    ),
    click.option("--acl", metavar="NAME", help="S3: a canned ACL for what is sent, public-read say."),
    click.option(
        "--content-type",
        multiple=True,
        metavar="PATTERN=TYPE",
        help="S3: another type than the suffix tells, for what a pattern of gitignore matches; repeatable.",
    ),
    click.option(
        "--cache-control",
        multiple=True,
        metavar="PATTERN=VALUE",
        help="S3: that header, '*.html=no-cache' say, for what is sent from now on; the last match wins; "
        "repeatable.",
    ),
    click.option(
        "--dirs",
        type=click.Choice(["keep", "ignore"]),
        help="S3: an empty folder as a key with a slash at its end, or not at all.  [default: keep]",
    ),
    click.option(
        "--transport",
        type=click.Choice(["auto", "paramiko", "ssh"]),
        help="What speaks SSH: the library that comes with reconcile, or OpenSSH's own client as a process, "
        "which follows all that may be configured; auto takes that where the configuration needs it.  "
        "[default: auto]",
    ),
    click.option(
        "--ssh-command",
        metavar="CMD",
        help="OpenSSH's client, with options it is always given.  [default: ssh]",
    ),
]
_TOLD = [  # who hears of a run
    click.option(
        "--ping",
        metavar="URL",
        help="A check of healthchecks.io or the like: told when a run starts, and whether it went well.",
    ),
    click.option(
        "--before",
        metavar="CMD",
        help="What the shell runs here before the run. If it fails the run is not made.",
    ),
    click.option("--after", metavar="CMD", help="The same after the run, however that ended."),
    click.option(
        "--on-success",
        metavar="CMD",
        help="The same when the run went well; how it went is on its stdin, and in RECONCILE_RUN_*.",
    ),
    click.option("--on-failure", metavar="CMD", help="The same when it did not."),
    click.option(
        "--events",
        metavar="FILE",
        help="Write a line of JSON for each thing that happens, as it happens, to the end of FILE, or with - "
        "to stdout, and all else to stderr.",
    ),
]
_TIMEOUT = click.option(
    "--timeout",
    type=float,
    default=_DEFAULTS.timeout,
    metavar="SECONDS",
    help="A server that answers nothing and takes nothing for so long counts as a connection that broke; "
    "also how long connecting may take, which else is 30.  "
    f"[default: {_DEFAULTS.timeout:g}]",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, whatever happens.")
_PATIENCE = [
    click.option(
        "--retries",
        type=int,
        default=_DEFAULTS.retries,
        metavar="N",
        help="How often in a row to try again to connect, at first and after the connection broke, if "
        "nothing got done in between. A refusal that will not change is final at once.  "
        f"[default: {_DEFAULTS.retries}]",
    ),
    click.option(
        "--retry-max-wait",
        type=float,
        default=_DEFAULTS.retry_max_wait,
        metavar="SECONDS",
        help=f"Longest pause before that.  [default: {_DEFAULTS.retry_max_wait:g}]",
    ),
    _TIMEOUT,
    click.option(
        "--limit-rate",
        metavar="RATE",
        help="Send no more than so many bytes a second, 500k or 2M, say; also where they are read back.",
    ),
    click.option(
        "--fsync",
        type=click.Choice([choice.value for choice in Fsync]),
        default=_DEFAULTS.fsync.value,
        show_default=True,
        help="Have the server bring to its disk what it got: where it costs little (up to 1,000 files, and "
        "files of 1 MiB and more), all files, or none.",
    ),
    click.option(
        "--lock",
        type=click.Choice([choice.value for choice in Lock]),
        default=_DEFAULTS.lock.value,
        show_default=True,
        help="Keep out other runs of this job that use the same state here, or on the server those of all "
        "machines. A run with nothing to do takes none there.",
    ),
    click.option(
        "--wait",
        type=float,
        default=_DEFAULTS.wait,
        metavar="SECONDS",
        help="If another run of this job is at work, wait for it to end, so long at most.  "
        f"[default: {_DEFAULTS.wait:g}]",
    ),
    _JSON,
    click.option("-v", "--verbose", is_flag=True, help="Show every action and note."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something is wrong."),
]


def job_options(command: _Command) -> _Command:
    """Give a command all of them, and what names its jobs."""
    return _give(command, [*_JOBS, *_OPTIONS, *_REACHING, *_PATIENCE[:-3], *_TOLD, *_PATIENCE[-3:]])


def names_options(command: _Command) -> _Command:
    """Give a command what names its jobs, and ``--json``: it only looks at what is known of them here."""
    return _give(command, [*_JOBS, _JSON])


def dest_options(command: _Command) -> _Command:
    """Give a command DEST, and of the options those that say how to reach it."""
    return _give(command, [_DEST, _CONFIG, *_REACHING, _TIMEOUT, _JSON])


def place_options(command: _Command) -> _Command:
    """The same for one that says little."""
    return _give(command, [_DEST, _CONFIG, *_REACHING, _TIMEOUT])


def trust_options(command: _Command) -> _Command:
    """Give a command HOST, and of the options those that say where that is, and whose word counts."""
    return _give(
        command, [click.argument("host", metavar="HOST"), _PORT, _SSH_CONFIG, _KNOWN_HOSTS, _TIMEOUT]
    )


def _give(command: _Command, options: Sequence[Callable[[_Command], _Command]]) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command
