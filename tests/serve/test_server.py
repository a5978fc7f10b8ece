"""The embedded server: it behaves as OpenSSH's, and nothing leads out of its folder."""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from reconcile.core.errors import Unreachable, UsageError
from reconcile.core.job import Job, Options
from reconcile.remotes import Remote
from reconcile.remotes import open_remote as really_open
from reconcile.remotes.sftp import wire
from reconcile.remotes.sftp.session import Session
from reconcile.remotes.ssh.connect import Channel, connect
from reconcile.remotes.ssh.target import Login, SshTarget
from reconcile.remotes.tree.verbs import (
    Attrs,
    Close,
    Code,
    Handle,
    Lstat,
    Mkdir,
    Names,
    Opendir,
    OpenNew,
    Read,
    Readdir,
    Readlink,
    Realpath,
    Remove,
    Rename,
    Replace,
    Rmdir,
    Set,
    SetHandle,
    Stat,
    Status,
    Symlink,
    Verb,
    Write,
)
from reconcile.serve.files import Files
from reconcile.serve.server import Server
from tests.remotes.conformance import Heard, OpenRemote
from tests.remotes.trees import TreeConformance
from tests.support.processes import end_tree
from tests.support.sshd import Sshd, make_key

VARIABLE = "TEST_PASSWORD"
OK, MISSING, DENIED, FAILED = Code.OK, Code.MISSING, Code.DENIED, Code.FAILED

READ, APPEND, TRUNCATE = 0x01, 0x04, 0x10
NAMES = [
    b"plain",
    b"new\nline",
    b"tab\tand space ",
    b"\xff\xfe invalid",
    "schön".encode(),
    b"x [bold]",
    b"-rf",
    b"x" * 255,
    b"\xc3" * 255,
]


class Raw(NamedTuple):
    """Any request; one that goes well is answered by a handle."""

    kind: int
    body: bytes
    channel: int = 0


def encode(out: list[bytes], ident: int, raw: Raw) -> int:
    out.append(wire.HEAD.pack(len(raw.body) + 5, raw.kind, ident) + raw.body)
    return len(out[-1])


@pytest.fixture(autouse=True)
def any_request_can_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(wire.ENCODERS, Raw, (encode, Handle))


class Client:
    """One request at a time."""

    def __init__(self, channel: Channel) -> None:
        self.session = Session(channel)
        self.extensions = self.session.handshake()

    def ask(self, request: Verb | Raw) -> Any:
        """The reply, whatever it is."""

        def recipe() -> Generator[Any, Any, Any]:
            return (yield request)

        return self.session.call(recipe())

    def code(self, request: Verb | Raw) -> int:
        """The status with which a request ends."""
        reply = self.ask(request)
        return reply.code if isinstance(reply, Status) else OK

    def open(self, path: bytes, flags: int = READ, mode: int | None = None) -> Any:
        """OPEN with any flags."""
        attrs = struct.pack(">I", 0) if mode is None else struct.pack(">II", 4, mode)
        body = struct.pack(">I", len(path)) + path + struct.pack(">I", flags) + attrs
        return self.ask(Raw(wire.OPEN, body))

    def put(self, path: bytes, content: bytes, mode: int = 0o644) -> int:
        """A new file with content."""
        opened = self.ask(OpenNew(path, mode))
        if isinstance(opened, Status):
            return opened.code
        assert self.code(Write(opened.handle, 0, content)) == OK
        return self.code(Close(opened.handle))

    def names(self, path: bytes) -> dict[bytes, Attrs]:
        """All entries of a directory."""
        opened = self.ask(Opendir(path))
        assert isinstance(opened, Handle)
        found: dict[bytes, Attrs] = {}
        while isinstance(reply := self.ask(Readdir(opened.handle)), Names):
            found.update(reply.names)
        assert reply.code == Code.EOF
        assert self.code(Close(opened.handle)) == OK
        return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "shown").mkdir()
    return tmp_path / "shown"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the shown one, whose content must stay as it is."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    return folder


@pytest.fixture
def client(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    with Server(root, user="me", password="pw") as server, talk(server, tmp_path, monkeypatch) as client:
        yield client


@contextmanager
def talk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A session with ``server``, whose host key is known."""
    monkeypatch.setenv(VARIABLE, server.password or "")
    with closing(connect(target(server), trusting(server, tmp_path), pytest.fail)) as connection:
        yield Client(connection.channel)


def target(server: Server) -> SshTarget:
    return SshTarget("127.0.0.1", "/", server.user or "anybody", server.port)


def trusting(server: Server, tmp_path: Path) -> Login:
    file = tmp_path / f"known_hosts_{server.port}"
    file.write_text(f"[127.0.0.1]:{server.port} {' '.join(server.host_key)}\n")
    return Login(known_hosts=str(file), password_env=VARIABLE)


# As OpenSSH does


@pytest.fixture(params=["embedded", "openssh"])
def either(
    request: pytest.FixtureRequest,
    root: Path,
    sshd: Sshd,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Client, Callable[[str], bytes]]]:
    """A client of one server or the other, and how a path of ours is called there."""
    if request.param == "embedded":
        with Server(root, user="me", password="pw") as server, talk(server, tmp_path, monkeypatch) as client:
            yield client, lambda path: b"/" + path.encode()
    else:
        with closing(connect(sshd.endpoint.target("/"), sshd.endpoint.login(), pytest.fail)) as connection:
            yield Client(connection.channel), lambda path: os.fsencode(root / path)


def test_it_behaves_as_openssh(either: tuple[Client, Callable[[str], bytes]], root: Path) -> None:
    client, at = either
    assert b"posix-rename@openssh.com" in client.extensions
    assert client.put(at("a"), b"one") == OK
    assert client.put(at("a"), b"two") == FAILED, "EXCL"
    assert client.put(at("no/a"), b"") == MISSING
    assert client.put(at("a/b"), b"") == MISSING
    assert client.code(Mkdir(at("d"), 0o750)) == OK
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o750
    assert client.code(Mkdir(at("d"), 0o750)) == FAILED
    assert client.put(at("d/b"), b"two", 0o640) == OK
    assert stat.S_IMODE((root / "d/b").stat().st_mode) == 0o640
    assert client.code(Rmdir(at("d"))) == FAILED
    assert client.code(Rmdir(at("a"))) == MISSING
    assert client.code(Remove(at("d"))) == FAILED
    assert client.code(Remove(at("no"))) == MISSING

    # A plain rename refuses, a posix one replaces.
    assert client.code(Rename(at("a"), at("d/b"))) == FAILED
    assert client.code(Rename(at("a"), at("c"))) == OK
    assert client.code(Rename(at("a"), at("c"))) == MISSING
    assert client.code(Rename(at("d"), at("c"))) == FAILED
    assert client.code(Rename(at("d"), at("e"))) == OK
    assert client.code(Replace(at("c"), at("e/b"))) == OK
    assert (root / "e/b").read_bytes() == b"one"
    assert client.code(Replace(at("e/b"), at("e"))) == FAILED
    assert client.code(Replace(at("e"), at("e/f"))) in (FAILED, Code.INVALID)

    # Times and modes, by path, through a link, and by handle.
    assert client.code(Set(at("e/b"), 0o600, 1_000_000_000)) == OK
    assert client.code(Symlink(b"e/b", at("link"))) == OK
    assert client.code(Symlink(b"e/b", at("link"))) == FAILED
    assert os.readlink(root / "link") == "e/b"
    assert client.ask(Readlink(at("link"))).names[0][0] == b"e/b"
    assert client.code(Readlink(at("e"))) == Code.INVALID
    assert client.code(Set(at("link"), 0o611, None)) == OK
    found = client.ask(Stat(at("link")))
    assert (found.size, found.mode, found.mtime) == (3, 0o100611, 1_000_000_000)
    assert stat.S_ISLNK(client.ask(Lstat(at("link"))).mode)
    opened = client.ask(OpenNew(at("h"), 0o600))
    assert client.code(Write(opened.handle, 4, b"tail")) == OK
    assert client.code(SetHandle(opened.handle, 0o644, 7)) == OK
    assert client.code(Close(opened.handle)) == OK
    assert client.code(Close(opened.handle)) != OK
    assert client.code(SetHandle(opened.handle, 0o644, 7)) != OK
    assert (root / "h").read_bytes() == bytes(4) + b"tail"
    assert ((root / "h").stat().st_mode, (root / "h").stat().st_mtime) == (0o100644, 7)
    assert client.code(Set(at("no"), 0o600, None)) == MISSING
    assert client.code(Symlink(b"nowhere", at("dangling"))) == OK
    assert client.code(Stat(at("dangling"))) == MISSING
    assert client.code(Lstat(at("dangling"))) == OK
    assert client.code(Lstat(at("x" * 256))) == Code.INVALID
    assert client.code(Raw(200, struct.pack(">I", 3) + b"odd")) == Code.UNSUPPORTED


def test_names_are_bytes(either: tuple[Client, Callable[[str], bytes]], root: Path) -> None:
    client, at = either
    top = at("").rstrip(b"/")
    for name in NAMES:
        assert client.put(top + b"/" + name, name) == OK
        assert client.code(Symlink(name, top + b"/" + name[:250] + b".link")) == OK
    on_disk: list[bytes] = os.listdir(os.fsencode(root))
    assert {name for name in on_disk if not name.endswith(b".link")} == set(NAMES)
    found = client.names(top or b"/")
    assert set(NAMES) <= set(found)
    for name in NAMES:
        assert found[name].size == len(name)
        assert client.ask(Readlink(top + b"/" + name[:250] + b".link")).names[0][0] == name
        assert client.ask(Realpath(top + b"/" + name)).names[0][0] == top + b"/" + name
        assert client.code(Replace(top + b"/" + name, top + b"/moved")) == OK
        assert client.code(Remove(top + b"/moved")) == OK


def test_a_large_folder_is_listed_whole(client: Client, root: Path) -> None:
    for number in range(350):
        (root / f"{number:03}").touch()
    assert sorted(client.names(b"/")) == [b"%03d" % number for number in range(350)]
    assert client.names(b"/") == client.names(b"")


def test_reading_appending_truncating(client: Client, root: Path) -> None:
    (root / "file").write_bytes(b"0123456789")
    opened = client.open(b"/file")
    data = client.ask(Read(opened.handle, 20, 5))
    assert data == Status(Code.EOF, data.message)
    assert client.code(Write(opened.handle, 0, b"x")) != OK, "opened for reading"
    opened = client.open(b"/file", 2 | APPEND)
    assert client.code(Write(opened.handle, 0, b"!")) == OK
    assert (root / "file").read_bytes() == b"0123456789!"
    assert isinstance(client.open(b"/file", 2 | TRUNCATE), Handle)
    assert (root / "file").read_bytes() == b""


def test_what_is_no_file_is_not_opened(client: Client, root: Path) -> None:
    os.mkfifo(root / "fifo")
    for path in (b"/fifo", b"/", b""):
        assert isinstance(client.open(path), Status)
        assert isinstance(client.open(path, 3), Status)


def test_torn_requests_get_a_status(client: Client, root: Path) -> None:
    assert client.code(Raw(99, b"")) == Code.UNSUPPORTED
    opened = client.ask(OpenNew(b"/file", 0o600))
    whole = wire.encode(Write(opened.handle, 0, b"content"), 0)[wire.HEAD.size :]
    for size in range(len(whole)):
        assert client.code(Raw(wire.WRITE, whole[:size])) == Code.INVALID
    assert (root / "file").read_bytes() == b""


# Nothing leads out


@pytest.fixture
def planted(root: Path, outside: Path) -> Path:
    """Links out, put there by somebody else."""
    (root / "out").symlink_to("../outside")
    (root / "absolute").symlink_to(outside)
    (root / "file").symlink_to("../outside/secret")
    (root / "deep").mkdir()
    (root / "deep/up").symlink_to("..")
    (root / "chain").symlink_to("deep/up/out")
    (root / "mine").write_text("mine")
    return root


OUT = [
    b"/../outside/secret",
    b"../outside/secret",
    b"/deep/../../outside/secret",
    b"/out/secret",
    b"/absolute/secret",
    b"/chain/secret",
    b"/deep/up/out/secret",
    b"/out/../outside/secret",
]


def untouched(outside: Path) -> bool:
    """Whether all is as it was."""
    return os.listdir(outside) == ["secret"] and (outside / "secret").read_text() == "secret"


@pytest.mark.parametrize("path", [*OUT, b"/file"])
def test_no_path_leads_out(client: Client, planted: Path, outside: Path, path: bytes) -> None:
    mode = (outside / "secret").stat().st_mode
    assert client.open(path).code == DENIED
    assert client.open(path, 2 | TRUNCATE).code == DENIED
    for request in (Stat(path), Set(path, 0o777, 1), Opendir(path), Realpath(path)):
        assert client.code(request) == DENIED
    if path != b"/file":  # itself a link out, it may be looked at, moved and removed
        assert client.open(path + b"-new", 2 | 8).code == DENIED
        requests: list[Verb] = [
            Lstat(path),
            Readlink(path),
            Remove(path),
            Rmdir(path),
            Mkdir(path + b"-new", 0o777),
            Symlink(b"x", path + b"-new"),
            Opendir(os.path.dirname(path)),
        ]
        for rename in (Rename, Replace):
            requests += [rename(b"/mine", path), rename(b"/mine", path + b"-new"), rename(path, b"/taken")]
        assert {client.code(request) for request in requests} == {DENIED}
    assert untouched(outside)
    assert (outside / "secret").stat().st_mode == mode
    assert (planted / "mine").read_text() == "mine"


def test_a_planted_link_itself_can_be_seen_moved_and_removed(client: Client, planted: Path) -> None:
    assert client.ask(Readlink(b"/out")).names[0][0] == b"../outside"
    assert client.code(Replace(b"/mine", b"/file")) == OK
    assert (planted / "file").read_text() == "mine"
    assert client.code(Remove(b"/out")) == OK
    assert not os.path.lexists(planted / "out")


@pytest.mark.parametrize(
    ("target", "path", "code"),
    [
        (b"..", b"/l", DENIED),
        (b"../outside", b"/l", DENIED),
        (b"/etc/passwd", b"/l", DENIED),
        (b"/", b"/l", DENIED),
        (b"deep/../../outside", b"/l", DENIED),
        (b"deep/up/../outside", b"/l", DENIED),
        (b"missing/../../outside", b"/l", DENIED),
        (b"missing/../mine", b"/l", DENIED),  # whether it leads out depends on what comes there
        (b"../..", b"/deep/l", DENIED),
        (b"out", b"/l", DENIED),
        (b"out/secret", b"/l", DENIED),
        (b"mine", b"/l", OK),
        (b"missing/too", b"/l", OK),
        (b"./deep/../mine", b"/l", OK),
        (b"../mine", b"/deep/l", OK),
        (b"..", b"/deep/l", OK),
        (b"mine/below", b"/l", OK),
        (b"l", b"/l", OK),
    ],
)
def test_no_link_that_leads_out_is_made(
    client: Client, planted: Path, outside: Path, target: bytes, path: bytes, code: int
) -> None:
    assert client.code(Symlink(target, path)) == code
    assert os.path.lexists(planted / os.fsdecode(path[1:])) == (code == OK)
    assert untouched(outside)


def test_an_absolute_link_within_is_followed(client: Client, root: Path) -> None:
    (root / "file").write_text("here")
    target = os.fsencode(root / "file")
    assert client.code(Symlink(target, b"/link")) == OK
    assert client.ask(Stat(b"/link")).size == 4
    assert client.ask(Realpath(b"/link")).names[0][0] == b"/file"
    assert client.code(Symlink(os.fsencode(f"{root}-beside"), b"/other")) == DENIED


def test_a_moved_link_must_not_come_to_lead_out(client: Client, root: Path, outside: Path) -> None:
    (root / "a").mkdir()
    assert client.code(Symlink(b"../outside", b"/a/l")) == OK, "there it means a place within"
    for rename in (Rename, Replace):
        assert client.code(rename(b"/a/l", b"/l")) == DENIED
    assert os.listdir(root) == ["a"]


def test_exclusive_open_follows_no_link(client: Client, root: Path) -> None:
    (root / "dangling").symlink_to("made")
    assert client.put(b"/dangling", b"x") == FAILED
    assert not (root / "made").exists()
    assert isinstance(client.open(b"/dangling", 2 | 8, 0o600), Handle), "without EXCL it is, as in OpenSSH"
    assert (root / "made").exists()


def test_loops_end(client: Client, root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    (root / "c").symlink_to("c/c")
    for path in (b"/a", b"/a/x", b"/c"):
        assert client.code(Stat(path)) == MISSING
        assert client.code(Opendir(path)) == MISSING


def test_a_link_that_is_swapped_in_is_not_followed(
    root: Path, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Racing(Files):
        """After a path was found, its last name becomes a link out."""

        @contextmanager
        def locate(self, path: str, *, follow: bool = False) -> Iterator[Any]:
            with super().locate(path, follow=follow) as place:
                if path == "/file":
                    os.unlink(root / "file")
                    os.symlink(outside / "secret", root / "file")
                elif path == "/folder":
                    os.rmdir(root / "folder")
                    os.symlink(outside, root / "folder")
                yield place

    def plant() -> None:
        for name in ("file", "folder"):
            if os.path.islink(root / name):
                os.unlink(root / name)
        (root / "file").touch()
        (root / "folder").mkdir(exist_ok=True)

    with (
        Server(root, user="me", password="pw", interface=Racing) as server,
        talk(server, tmp_path, monkeypatch) as client,
    ):
        for request in (Set(b"/file", 0o777, 1), Opendir(b"/folder")):
            plant()
            assert client.code(request) != OK
        plant()
        assert isinstance(client.open(b"/file", 2 | TRUNCATE), Status)
    assert untouched(outside)
    assert (outside / "secret").stat().st_mtime != 1


@pytest.mark.parametrize("path", [*OUT, b"/file"])
def test_without_descriptors_nothing_leads_out_either(
    root: Path, planted: Path, outside: Path, path: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconcile.serve.files._BY_DESCRIPTOR", False)
    files = Files.__new__(Files)
    files.root = os.fsencode(root)
    for follow in (True, False) if path != b"/file" else (True,):
        with pytest.raises(PermissionError), files.locate(os.fsdecode(path), follow=follow):
            pass
    with files.locate("/deep/../mine") as place:
        assert place == (os.fsencode(root / "mine"), None)
    with files.locate("/") as place:
        assert place == (os.fsencode(root), None)
    assert files.lstat("/mine").st_size == 4
    assert [vars(entry)["filename"] for entry in files.list_folder("/deep")] == [b"up"]


# Who may come in


def test_keys_let_in(root: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "mine")
    make_key(tmp_path / "other")
    (tmp_path / "keys").write_text(
        f'# comment\ncommand="x" {(tmp_path / "other.pub").read_text()}{(tmp_path / "mine.pub").read_text()}'
    )
    with Server(root, authorized_keys=tmp_path / "keys") as server:
        assert server.password is None
        login = trusting(server, tmp_path)
        for name, enters in (("mine", True), ("other", False)):
            given = Login(known_hosts=login.known_hosts, identity=str(tmp_path / name))
            if enters:
                with closing(connect(target(server), given, pytest.fail)) as connection:
                    assert Client(connection.channel).extensions
            else:
                with pytest.raises(Unreachable, match="the server allows: publickey"):
                    connect(target(server), given, pytest.fail)


def test_without_credentials_a_password_is_made(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(root) as one, Server(root) as other:
        assert one.password
        assert one.password != other.password
        with talk(one, tmp_path, monkeypatch) as client:
            assert client.names(b"/") == {}
        with pytest.raises(Unreachable):
            connect(target(other), trusting(other, tmp_path), pytest.fail)


def test_the_host_key_is_kept(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "state" / "key"
    with Server(root, host_key_file=file) as one, Server(root, host_key_file=file) as other:
        assert one.host_key == other.host_key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert os.listdir(file.parent) == ["key"]
    with Server(root) as another:
        assert another.host_key != one.host_key
    file.write_text("damaged")
    with pytest.raises(UsageError, match="Remove it"):
        Server(root, host_key_file=file)


def test_wrong_usage_is_told(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a directory"):
        Server(tmp_path / "missing")
    (tmp_path / "empty").touch()
    with pytest.raises(UsageError, match="no key"):
        Server(root, authorized_keys=tmp_path / "empty")
    with pytest.raises(UsageError, match="can't read"):
        Server(root, authorized_keys=tmp_path / "missing")
    with Server(root) as server, pytest.raises(UsageError, match="can't listen"):
        Server(root, port=server.port)


def test_a_shell_is_refused(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(root) as server:
        monkeypatch.setenv(VARIABLE, server.password or "")
        with closing(connect(target(server), trusting(server, tmp_path), pytest.fail)) as connection:
            channel = connection.transport.open_session()
            with pytest.raises(Exception, match="Channel closed"):
                channel.exec_command("true")


def test_closing_ends_sessions_and_frees_the_port(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(root).start()
    monkeypatch.setenv(VARIABLE, server.password or "")
    with closing(connect(target(server), trusting(server, tmp_path), pytest.fail)) as connection:
        Client(connection.channel)
        server.close()
        server.close()
        with pytest.raises(Unreachable):
            connection.open_channel()
    with socket.create_server(("127.0.0.1", server.port)):
        pass


def test_a_fault_is_one_method_away(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Files):
        """The disk is full."""

        def mkdir(self, _path: str, _attr: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with Server(root, interface=Full) as server, talk(server, tmp_path, monkeypatch) as client:
        reply = client.ask(Mkdir(b"/x", 0o700))
    assert reply == Status(FAILED, "No space left on device")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_says_how_to_connect_and_ends_on_a_signal(root: Path, tmp_path: Path, number: int) -> None:
    (root / "file").touch()
    program = (
        "import sys; from reconcile.serve.server import serve;"
        "serve(sys.argv[1], state=sys.argv[2], say=lambda line: print(line, flush=True))"
    )
    command = [sys.executable, "-c", program, str(root), str(tmp_path / "state")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().decode() for _ in range(4)]
        assert lines[0].startswith(f"serving {root} at sftp://reconcile@127.0.0.1:")
        assert "SHA256:" in lines[1]
        password = lines[2].removeprefix("password: ").strip()
        assert password in lines[3]
        assert "--accept-new-host-key" in lines[3]
        port = int(lines[0].split("/ ")[0].rpartition(":")[2])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, password)
            login = Login(
                known_hosts=str(tmp_path / "known"), accept_new_host_key=True, password_env=VARIABLE
            )
            where = SshTarget("127.0.0.1", "/", "reconcile", port)
            with closing(connect(where, login, lambda _: None)) as connection:
                assert list(Client(connection.channel).names(b"/")) == [b"file"]
                process.send_signal(number)
                assert process.wait(timeout=20) == 0
        assert process.stdout.read() == b"stopped\n"
    finally:
        end_tree(process)
        process.communicate()


class TestConformance(TreeConformance):
    """All that a remote must do, over the embedded server, which has no extension but posix-rename."""

    @pytest.fixture
    def open_remote(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenRemote]:
        def open_remote(dest: Path | str, options: Options, heard: Heard) -> Remote:
            path = "/" + os.path.relpath(dest, tmp_path)
            where = replace(target(server), path=path)
            return really_open(Job("/", where, "/", options, trusting(server, tmp_path)), heard)

        with Server(tmp_path, password="pw") as server:
            monkeypatch.setenv(VARIABLE, "pw")
            yield open_remote
