"""Ways to a server that only OpenSSH's client knows, over other hosts, by certificates, with real sshds."""

from __future__ import annotations

import base64
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from reconcile.core.errors import ReconcileError, TurnedAway, Unreachable, Untrusted, UsageError
from reconcile.remotes.sftp.scheme import be_told
from reconcile.remotes.sftp.session import Session
from reconcile.remotes.ssh import lines
from reconcile.remotes.ssh.client.arguments import Client, connecting
from reconcile.remotes.ssh.client.call import Call
from reconcile.remotes.ssh.reach import reach
from reconcile.remotes.ssh.secret import Secrets
from reconcile.remotes.ssh.settings import Settings
from reconcile.remotes.ssh.target import Login, SshTarget
from tests.support.accounts import Account, make_account
from tests.support.agents import start_agent
from tests.support.doors import answering
from tests.support.sshd import HOST, Sshd, make_key, start_sshd

pytestmark = pytest.mark.usefixtures("place")

SECRET = "correct horse"
VARIABLE = "TEST_PASSWORD"
LONG = 30.0  # seconds that connecting may take: it comes to its end at once
SHORT = 2.0  # the same where it ends because they are over
HIDDEN = "behind.invalid"  # a name that only the host on the way knows
QUICK = "KexAlgorithms curve25519-sha256"


class Knowing(Account):
    """A server that knows a name which nobody else does."""

    def settings(self) -> tuple[str, ...]:
        return ()

    def inside(self, command: Sequence[str]) -> list[str]:
        hosts = self.folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {HIDDEN}\n")
        start = f'mount --bind "{hosts}" /etc/hosts && exec "$@"'
        return ["unshare", "-m", "sh", "-c", start, "sh", *command]


@dataclass
class Net:
    """Servers, and the config that leads to them."""

    folder: Path
    stack: ExitStack
    config: list[str]

    def start(self, name: str, *settings: str, account: Account | None = None) -> Sshd:
        folder = self.folder / name
        folder.mkdir()
        return self.stack.enter_context(start_sshd(folder, settings=settings, account=account))

    def name(
        self, name: str, sshd: Sshd, *more: str, host: str = HOST, key: bool = True, quick: str = QUICK
    ) -> None:
        """Have the config know a server."""
        known = self.folder / f"known_{name}"
        known.write_text(f"[{host}]:{sshd.port} {sshd.host_key}\n")
        self.config += [f"Host {name}", f"HostName {host}", f"Port {sshd.port}", f"User {sshd.endpoint.user}"]
        self.config += [quick, *more, f"UserKnownHostsFile {known}", "GlobalKnownHostsFile /dev/null"]
        self.config.append(f"IdentityFile {sshd.folder / 'user' if key else 'none'}")
        self.config.append("IdentitiesOnly yes")

    def login(self, **changes: Any) -> Login:
        config = self.folder / "config"
        config.write_text("\n".join([*self.config, ""]))
        changes.setdefault("timeout", LONG)
        return Login(ssh_config=str(config), **changes)

    def connect(self, name: str, **login: Any) -> lines.Connection:
        said = list[str]()
        return reach(SshTarget(name, "/"), self.login(**login), said.append)

    def speaks(self, name: str, **login: Any) -> str:
        """SFTP, by OpenSSH's client if nothing else is said; returns why by that."""
        with closing(self.connect(name, **login)) as connection:
            assert Session(connection.channel).handshake()
            assert connection.transport_name == login.get("transport", lines.SSH)
            why: str = connection.why
            return why

    def refusal(self, kind: type[ReconcileError], name: str, **login: Any) -> str:
        """The message with which it ends, in time."""
        began = time.monotonic()
        with pytest.raises(kind) as caught:
            self.speaks(name, **login)
        assert time.monotonic() - began < login.get("timeout", LONG) + 5  # on a slow machine
        message = str(caught.value)
        assert SECRET not in message
        return message


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    with ExitStack() as stack:
        yield Net(tmp_path, stack, [])


# A host on the way

BOTH = pytest.mark.parametrize("transport", [lines.SSH, lines.PARAMIKO])


@BOTH
def test_a_server_that_is_reached_over_another_only(net: Net, transport: str) -> None:
    jump = net.start("jump", account=Knowing(net.folder))
    net.name("jump", jump)
    net.name("target", net.start("target"), "ProxyJump jump", host=HIDDEN)
    assert net.speaks("target", transport=transport)
    assert jump.log.read_text().count("Accepted publickey") == 1
    assert net.speaks("target").startswith("ProxyJump jump")


@BOTH
def test_over_two_others(net: Net, transport: str) -> None:
    jump, target = net.start("jump"), net.start("target")
    net.name("first", jump)
    net.name("second", jump)
    net.name("target", target, "ProxyJump first,second")
    net.name("by-the-second", target, "ProxyJump third")
    net.name("third", jump, "ProxyJump first")
    assert net.speaks("target", transport=transport)
    assert jump.log.read_text().count("Accepted publickey") == 2
    assert net.speaks("by-the-second", transport=transport)
    assert jump.log.read_text().count("Accepted publickey") == 4


def test_a_circle_of_jumps_ends(net: Net) -> None:
    jump = net.start("jump")
    net.name("a", jump, "ProxyJump b")
    net.name("b", jump, "ProxyJump a")
    assert "circles" in net.refusal(ReconcileError, "a")


@BOTH
def test_a_jump_whose_key_is_not_known(net: Net, transport: str) -> None:
    net.name("jump", net.start("jump"))
    net.name("target", net.start("target"), "ProxyJump jump")
    (net.folder / "known_jump").write_text("")
    message = net.refusal(Untrusted, "target", transport=transport)
    assert "No ED25519 host key is known for" in message
    assert not (net.folder / "known_jump").read_text()


def test_a_first_key_of_a_jump_is_enrolled_if_that_was_asked_for(net: Net) -> None:
    net.name("jump", net.start("jump"))
    net.name("target", net.start("target"), "ProxyJump jump")
    (net.folder / "known_jump").write_text("")
    assert net.speaks("target", accept_new_host_key=True)
    assert "ssh-ed25519" in (net.folder / "known_jump").read_text()


@BOTH
def test_a_jump_that_asks_for_a_password(
    net: Net, typed: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    account = make_account(net.folder / "account", SECRET)
    jump = net.start("jump", "AuthenticationMethods password", account=account)
    net.name("jump", jump, key=False)
    net.name("target", net.start("target"), "ProxyJump jump")
    message = net.refusal(Unreachable, "target", transport=transport)
    assert "a host on the way does not let us in" in message
    monkeypatch.setenv(VARIABLE, SECRET)  # of the target's account, and so nothing for the host on the way
    net.refusal(Unreachable, "target", password_env=VARIABLE, transport=transport)
    assert "password for" not in jump.log.read_text()
    prompts = typed(SECRET)
    assert net.speaks("target", interactive=True, transport=transport)
    assert len(prompts) == 1
    assert f"@{HOST}'s password:" in prompts[0]


@BOTH
@pytest.mark.parametrize("jump", ["refuses", "is silent"])
def test_a_dead_jump(net: Net, jump: str, transport: str) -> None:
    target = net.start("target")
    held: list[socket.socket] = []
    with answering(held.append) as port:
        net.name("target", target, "ProxyJump dead")
        if jump == "refuses":
            with socket.create_server((HOST, 0)) as probe:
                port = probe.getsockname()[1]
        net.config += ["Host dead", f"HostName {HOST}", f"Port {port}", "IdentityFile none"]
        timeout = LONG if jump == "refuses" else SHORT
        message = net.refusal(Unreachable, "target", timeout=timeout, transport=transport)
    for each in held:
        each.close()
    assert f"port {target.port}" in message
    assert "Accepted" not in target.log.read_text()


@BOTH
@pytest.mark.parametrize("command", ["sleep 600", "false", "cat", "echo hello; sleep 600"])
def test_a_proxy_that_leads_nowhere(net: Net, command: str, transport: str) -> None:
    net.name("target", net.start("target"), f"ProxyCommand {command}")
    net.refusal(Unreachable, "target", timeout=SHORT, transport=transport)


@BOTH
def test_a_proxy_of_the_users_own(net: Net, transport: str) -> None:
    jump = net.start("jump", account=Knowing(net.folder))
    net.name("jump", jump)
    proxy = f"ProxyCommand ssh -F {net.folder / 'config'} -W %h:%p jump"
    net.name("target", net.start("target"), proxy, host=HIDDEN)
    assert net.speaks("target", transport=transport)
    assert net.speaks("target").startswith("ProxyCommand ssh")


def test_a_config_that_is_made_for_people_and_other_systems(net: Net) -> None:
    odd = ["IgnoreUnknown UseKeychain", "UseKeychain yes", "RemoteCommand tmux attach", "RequestTTY force"]
    odd += ["LocalForward 1 127.0.0.1:1", "LogLevel QUIET", "BatchMode no", "StrictHostKeyChecking no"]
    odd += ["PermitLocalCommand yes", f"LocalCommand touch {net.folder / 'touched'}", "ControlMaster auto"]
    odd += [f"ControlPath {net.folder / 'control'}", "ControlPersist yes", "ForkAfterAuthentication yes"]
    odd += ["ProxyUseFdpass yes", "StdinNull yes"]
    net.config.append(odd[0])  # for all, as all read it
    net.name("jump", net.start("jump"), *odd)
    net.name("target", net.start("target"), *odd)
    net.name("behind", net.start("behind"), "ProxyJump jump", *odd)
    assert net.speaks("target", transport=lines.SSH)
    assert net.speaks("behind", transport=lines.SSH)
    assert net.speaks("behind", transport=lines.PARAMIKO)
    assert not (net.folder / "touched").exists()
    (net.folder / "known_target").write_text("")
    net.refusal(Untrusted, "target", transport=lines.SSH)


# Certificates


def sign(folder: Path, public: Path, *options: str) -> None:
    """Have a CA of ours, ``folder/ca``, sign a key."""
    if not (folder / "ca").exists():
        make_key(folder / "ca")
    command = ["ssh-keygen", "-q", "-s", str(folder / "ca"), "-I", "test", *options, str(public)]
    subprocess.run(command, check=True, capture_output=True)


def test_a_certificate_of_the_user(net: Net) -> None:
    make_key(net.folder / "key")
    sign(net.folder, net.folder / "key.pub", "-n", getpass.getuser())
    (net.folder / "key-cert.pub").rename(net.folder / "certificate")
    target = net.start("target", f"TrustedUserCAKeys {net.folder / 'ca.pub'}")
    certified = [f"CertificateFile {net.folder / 'certificate'}", f"IdentityFile {net.folder / 'key'}"]
    net.name("target", target, *certified, key=False)
    assert net.speaks("target").startswith("CertificateFile")
    assert "ED25519-CERT" in target.log.read_text()


def test_a_certificate_beside_the_key_is_found(net: Net) -> None:
    """As OpenSSH finds it, although nothing names it."""
    make_key(net.folder / "key")
    sign(net.folder, net.folder / "key.pub", "-n", getpass.getuser())
    target = net.start("target", f"TrustedUserCAKeys {net.folder / 'ca.pub'}")
    net.name("target", target, f"IdentityFile {net.folder / 'key'}", key=False)
    assert net.speaks("target") == f"{net.folder / 'key'}-cert.pub is a certificate"
    message = net.refusal(TurnedAway, "target", transport=lines.PARAMIKO)
    assert "key-cert.pub: a certificate, which only OpenSSH's own client shows: --transport ssh" in message


def test_a_key_of_a_host_that_an_authority_has_signed(net: Net) -> None:
    make_key(net.folder / "host")
    sign(net.folder, net.folder / "host.pub", "-h", "-n", HOST)
    host = [f"HostKey {net.folder / 'host'}", f"HostCertificate {net.folder / 'host-cert.pub'}"]
    net.name("target", net.start("target", *host), quick="# nothing else")
    authority = (net.folder / "ca.pub").read_text()
    (net.folder / "known_target").write_text(f"@cert-authority * {authority}")
    assert "@cert-authority" in net.speaks("target")
    (net.folder / "known_target").write_text(f"@cert-authority *.elsewhere {authority}")
    assert "is not known" in net.refusal(Untrusted, "target", transport=lines.SSH)


# What is asked


@pytest.mark.parametrize("way", ["password", "keyboard-interactive"])
def test_a_key_and_then_a_password(
    net: Net, monkeypatch: pytest.MonkeyPatch, typed: Callable[..., list[str]], way: str
) -> None:
    account = make_account(net.folder / "account", SECRET)
    target = net.start("target", f"AuthenticationMethods publickey,{way}", account=account)
    net.name("target", target)
    monkeypatch.setenv(VARIABLE, SECRET)
    assert net.speaks("target", transport=lines.SSH, password_env=VARIABLE)
    assert net.speaks("target", transport=lines.SSH, password_command=f"echo '{SECRET}'")
    prompts = typed(SECRET)
    assert net.speaks("target", transport=lines.SSH, interactive=True)
    assert len(prompts) == 1
    monkeypatch.setenv(VARIABLE, "wrong")
    message = net.refusal(TurnedAway, "target", transport=lines.SSH, password_env=VARIABLE)
    assert "does not accept the password" in message or "Permission denied" in message
    message = net.refusal(TurnedAway, "target", transport=lines.SSH)
    assert "Permission denied" in message


def test_two_questions(net: Net, monkeypatch: pytest.MonkeyPatch, typed: Callable[..., list[str]]) -> None:
    account = make_account(net.folder / "account", SECRET, factor=True)
    target = net.start("target", "AuthenticationMethods keyboard-interactive", account=account)
    net.name("target", target)
    prompts = typed(SECRET, account.code)
    assert net.speaks("target", transport=lines.SSH, interactive=True)
    user = getpass.getuser()
    assert prompts == [f"({user}@{HOST}) Password: ", f"({user}@{HOST}) Verification code: "]
    monkeypatch.setenv(VARIABLE, SECRET)
    message = net.refusal(TurnedAway, "target", transport=lines.SSH, password_env=VARIABLE)
    assert 'asks "Verification code:", which nobody could answer' in message


def test_a_passphrase(net: Net, monkeypatch: pytest.MonkeyPatch, typed: Callable[..., list[str]]) -> None:
    target = net.start("target")
    net.name("target", target)
    change = ["ssh-keygen", "-q", "-p", "-N", SECRET, "-f", str(target.endpoint.identity)]
    subprocess.run(change, check=True, capture_output=True)
    monkeypatch.setenv(VARIABLE, SECRET)
    assert net.speaks("target", transport=lines.SSH, password_env=VARIABLE)
    assert net.speaks("target", transport=lines.SSH, passphrase_command=f"echo '{SECRET}'")
    prompts = typed("wrong", SECRET)
    assert net.speaks("target", transport=lines.SSH, interactive=True)
    assert len(prompts) == 2
    net.refusal(TurnedAway, "target", transport=lines.SSH)
    net.refusal(TurnedAway, "target", transport=lines.SSH, passphrase_command="echo wrong")
    typed()
    net.refusal(TurnedAway, "target", transport=lines.SSH, interactive=True)


def test_an_unknown_host_is_confirmed_on_a_terminal(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    target = net.start("target")
    net.name("target", target)
    known = net.folder / "known_target"
    asked: list[str] = []

    def confirm(_: object, question: str, also: str = "") -> bool:
        asked.append(question)
        assert also.startswith("SHA256:")
        return len(asked) > 1

    monkeypatch.setattr("reconcile.remotes.ssh.secret.Secrets.confirm", confirm)
    known.write_text("")
    net.refusal(Untrusted, "target", transport=lines.SSH, interactive=True)
    assert not known.read_text()
    assert net.speaks("target", transport=lines.SSH, interactive=True)
    assert "ssh-ed25519" in known.read_text()
    assert f"[{HOST}]:{target.port}" in asked[0]


def test_an_agent_with_more_keys_than_the_server_hears(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [net.folder / f"key{number}" for number in range(10)]
    for key in keys:
        make_key(key)
    target = net.start("target", "MaxAuthTries 6")
    (target.folder / "authorized_keys").write_text((net.folder / "key8.pub").read_text())
    with start_agent(net.folder, *keys) as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", agent)
        net.name("target", target, f"IdentityFile {net.folder / 'key8.pub'}", key=False)
        assert net.speaks("target", transport=lines.SSH)


# Whom we trust, whatever a config says


def test_a_host_on_this_machine_is_checked_too(net: Net) -> None:
    """A tunnel ends here, and who is at its other end is what the key tells."""
    loose = ["NoHostAuthenticationForLocalhost yes", "StrictHostKeyChecking no"]
    jump = net.start("jump")
    net.name("target", net.start("target"), *loose)
    net.name("jump", jump, *loose)
    net.name("behind", net.start("behind"), "ProxyJump jump")
    for name in ("target", "jump"):
        (net.folder / f"known_{name}").write_text("")
    net.refusal(Untrusted, "target", transport=lines.SSH)
    net.refusal(Untrusted, "target", transport=lines.SSH, host_keys=(f"SHA256:{'A' * 43}",))
    net.refusal(Untrusted, "behind", transport=lines.SSH)
    assert "Accepted" not in jump.log.read_text()


@BOTH
def test_a_key_that_is_given_by_value_and_revoked(net: Net, transport: str) -> None:
    target = net.start("target")
    net.name("target", target)
    known = net.folder / "known_target"
    known.write_text(f"{known.read_text()}@revoked * {target.host_key}\n")
    message = net.refusal(Untrusted, "target", transport=transport, host_keys=(target.host_key,))
    assert f"is revoked ({known}, line 2" in message
    assert "Accepted" not in target.log.read_text()


@BOTH
@pytest.mark.parametrize("place", ["/dev/null", "none", "a folder"])
def test_a_first_key_that_nothing_would_keep_is_not_trusted(
    net: Net, tmp_path: Path, place: str, transport: str
) -> None:
    """Else it would be a first one each time, whoever shows it."""
    target = net.start("target")
    net.name("target", target)
    if place == "a folder":
        (tmp_path / "kept").mkdir()
        place = str(tmp_path / "kept")
    for number, line in enumerate(net.config):
        if line.startswith("UserKnownHostsFile"):
            net.config[number] = f"UserKnownHostsFile {place}"
    net.refusal(ReconcileError, "target", transport=transport, accept_new_host_key=True)
    assert "Accepted" not in target.log.read_text()


@BOTH
def test_a_first_key_that_can_not_be_written_down_is_not_trusted(
    net: Net, tmp_path: Path, transport: str
) -> None:
    target = net.start("target")
    net.name("target", target)
    (tmp_path / "file").touch()
    for number, line in enumerate(net.config):
        if line.startswith("UserKnownHostsFile"):
            net.config[number] = f"UserKnownHostsFile {tmp_path / 'file' / 'known_hosts'}"
    net.refusal(ReconcileError, "target", transport=transport, accept_new_host_key=True)


@BOTH
def test_a_password_of_a_host_on_the_way_is_not_given_to_one_that_is_called_the_same(
    net: Net, typed: Callable[..., list[str]], transport: str
) -> None:
    """As with a router that hands another port on."""
    jump = net.start("jump", "AuthenticationMethods password", account=make_account(net.folder / "a", SECRET))
    other = make_account(net.folder / "b", "battery staple")
    target = net.start("target", "AuthenticationMethods password", account=other)
    net.name("jump", jump, key=False)
    net.name("target", target, "ProxyJump jump", key=False)
    prompts = typed(SECRET, "battery staple")
    assert net.speaks("target", interactive=True, transport=transport)
    assert len(prompts) == 2
    assert "Failed password" not in jump.log.read_text() + target.log.read_text()


# What was once otherwise than with ssh


@BOTH
def test_a_jump_whose_name_is_made_of_ours(net: Net, transport: str) -> None:
    jump = net.start("jump")
    net.name(f"target-by-{getpass.getuser()}", jump)
    net.name("target", net.start("target"), "ProxyJump %n-by-%r")
    assert net.speaks("target", transport=transport)
    assert jump.log.read_text().count("Accepted publickey") == 1
    net.config[net.config.index("ProxyJump %n-by-%r")] = "ProxyJump %z"
    assert "%z" in net.refusal(UsageError, "target", transport=transport)


@BOTH
@pytest.mark.parametrize("way", ["password", "keyboard-interactive"])
def test_a_command_prints_another_password_once_the_first_is_over(
    net: Net, monkeypatch: pytest.MonkeyPatch, transport: str, way: str
) -> None:
    """When the connection broke, say. But not where the first was wrong: accounts are locked for less."""
    account = make_account(net.folder / "account", SECRET)
    target = net.start("target", f"AuthenticationMethods {way}", account=account)
    net.name("target", target, key=False)
    (net.folder / "password").write_text(SECRET)
    command = f"echo x >>{net.folder}/runs; cat {net.folder}/password"
    login = net.login(transport=transport, password_command=command)
    secrets, said = Secrets(login), list[str]()
    for password in (SECRET, "battery staple"):
        make_account(net.folder / "account", password)
        (net.folder / "password").write_text(password)
        reach(SshTarget("target", "/"), login, said.append, secrets=secrets).close()
    assert (net.folder / "runs").read_text() == "x\nx\n"
    (net.folder / "password").write_text("wrong")
    message = net.refusal(TurnedAway, "target", transport=transport, password_command=command)
    assert (net.folder / "runs").read_text() == "x\nx\nx\n"
    assert "password" in message
    assert target.log.read_text().count("Failed") <= 3


@pytest.mark.parametrize("option", ["identity", "known_hosts"])
def test_a_pipe_that_the_client_can_not_read_is_refused(net: Net, option: str) -> None:
    net.name("target", net.start("target"))
    reading, writing = os.pipe()
    try:
        what = {option: f"/dev/fd/{reading}"}
        message = net.refusal(UsageError, "target", transport=lines.SSH, **what)
        assert f"--{option.replace('_', '-')} is a pipe" in message
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("name", ["o'brien's", "with blank", "100%h", "#", "äö"])
def test_files_of_any_name(net: Net, name: str) -> None:
    target = net.start("target")
    net.name("target", target, key=False)
    place = net.folder / name
    place.mkdir()
    shutil.copyfile(target.folder / "user", place / "key")
    (place / "key").chmod(0o600)
    (net.folder / "known_target").rename(place / "known")
    files = {"identity": str(place / "key"), "known_hosts": str(place / "known")}
    assert net.speaks("target", transport=lines.SSH, **files)


def test_a_client_that_does_not_tell_who_asks_is_not_let_answer_a_server_by_a_passphrase() -> None:
    """Before 8.5 a server's question can read as ssh's own for a key."""
    login = Login(interactive=True)
    for version, command, said in (((8, 4), "echo", True), ((8, 5), "echo", False), ((8, 4), None, False)):
        client = Client(("ssh",), version, asks=True)
        words = connecting(client, SshTarget("nas", "/"), replace(login, passphrase_command=command))
        assert ("KbdInteractiveAuthentication=no" in words) == said


@BOTH
def test_a_password_of_the_server_is_not_given_to_a_proxy_that_calls_itself_the_same(
    net: Net, monkeypatch: pytest.MonkeyPatch, typed: Callable[..., list[str]], transport: str
) -> None:
    account = make_account(net.folder / "account", SECRET)
    jump = net.start("jump", "AuthenticationMethods password", account=account)
    net.name("jump", jump, key=False)
    other = make_account(net.folder / "other", "battery staple")
    target = net.start("target", "AuthenticationMethods password", account=other)
    proxy = f"ProxyCommand ssh -F {net.folder / 'config'} -W %h:%p jump"
    net.name("target", target, proxy, key=False)
    monkeypatch.setenv(VARIABLE, "battery staple")
    net.refusal(Unreachable, "target", password_env=VARIABLE, transport=transport)
    typed(SECRET)
    assert net.speaks("target", password_env=VARIABLE, interactive=True, transport=transport)
    assert "Failed password" not in jump.log.read_text()


def test_a_name_that_would_be_a_command_is_not_told_to_a_proxy(net: Net) -> None:
    """Whichever version OpenSSH is of."""
    settings = Settings("nas", 22, "me", name="nas", proxy_command="false %h %r")
    for host, user in (("a`id`", "me"), ("$(id)", "me"), ("nas", "a'b"), ("nas", "|id")):
        with pytest.raises(UsageError, match="is not told to what leads there"):
            Call(SshTarget(host, "/", user), settings, net.login(), print, Secrets(Login()), "")


UNHEARD = f"ssh-x {base64.b64encode(bytes((0, 0, 0, 5)) + b'ssh-x').decode()}"  # a key of a type that is none


@BOTH
@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_of_a_host_s_keys_that_is_shown_which_is_given_by_value(net: Net, kind: str, transport: str) -> None:
    make_key(net.folder / "first")
    make_key(net.folder / "other", kind=kind)
    keys = [f"HostKey {net.folder / name}" for name in ("first", "other")]
    net.name("target", net.start("target", *keys))
    assert net.speaks(
        "target", transport=transport, host_keys=(UNHEARD, (net.folder / "other.pub").read_text())
    )


def test_a_configuration_from_a_pipe_is_refused(tmp_path: Path) -> None:
    """Whoever reads it again finds nothing in it, and goes where nothing leads elsewhere."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="--ssh-config is a pipe"):
        be_told(
            SshTarget("nas", "/"), {"ssh_config": str(tmp_path / "pipe")}, timeout=None, interactive=False
        )
