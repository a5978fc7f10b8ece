"""Being let in by real servers that want more than one thing, or that take few tries."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from reconcile.cli import main
from reconcile.core.errors import TurnedAway, Untrusted
from reconcile.remotes.sftp.session import Session
from reconcile.remotes.ssh.connect import connect
from reconcile.remotes.ssh.keys import offers
from reconcile.remotes.ssh.secret import Secrets
from reconcile.remotes.ssh.settings import Settings
from reconcile.remotes.ssh.target import Login, SshTarget
from tests.support.accounts import make_account
from tests.support.agents import start_agent
from tests.support.sshd import Sshd, make_key, start_sshd

SECRET = "correct horse"
VARIABLE = "TEST_PASSWORD"
TEN = range(10)


pytestmark = pytest.mark.usefixtures("home")


def spoken(sshd: Sshd, secrets: Secrets | None = None, **login: object) -> list[str]:
    """What was said on the way to SFTP."""
    said: list[str] = []
    target, how = sshd.endpoint.target("/"), sshd.endpoint.login(**login)
    with closing(connect(target, how, said.append, secrets=secrets)) as connection:
        assert Session(connection.channel).handshake()
    return said


# A key and a password, and questions


@pytest.mark.parametrize("way", ["password", "keyboard-interactive"])
def test_a_key_and_then_a_password(tmp_path: Path, typed: Callable[..., list[str]], way: str) -> None:
    """The passphrase of the key is another secret, and no password."""
    account = make_account(tmp_path / "account", SECRET)
    settings = (f"AuthenticationMethods publickey,{way}",)
    with start_sshd(tmp_path, settings=settings, account=account) as sshd:
        lock(sshd.endpoint.identity, "of the key")
        password, passphrase = f"echo '{SECRET}'", "echo of the key"
        assert not spoken(sshd, password_command=password, passphrase_command=passphrase)
        prompts = typed(SECRET)
        assert not spoken(sshd, passphrase_command=passphrase, interactive=True)
        with pytest.raises(TurnedAway, match=r"Tried: key .*; the server allows: "):
            spoken(sshd, password_command=passphrase, passphrase_command=passphrase)
        with pytest.raises(TurnedAway, match="the passphrase is wrong"):
            spoken(sshd, password_command=password, passphrase_command=password)
    assert len(prompts) == 1


def lock(key: Path, passphrase: str) -> None:
    """Encrypt it."""
    change = ["ssh-keygen", "-q", "-p", "-N", passphrase, "-f", str(key)]
    subprocess.run(change, check=True, capture_output=True)


def test_two_keys_in_turn(tmp_path: Path, home: Path) -> None:
    make_key(home / ".ssh" / "id_ed25519")
    make_key(home / ".ssh" / "id_ecdsa", kind="ecdsa")
    with start_sshd(tmp_path, settings=("AuthenticationMethods publickey,publickey",)) as sshd:
        with (sshd.folder / "authorized_keys").open("a") as file:
            for kind in ("ed25519", "ecdsa"):
                file.write((home / ".ssh" / f"id_{kind}.pub").read_text())
        assert not spoken(sshd, identity=None)
        with pytest.raises(TurnedAway, match=r"Tried: key .*/user; the server allows: publickey"):
            spoken(sshd)


def test_two_questions(tmp_path: Path, typed: Callable[..., list[str]]) -> None:
    account = make_account(tmp_path / "account", SECRET, factor=True)
    settings = ("AuthenticationMethods keyboard-interactive",)
    with start_sshd(tmp_path, settings=settings, account=account) as sshd:
        where = f"({sshd.endpoint.user}@127.0.0.1) "
        prompts = typed(SECRET, account.code)
        assert not spoken(sshd, interactive=True)
        assert prompts == [f"{where}Password: ", f"{where}Verification code: "]
        prompts = typed(account.code)
        assert not spoken(sshd, password_command=f"echo '{SECRET}'", interactive=True)
        assert prompts == [f"{where}Verification code: "]
        with pytest.raises(TurnedAway, match='asked "Verification code:", which nobody could answer'):
            spoken(sshd, password_command=f"echo '{SECRET}'")


# An agent with many keys


@contextmanager
def ten_keys(folder: Path) -> Iterator[list[Path]]:
    """Made, and in an agent that SSH_AUTH_SOCK names."""
    keys = [folder / f"key{number}" for number in TEN]
    for key in keys:
        make_key(key, comment=key.name)
    with start_agent(folder, *keys) as path, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSH_AUTH_SOCK", path)
        yield keys


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[list[Path]]:
    """Ten of them, in an agent."""
    with ten_keys(tmp_path) as keys:
        yield keys


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Sshd]:
    """It hangs up after six failures, as OpenSSH does by itself."""
    (tmp_path / "sshd").mkdir()
    with start_sshd(tmp_path / "sshd", settings=("MaxAuthTries 6", "LogLevel VERBOSE")) as sshd:
        yield sshd


def let_in_by(sshd: Sshd, key: Path) -> None:
    (sshd.folder / "authorized_keys").write_text(key.with_suffix(".pub").read_text())


def test_the_ninth_key_of_an_agent_lets_us_in(strict: Sshd, keys: list[Path]) -> None:
    """Although the server hangs up after six; and it is the first to be tried on the next connection."""
    let_in_by(strict, keys[8])
    secrets = Secrets(strict.endpoint.login(identity=None))
    (said,) = spoken(strict, secrets, identity=None)
    assert "hung up after it had refused 6 of our keys" in said
    assert "--identity" in said
    assert failures(strict) == 8
    assert not spoken(strict, secrets, identity=None)
    assert failures(strict) == 8


def failures(sshd: Sshd) -> int:
    """How often it has refused a key, as it tells in the end."""
    return sshd.log.read_text().count("Failed publickey")


def test_where_none_of_them_fits_all_are_named(strict: Sshd, keys: list[Path]) -> None:
    said: list[str] = []
    with pytest.raises(TurnedAway) as caught:
        connect(strict.endpoint.target("/"), strict.endpoint.login(identity=None), said.append)
    assert len(said) == 1
    assert all(f"key{number} (agent)" in str(caught.value) for number in TEN)
    assert "the server allows: publickey" in str(caught.value)


def test_a_server_that_takes_one_try_is_called_for_each(tmp_path: Path, keys: list[Path]) -> None:
    """But not for ever."""
    (tmp_path / "sshd").mkdir()
    with start_sshd(tmp_path / "sshd", settings=("MaxAuthTries 1",)) as sshd:
        let_in_by(sshd, keys[2])
        assert len(spoken(sshd, identity=None)) == 2
        let_in_by(sshd, keys[8])
        with pytest.raises(TurnedAway, match=r'hung up .*, saying "Too many authentication failures'):
            spoken(sshd, identity=None)


def test_the_named_key_comes_first_out_of_an_agent(strict: Sshd, keys: list[Path]) -> None:
    """Public or private, and without its passphrase."""
    let_in_by(strict, keys[8])
    lock(keys[8], SECRET)
    public = keys[8].with_suffix(".pub")
    assert not spoken(strict, identity=str(keys[8]))
    assert not spoken(strict, identity=str(public))
    keys[8].unlink()
    with pytest.raises(TurnedAway, match="does not let"):
        spoken(strict, identity=str(keys[7].with_suffix(".pub")))


def offered(settings: Settings, skipped: list[str] | None = None, **login: str) -> list[str]:
    """The labels of the keys that would be tried, in their order."""
    how = Login(**login)  # type: ignore[arg-type]
    skipped = [] if skipped is None else skipped
    found = offers(how, settings, Secrets(how), skipped, lambda: 10.0, lambda *_: True)
    return [offer.label for offer in found]


HERE = Settings("127.0.0.1", 22, "me")


def among(**changes: object) -> Settings:
    return Settings("127.0.0.1", 22, "me", **changes)  # type: ignore[arg-type]


def test_the_order_of_keys_is_openssh_s(tmp_path: Path, home: Path, keys: list[Path]) -> None:
    """The agent's that files name, in the order of the files, then its others, then files."""
    make_key(tmp_path / "own")
    make_key(home / ".ssh" / "id_ed25519")
    named = (str(tmp_path / "own"), str(keys[4]), str(keys[2].with_suffix(".pub")), "/no/such/file")
    others = [f"key{number} (agent)" for number in TEN if number not in (2, 4)]
    first = [f"{keys[4]} (agent)", f"{keys[2]}.pub (agent)"]
    assert offered(among(identities=named)) == [*first, *others, str(tmp_path / "own")]
    assert offered(among(identities=named, identities_only=True)) == [*first, str(tmp_path / "own")]
    assert offered(among(identities_only=True)) == [str(home / ".ssh" / "id_ed25519")]
    assert offered(HERE)[-1] == str(home / ".ssh" / "id_ed25519")


def test_another_agent_may_be_named_or_none(tmp_path: Path, home: Path, keys: list[Path]) -> None:
    make_key(tmp_path / "other", comment="other")
    (tmp_path / "second").mkdir()
    with start_agent(tmp_path / "second", tmp_path / "other") as path:
        assert offered(among(identity_agent=path)) == ["other (agent)"]
    assert offered(among(identity_agent="none")) == []
    skipped: list[str] = []
    assert offered(among(identity_agent="/no/agent"), skipped) == []
    assert skipped == ["the agent at /no/agent, which IdentityAgent names: No such file or directory."]


def test_a_public_key_alone_needs_an_agent(tmp_path: Path, keys: list[Path]) -> None:
    keys[3].unlink()
    make_key(tmp_path / "gone")
    (tmp_path / "gone").unlink()
    skipped: list[str] = []
    both = among(identities=(str(keys[3]), str(tmp_path / "gone")), identities_only=True)
    assert offered(both, skipped) == [f"{keys[3]} (agent)"]
    assert skipped == [
        f"{tmp_path / 'gone'}: there is but {tmp_path / 'gone'}.pub, and no agent has that key."
    ]


def test_an_older_key_file_is_known_by_the_public_one_beside_it(tmp_path: Path) -> None:
    make_key(tmp_path / "old", kind="rsa")
    pem = ["ssh-keygen", "-q", "-p", "-m", "PEM", "-N", "", "-f", str(tmp_path / "old")]
    subprocess.run(pem, check=True, capture_output=True)
    with start_agent(tmp_path, tmp_path / "old") as path:
        settings = among(identities=(str(tmp_path / "old"),), identity_agent=path)
        assert offered(settings) == [f"{tmp_path / 'old'} (agent)"]
    os.unlink(tmp_path / "old.pub")
    assert offered(among(identities=(str(tmp_path / "old"),))) == [str(tmp_path / "old")]


# As the configuration has it


@contextmanager
def configured(strict: Sshd, folder: Path, *lines: str) -> Iterator[dict[str, object]]:
    """A login that knows of the server, called ``nas``, by a configuration alone."""
    file = folder / "config"
    where = ("HostName 127.0.0.1", f"Port {strict.port}", f"User {strict.endpoint.user}")
    file.write_text("\n  ".join(["Host nas", *where, *lines, ""]))
    yield {"ssh_config": str(file), "identity": None, "known_hosts": None}


def to_nas(strict: Sshd, folder: Path, *lines: str, **login: object) -> list[str]:
    """What was said on the way to SFTP."""
    said: list[str] = []
    with configured(strict, folder, *lines) as how:
        line = connect(SshTarget("nas", "/"), strict.endpoint.login(**{**how, **login}), said.append)
    with closing(line):
        assert Session(line.channel).handshake()
    return said


def test_of_ten_keys_the_one_that_the_config_names_is_shown(
    strict: Sshd, tmp_path: Path, keys: list[Path]
) -> None:
    known = f"UserKnownHostsFile {strict.endpoint.known_hosts}"
    let_in_by(strict, keys[8])
    only = (known, "IdentitiesOnly yes")
    assert not to_nas(strict, tmp_path, known, f"IdentityFile {keys[8]}.pub")
    assert not to_nas(strict, tmp_path, *only, f"IdentityFile {keys[1]}", f"IdentityFile {keys[8]}")
    assert failures(strict) == 1
    with pytest.raises(TurnedAway, match=r"Tried: key .*/key1 \(agent\); the server allows: publickey"):
        to_nas(strict, tmp_path, *only, f"IdentityFile {keys[1]}")
    with pytest.raises(TurnedAway, match="Tried: without a proof"):
        to_nas(strict, tmp_path, known, "IdentityAgent none")
    with pytest.MonkeyPatch.context() as patch:
        path = os.environ["SSH_AUTH_SOCK"]
        patch.delenv("SSH_AUTH_SOCK")
        assert not to_nas(strict, tmp_path, *only, f"IdentityFile {keys[8]}.pub", f"IdentityAgent {path}")


def test_a_host_is_known_by_its_alias_in_one_file_of_several(strict: Sshd, tmp_path: Path) -> None:
    """And where it shows another key, the message names file, line and what to type."""
    make_key(tmp_path / "other")
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(f"other {strict.host_key}\n")
    second.write_text(f"# mine\nthe-box {strict.host_key}\n")
    lines = (
        "HostKeyAlias the-box",
        f"UserKnownHostsFile {first} {second}",
        f"IdentityFile {strict.endpoint.identity}",
    )
    assert not to_nas(strict, tmp_path, *lines)
    second.write_text(f"\nthe-box {(tmp_path / 'other.pub').read_text()}")
    with pytest.raises(Untrusted) as caught:
        to_nas(strict, tmp_path, *lines, accept_new_host_key=True)
    message = str(caught.value)
    assert "THE HOST KEY OF the-box HAS CHANGED" in message
    assert f"expected: {second}, line 2: ssh-ed25519 SHA256:" in message
    way_out = f"trust --replace --ssh-config {tmp_path / 'config'} --port {strict.port} nas"
    assert f"reconcile {way_out}\n" in message
    shown = message.partition("shown:    ssh-ed25519 ")[2].partition("\n")[0]
    assert main([*way_out.split(), "--yes-if", shown]) == 0
    assert not to_nas(strict, tmp_path, *lines)
    for file in (first, second):
        file.unlink()
    with pytest.raises(Untrusted, match=f"there is none in {first}\n"):
        to_nas(strict, tmp_path, *lines)


def test_strict_checking_neither_asks_nor_adds(
    strict: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    file = tmp_path / "hosts"
    lines = (f"UserKnownHostsFile {file}", f"IdentityFile {strict.endpoint.identity}", "HashKnownHosts yes")
    with pytest.raises(Untrusted, match="not known"):
        to_nas(strict, tmp_path, "StrictHostKeyChecking yes", *lines, interactive=True)
    assert not file.exists()
    (said,) = to_nas(strict, tmp_path, "StrictHostKeyChecking accept-new", *lines)
    assert "is new" in said
    assert file.read_text().startswith("|1|")
    assert not to_nas(strict, tmp_path, "StrictHostKeyChecking yes", *lines)


# Keys that are encrypted


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_nobody_is_asked_to_open_a_key_that_the_server_refuses(
    tmp_path: Path, home: Path, typed: Callable[..., list[str]], kind: str
) -> None:
    """Neither the user nor a command. One that it takes is opened, and is no failure."""
    for name in ("id_ed25519", "id_rsa", "id_ecdsa"):
        make_key(home / ".ssh" / name, kind=name.removeprefix("id_"), passphrase=SECRET)
    command = f"echo x >>{tmp_path}/runs; echo '{SECRET}'"
    (tmp_path / "sshd").mkdir()
    with start_sshd(tmp_path / "sshd", settings=("MaxAuthTries 3",)) as sshd:
        own = home / ".ssh" / f"id_{kind}"
        let_in_by(sshd, own)
        prompts = typed("wrong", SECRET)
        assert not spoken(sshd, identity=None, interactive=True)
        prompt = f"Passphrase of {own}: "
        assert prompts == [prompt, f"It does not open the key.\n{prompt}"]
        assert not spoken(sshd, identity=None, passphrase_command=command)
        assert (tmp_path / "runs").read_text() == "x\n"
        (sshd.folder / "authorized_keys").write_text("")
        prompts = typed(SECRET)
        with pytest.raises(TurnedAway, match=rf"Tried: key {own}; the server allows: publickey"):
            spoken(sshd, identity=str(own), interactive=True, passphrase_command=command)
    assert not prompts
    assert (tmp_path / "runs").read_text() == "x\n"


def test_a_key_that_the_server_takes_and_nobody_opens_is_named(strict: Sshd, home: Path) -> None:
    make_key(home / ".ssh" / "id_ed25519", passphrase=SECRET)
    let_in_by(strict, home / ".ssh" / "id_ed25519")
    with pytest.raises(TurnedAway, match=r"Not used: .*/id_ed25519: it is encrypted"):
        spoken(strict, identity=None)
    with pytest.raises(TurnedAway, match=r"Not used: .*/id_ed25519: the passphrase is wrong"):
        spoken(strict, identity=None, passphrase_command="echo wrong")
