"""What a user types as DEST and as flags, and the ``job`` that becomes of it."""

import os
from pathlib import Path

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from msgspec.structs import replace

from reconcile.config import Flags, make_flags, make_job
from reconcile.core.errors import UsageError
from reconcile.core.job import Fsync, Links, OnDrift, Options, Perms, Target
from reconcile.remotes import parse_target, scheme_of
from reconcile.remotes.ssh.target import Login, SshTarget

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("sftp://host/a/b", SshTarget("host", "/a/b")),
        ("SFTP://me@host:2222/a", SshTarget("host", "/a", "me", 2222)),
        ("sftp://host:/a", SshTarget("host", "/a")),
        ("sftp://host/", SshTarget("host", "/")),
        ("sftp://host/~/site", SshTarget("host", "~/site")),
        ("sftp://host/~", SshTarget("host", "~/")),
        ("sftp://host/~/", SshTarget("host", "~/")),
        ("sftp://host//a/./b///c/", SshTarget("host", "/a/b/c")),
        ("sftp://host/a%20b%25", SshTarget("host", "/a b%")),
        ("sftp://host/%ff", SshTarget("host", "/\udcff")),
        ("sftp://host/what?#now", SshTarget("host", "/what?#now")),
        ("sftp://a%40b@host/x", SshTarget("host", "/x", "a@b")),
        ("sftp://me@[::1]:2222/a", SshTarget("::1", "/a", "me", 2222)),
        ("sftp://[fe80::1%25eth0]/a", SshTarget("fe80::1%eth0", "/a")),
        ("sftp://c/x", SshTarget("c", "/x")),
        ("host:a/b", SshTarget("host", "~/a/b")),
        ("me@host:/a/b/", SshTarget("host", "/a/b", "me")),
        ("me@host:~/a", SshTarget("host", "~/a", "me")),
        ("host:~", SshTarget("host", "~/")),
        ("host:.", SshTarget("host", "~/")),
        ("host:./~x", SshTarget("host", "~/~x")),
        ("host:a%20b", SshTarget("host", "~/a%20b")),
        ("host:a:b", SshTarget("host", "~/a:b")),
        ("host:a@b/c", SshTarget("host", "~/a@b/c")),
        ("me@[::1]:a", SshTarget("::1", "~/a", "me")),
        ("me@corp.com@host:/a", SshTarget("host", "/a", "me@corp.com")),
        ("sftp://me@corp.com@host/a", SshTarget("host", "/a", "me@corp.com")),
        ("m@c:x", SshTarget("c", "~/x", "m")),
        ("büro:Übersicht", SshTarget("büro", "~/Übersicht")),
    ],
)
def test_the_forms_of_dest(text: str, target: SshTarget) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("sftp://host", "no path"),
        ("sftp:///a", "no host"),
        ("sftp://@host/a", "user"),
        ("sftp://host:0/a", "1 to 65535"),
        ("sftp://host:65536/a", "1 to 65535"),
        ("sftp://host:²/a", "1 to 65535"),
        ("sftp://host/a/../b", r"'\.\.'"),
        ("sftp://host/%2e%2e/b", r"'\.\.'"),
        ("sftp://host/100%", "%25"),
        ("sftp://host/%00", "NUL"),
        ("sftp://host/~bob/x", "own home"),
        ("sftp://::1/a", "brackets"),
        ("sftp://[::1/a", "IPv6"),
        ("sftp://[host]/a", "IPv6"),
        ("sftp://a b/c", "not the name of a host"),
        ("sftp://-oProxyCommand=x/c", "not the name of a host"),
        ("sftp:/host/a", "two slashes"),
        ("ftp://host/a", "ftp:// is not supported"),
        ("gs://bucket/a", "gs:// is not supported"),
        ("s3://key:secret@bucket/a", "Keys never belong in a URL"),
        ("s3://bucket/a/../b", r"'\.\.'"),
        ("s3://bucket/a\x01/b", "control character"),
        ("s3:///a", "not the name of a bucket"),
        ("folder", "none of the forms"),
        (".", "none of the forms"),
        ("..", "none of the forms"),
        ("file:/a", "two slashes"),
        ("file://host/a", "folders of this machine"),
        ("file://a", "folders of this machine"),
        ("file:///100%", "%25"),
        ("file:///%00", "NUL"),
        ("me@host/a", "no colon"),
        ("C:\\data", "Windows"),
        ("c:/data", "Windows"),
        ("host:", "host:~"),
        (":a", "no host"),
        ("host:../a", r"'\.\.'"),
        ("host:~bob/x", "own home"),
        ("host:/~/x", "named ~"),
    ],
)
def test_what_is_no_dest_says_what_to_write(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_target(text)


@pytest.mark.parametrize(
    "text",
    [
        f"sftp://me:{SECRET}@host/a",
        f"sftp://me:{SECRET}/x@host/a",
        f"sftp://me:x@{SECRET}@host/a",
        f"sftp://me:{SECRET}",
        f"sftp:/me:{SECRET}@host/a",
        f"me:{SECRET}@host:a",
        f"me:{SECRET}/x@host:/a",
        f"ftp://me:{SECRET}@host/a",
    ],
)
def test_a_password_is_refused_and_not_echoed(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("host:2222/a/b", "sftp://host:2222/a/b"),
        ("me@corp.com@host:2222//a", "sftp://me@corp.com@host:2222/a"),
        ("[::1]:2222/a", "sftp://[::1]:2222/a"),
        ("host:2222", None),
        ("host:7/a", None),
        ("host:2022-11/a", None),
        ("host:/2222/a", None),
        ("sftp://host:2222/a", None),
    ],
)
def test_a_port_in_the_wrong_place_is_noticed(text: str, meant: str | None) -> None:
    hint = scheme_of(parse_target(text)).doubt(text)
    assert hint is None if meant is None else hint is not None and hint.endswith(f"write {meant}")


ODDITIES = st.text(alphabet="sftp://@:[]~.%a1\udcff\\ ?#\0", max_size=30)
WORDS = st.text(alphabet="ab1-_é", min_size=1, max_size=5).filter(lambda word: not word.startswith("-"))
FOLDERS = st.lists(st.sampled_from(["a", "b c", "%20", "~", ".", "\udcff", ""]), max_size=4).map("/".join)
LIKELY = st.one_of(
    st.builds("sftp://{0}@{1}:{2}/{3}".format, WORDS, WORDS, st.integers(1, 65535), FOLDERS),
    st.builds("sftp://{0}/~/{1}".format, WORDS, FOLDERS),
    st.builds("{0}@{1}:{2}".format, WORDS, WORDS, FOLDERS.filter(bool)),
    st.builds("{0}:/{1}".format, WORDS, FOLDERS),
)


@given(ODDITIES)
def test_any_text_is_a_target_or_a_usage_error(text: str) -> None:
    try:
        check_target(parse_target(text))
    except UsageError:
        pass


@given(LIKELY)
def test_what_looks_like_a_target_stands_for_itself(text: str) -> None:
    try:
        target = parse_target(text)
    except UsageError:
        reject()
    check_target(target)
    if "%" not in target.path:
        assert parse_target(str(target)) == target


def check_target(target: Target) -> None:
    assert target.path.startswith(("/", "~/") if isinstance(target, SshTarget) else "/")
    assert target.name
    assert ".." not in target.path.split("/")


@pytest.fixture
def flags(tmp_path: Path) -> Flags:
    return Flags(source=str(tmp_path / "src"), target="host:site", state=str(tmp_path / "state"))


def typed(flags: Flags, **more: object) -> Flags:
    """With more options, wherever they belong."""
    found = make_flags({"source": "", "target": "", **more})
    common = {name: value for name, value in more.items() if name in Flags.__struct_fields__}
    return replace(flags, **common, reaching=found.reaching)


def test_the_source_is_the_path_as_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: Flags
) -> None:
    (tmp_path / "releases/7/public").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/7")
    monkeypatch.chdir(tmp_path)

    def source(name: str) -> str:
        return make_job(replace(flags, source=name)).source

    top = os.getcwd()
    for name in ("current", "current/", "./current/.", f"{top}/current", f"{top}//current"):
        assert source(name) == f"{top}/current"
    assert source("current/public") == f"{top}/current/public"
    assert source("current/../7") == f"{top}/releases/7", "up from where the link leads"
    monkeypatch.chdir(tmp_path / "current")
    assert source(".") == f"{top}/releases/7"
    monkeypatch.setenv("PWD", f"{top}/current")
    assert source(".") == f"{top}/current", "as the shell shows it"
    assert source("public") == f"{top}/current/public"
    monkeypatch.setenv("PWD", f"{top}/releases")
    assert source(".") == f"{top}/releases/7", "a lie is not believed"


def test_our_own_state_is_not_sent(flags: Flags, tmp_path: Path) -> None:
    job = make_job(replace(flags, source=str(tmp_path), state=str(tmp_path / "state")))
    assert [own.path for own in job.options.own] == ["state"]
    assert make_job(flags).options.own == ()


def test_state_is_per_source_and_target_and_not_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: Flags
) -> None:
    here = make_job(replace(flags, state=None)).state
    monkeypatch.chdir("/")
    assert make_job(replace(flags, state=None)).state == here
    assert make_job(flags).state != make_job(replace(flags, target="host:other")).state
    assert make_job(flags).state.startswith(str(tmp_path / "state"))


def test_the_port_option_wins(flags: Flags) -> None:
    flags = replace(flags, target="sftp://me@host:1/a")
    assert make_job(flags).target == SshTarget("host", "/a", "me", 1)
    assert make_job(typed(flags, port=2)).target == SshTarget("host", "/a", "me", 2)


def test_later_filters_are_the_more_particular_ones(tmp_path: Path, flags: Flags) -> None:
    (tmp_path / "rules").write_bytes(b"\xef\xbb\xbf*.tmp\r\n# comment\n\xff\n")
    flags = replace(
        flags, exclude=("*.log", "#x"), include=("keep.log",), exclude_from=(str(tmp_path / "rules"),)
    )
    lines = [line for line in make_job(flags).options.filters if line]
    assert lines == ["*.tmp", "# comment", "\udcff", "*.log", "\\#x", "!keep.log"]


def test_flags_become_options_and_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: Flags
) -> None:
    key = tmp_path / "key"
    key.touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SITE_PASSWORD", SECRET)
    job = make_job(
        typed(
            flags,
            links="skip",
            times="ignore",
            perms="ignore",
            max_delete="10%",
            identity="~/key",
            known_hosts="~/hosts",
            password_env="SITE_PASSWORD",
            remote_workdir="~/work//x/",
            on_drift="skip",
            keep="30d",
            refresh=True,
            fsync="always",
            retries=0,
            retry_max_wait=0.5,
            timeout=7,
            wait=3600,
        ),
        interactive=True,
    )
    assert job.options.links is Links.SKIP
    assert not job.options.keep_times
    assert job.options.file_perms is job.options.dir_perms is Perms.IGNORE
    assert job.options.max_delete == "10%"
    assert job.options.remote_workdir == "~/work/x"
    assert job.options.on_drift is OnDrift.SKIP
    assert job.options.keep == 30 * 86400
    assert job.options.refresh
    assert job.options.fsync is Fsync.ALWAYS
    assert (job.options.retries, job.options.retry_max_wait) == (0, 0.5)
    assert (job.options.timeout, job.options.wait) == (7, 3600)
    assert isinstance(job.login, Login)
    assert job.login.identity == str(key)
    assert job.login.known_hosts == str(tmp_path / "hosts")
    assert job.login.interactive
    assert SECRET not in repr(job)


def test_without_flags_the_options_are_the_defaults(flags: Flags) -> None:
    assert make_job(flags).options == Options()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": ""}, "SRC is empty"),
        ({"source": "sftp://host/a"}, "pushes"),
        ({"port": 0}, "--port"),
        ({"port": 70000}, "--port"),
        ({"max_delete": "many"}, "--max-delete"),
        ({"max_delete": "101%"}, "--max-delete"),
        ({"max_delete": "-1"}, "--max-delete"),
        ({"max_delete": ""}, "--max-delete"),
        ({"keep": "30"}, "--keep"),
        ({"keep": "-1d"}, "--keep"),
        ({"keep": "٣d"}, "--keep"),
        ({"retries": -1}, "--retries"),
        ({"retry_max_wait": -1.0}, "--retry-max-wait"),
        ({"timeout": 0.5}, "--timeout"),
        ({"timeout": float("nan")}, "--timeout"),
        ({"wait": float("inf")}, "--wait"),
        ({"exclude": ("",)}, "--exclude"),
        ({"include": ("!x",)}, "--include"),
        ({"exclude_from": ("/does/not/exist",)}, "--exclude-from"),
        ({"identity": "/does/not/exist"}, "--identity"),
        ({"identity": ""}, "--identity"),
        ({"state": ""}, "--state"),
        ({"password_env": "NO_SUCH_VARIABLE_HERE"}, "--password-env"),
        *(({"job": name}, "--job") for name in ("", "a/b", "..", ".x", "-x", "a b", "ä", "a\n", "x" * 41)),
        ({"remote_workdir": "relative"}, "--remote-workdir"),
        ({"remote_workdir": "/a/../b"}, r"'\.\.'"),
        ({"remote_workdir": "/"}, "--remote-workdir"),
    ],
)
def test_bad_values_are_usage_errors(flags: Flags, changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_job(typed(flags, **changes))
