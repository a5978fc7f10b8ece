"""``trust``: a host's key is looked at, compared, and written down."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from reconcile.config import make_flags, make_visit
from reconcile.core.errors import Exit, Refused, Untrusted, UsageError
from reconcile.options import trust_options
from reconcile.remotes.ssh.config import find_settings
from reconcile.remotes.ssh.enrol import enrol
from reconcile.remotes.ssh.enrol import replace as put_in_place
from reconcile.remotes.ssh.known_hosts import Known, Pin, fingerprint, look_up, parse_pins
from reconcile.remotes.ssh.secret import Secrets
from reconcile.remotes.ssh.settings import Settings
from reconcile.remotes.ssh.target import SshTarget, of_job
from reconcile.remotes.ssh.trust import is_new, voucher, why_not

if TYPE_CHECKING:
    from reconcile.process import Session

_HOST = re.compile(r"(?:(.*)@)?(\[[^\]]*\]|[^:/@\[\]]*)(?::([0-9]*))?")


@click.command("trust")
@trust_options
@click.option(
    "--yes-if",
    multiple=True,
    metavar="SHA256:…",
    help="Ask nothing: trust the key with this fingerprint, if the host shows it; repeatable.",
)
@click.option(
    "--replace", is_flag=True, help="Take out the keys that are known of the host, if it shows another now."
)
@click.pass_context
def command(context: click.Context, /, host: str, yes_if: Sequence[str], replace: bool, **values: Any) -> int:
    """Show the key of HOST, and write it down once you say that it is the right one.

    \b
      reconcile trust nas.example.org
      reconcile trust nas.example.org:2222 --yes-if SHA256:…
      reconcile trust nas.example.org --replace      it has another key now

    HOST is a name as for ssh, with a user or a port if need be, or a DEST. Compare the fingerprint with
    what the server's own console or its administrator says. Exits with 4 if it is not trusted.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    pins = [pin for text in yes_if for pin in parse_pins(text, "--yes-if")]
    session: Session = context.obj
    flags = make_flags({"source": "", "target": _as_dest(host), **values})
    job = make_visit(flags, interactive=session.may_ask())
    if not isinstance(job.target, SshTarget):
        raise UsageError("HOST has to be a host that SSH reaches, or a DEST there")
    target, login = of_job(job)
    secrets = Secrets(login)
    settings = find_settings(target, login, _say)
    known = look_up(settings, login)

    from reconcile.remotes.ssh.first_sight import shown_keys  # with paramiko: `--help` imports us, too

    kind, key = _choose(shown_keys(target, settings, login, known, secrets, _say), pins, settings)
    shown = fingerprint(key)
    why = why_not(known, kind, shown)
    if why is None:
        click.echo(f"{known.name} is known already: {voucher(known, shown)}")
        return Exit.OK
    new = is_new(known, shown)
    if not new and not (replace and known.trusted and not known.is_revoked(key)):
        raise Refused(why)
    if not pins:
        _ask(secrets, known, settings, kind, shown)
    try:
        enrol(known, kind, key) if new else put_in_place(known, kind, key)
    except Untrusted as error:
        raise Refused(str(error)) from None
    instead = "" if new else f", in the place of {', '.join(map(str, known.trusted))}"
    click.echo(f"{kind} {shown} of {known.name} was added to {known.file}{instead}")
    return Exit.OK


def _say(text: str) -> None:
    click.echo(f"reconcile: {text}", err=True)


def _as_dest(host: str) -> str:
    """HOST as a URL, if it is no DEST yet. What is no host's name is refused where that is read."""
    if host.count(":") > 1 and not {"/", "[", "@"} & set(host):
        return f"sftp://[{host}]/"
    if (match := _HOST.fullmatch(host)) is None:
        return host
    name = match[2] if ":" in match[2] else match[2].strip("[]")  # as known_hosts spells one with a port
    user = "" if match[1] is None else f"{quote(match[1], safe='')}@"
    return f"sftp://{user}{name}{f':{match[3]}' if match[3] else ''}/"


def _choose(shown: Iterable[tuple[str, bytes]], pins: Sequence[Pin], settings: Settings) -> tuple[str, bytes]:
    """The key that a run would see, or the one that is waited for. Raises Refused if that is not shown."""
    seen: list[str] = []
    for kind, key in shown:
        if not pins or any(pin.fingerprint == fingerprint(key) for pin in pins):
            return kind, key
        seen.append(f"\n  shown:    {kind} {fingerprint(key)}")
    expected = "".join(f"\n  expected: {pin} (--yes-if)" for pin in pins)
    raise Refused(
        f"{settings}, does not show the key that --yes-if names: nothing was written down."
        f"{''.join(seen)}{expected}\n"
        "Somebody may be intercepting the connection, or the fingerprint is another server's."
    )


def _ask(secrets: Secrets, known: Known, settings: Settings, kind: str, shown: str) -> None:
    """Have the user compare. Raises Refused for anything but a yes."""
    name = kind.removeprefix("ssh-").partition("-")[0]
    old = "".join(f"\n  in the place of {line}" for line in known.trusted)
    question = (
        f"{settings}, shows the key\n  {kind} {shown}{old}\n"
        f"Its own console tells which it should be: ssh-keygen -lf /etc/ssh/ssh_host_{name}_key.pub\n"
        f"Trust it, and write it down in {known.file}? The fingerprint that you were told is an answer, too."
    )
    if not secrets.interactive:
        way_out = known.way_out.replace("trust", f"trust {'--replace ' if old else ''}--yes-if {shown}", 1)
        raise Refused(
            f"{settings}, shows the key\n  {kind} {shown}{old}\n"
            f"and there is no terminal to ask on whether that is the right one: nothing was written down. "
            f"If it is: {way_out}"
        )
    if not secrets.confirm(question, shown):
        raise Refused(f"The key of {known.name} is not trusted: nothing was written down.")
