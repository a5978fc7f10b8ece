"""``reconcile.toml``: where it is found, what may stand in it, and how what may not is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reconcile.commands import find_command
from reconcile.core.errors import Refused, UsageError
from reconcile.jobs.file import JobFile, find_file, read_file
from reconcile.jobs.lines import find_line

Write = Callable[[str], JobFile]
RUN = find_command("run")
BOTH = 'source = "a"\ntarget = "host:b"\n'


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> JobFile:
        path = tmp_path / "reconcile.toml"
        path.write_text(text)
        path.chmod(0o644)
        return read_file(str(path), RUN)

    return write


def test_a_job_has_what_it_says_over_what_it_inherits_over_the_defaults(write: Write) -> None:
    file = write(
        '[defaults]\nmax_delete = 20\nexclude = ["*.tmp"]\n'
        '[jobs.a]\nsource = "~/a"\ntarget = "me@nas:a"\nmirror = true\ntimeout = 5\nexclude = ["x"]\n'
        '[jobs.b]\ninherit = "a"\ntarget = "./b"\nretries = 0\nlinks = "skip"\n'
    )
    assert [table.path for table in file.jobs["b"].tables] == [("defaults",), ("jobs", "a"), ("jobs", "b")]
    assert (file.jobs["b"].source, file.jobs["b"].target) == (os.path.expanduser("~/a"), f"{file.folder}/b")
    assert file.jobs["a"].tables[0].values == {"max_delete": "20", "exclude": ("*.tmp",)}
    said = file.jobs["a"].tables[1].values
    assert (said["timeout"], said["mirror"], said["exclude"]) == (5.0, True, ("x",))
    assert isinstance(said["timeout"], float)


def test_paths_are_relative_to_the_file(write: Write) -> None:
    file = write(
        '[jobs.a]\nsource = "../a"\ntarget = "sub/b"\nstate = "s"\nssh_config = "none"\n'
        'exclude_from = ["list", "/abs", "~/own"]\nidentity = "key"\n'
        '[jobs.b]\nsource = "/"\ntarget = "host:sub/b"\nstate = "remote"\n'
    )
    here, said = file.folder, file.jobs["a"].tables[-1].values
    assert (file.jobs["a"].source, file.jobs["a"].target) == (f"{os.path.dirname(here)}/a", f"{here}/sub/b")
    assert (said["state"], said["ssh_config"], said["identity"]) == (f"{here}/s", "none", f"{here}/key")
    assert said["exclude_from"] == (f"{here}/list", "/abs", os.path.expanduser("~/own"))
    assert file.jobs["b"].target == "host:sub/b"
    assert file.jobs["b"].tables[-1].values["state"] == "remote"


def test_a_home_folder_is_one_wherever_it_stands(write: Write) -> None:
    file = write('[jobs.a]\nsource = "~/a"\ntarget = "~/b"\n')
    assert (file.jobs["a"].source, file.jobs["a"].target) == (
        os.path.expanduser("~/a"),
        os.path.expanduser("~/b"),
    )
    with pytest.raises(UsageError, match="is in ~nobody-known, and no such home folder is known"):
        write('[jobs.a]\nsource = "~nobody-known/a"\ntarget = "./b"\n')


def test_variables_are_filled_in(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "host:b")
    file = write('[jobs.a]\nsource = "$${x}/$y"\ntarget = "${WHERE}/c"\nexclude = ["${WHERE}"]\n')
    assert (file.jobs["a"].source, file.jobs["a"].target) == (f"{file.folder}/${{x}}/$y", "host:b/c")
    assert file.jobs["a"].tables[-1].values["exclude"] == ("host:b",)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (f"[jobs.a]\n{BOTH}miror = true\n", 4, "miror is no option; did you mean mirror?"),
        (f"[jobs.a]\n{BOTH}max-delete = 3\n", 4, "did you mean max_delete?"),
        (f'[jobs.a]\n{BOTH}\n# why\nexclude = [\n  "x",\n  3,\n]\n', 6, "takes a list of strings"),
        (f'[jobs.a]\n{BOTH}mirror = "yes"\n', 4, "mirror takes true or false"),
        (f"[jobs.a]\n{BOTH}links = true\n", 4, 'links takes one of "keep", "follow", "skip"'),
        (f'[jobs.a]\n{BOTH}links = "some"\n', 4, "'some' is not one of"),
        (f'[jobs.a]\n{BOTH}retries = "often"\n', 4, "retries takes a number"),
        (f"[jobs.a]\n{BOTH}retries = true\n", 4, "retries takes a number"),
        (f"[jobs.a]\n{BOTH}retries = 1.5\n", 4, "retries takes a number"),
        (f"[jobs.a]\n{BOTH}start_over = true\n", 4, "is for one run"),
        (f'[jobs.a]\n{BOTH}job = "b"\n', 4, "is for one run"),
        (f"[jobs.a]\n{BOTH}json = true\n", 4, "is for one run"),
        (f'[jobs.a]\n{BOTH}profile = "${{NOT_SET_AT_ALL}}"\n', 4, "needs NOT_SET_AT_ALL, which is not set"),
        (f'[jobs.a]\n{BOTH}profile = "${{x"\n', 4, "holds a ${ that begins no ${NAME}"),
        ('[jobs.a]\nsource = "a"\n', 1, "[jobs.a] has no target"),
        ("[jobs.a]\n", 1, "[jobs.a] has no source and target"),
        (f'[jobs.a]\n{BOTH}inherit = "b"\n', 4, "there is no job 'b' to inherit from"),
        (f'[jobs.a]\n{BOTH}inherit = "a"\n', 4, "inherit from itself"),
        (f'[jobs."a b"]\n{BOTH}', 1, "takes a name of up to"),
        (f'[jobs.".."]\n{BOTH}', 1, "takes a name of up to"),
        (f"[jobs.a]\n{BOTH}[jobs.A]\n{BOTH}", 4, "would be one folder"),
        (
            f"[job.a]\n{BOTH}",
            1,
            "there is no [job] here, only [defaults] and [jobs.NAME]; did you mean jobs?",
        ),
        ("[jobs]\na = 3\n", 2, "[jobs.a] has to be a table"),
        ('jobs = "a"\n', 1, "is a table for each job"),
        ('[defaults]\ninherit = "a"\n', 2, "inherit is no option"),
        ("[jobs.a]\nsource = 3\n", 2, "source takes a string"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(write: Write, text: str, line: int, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        write(text)
    assert f"reconcile.toml:{line}: " in str(caught.value)
    assert words in str(caught.value)


def test_all_that_is_wrong_is_told_at_once(write: Write) -> None:
    with pytest.raises(UsageError) as caught:
        write(f"[defaults]\nmiror = 1\n[jobs.a]\n{BOTH}mirror = 2\n[jobs.b]\nlinks = 3\n")
    assert [line.split(":")[1] for line in str(caught.value).splitlines()[1:]] == ["2", "6", "7", "8"]


def test_a_circle_of_inheritance_ends(write: Write) -> None:
    with pytest.raises(UsageError, match="would inherit from itself"):
        write('[jobs.a]\ninherit = "b"\n[jobs.b]\ninherit = "c"\n[jobs.c]\ninherit = "a"\n')


def test_what_others_inherit_from_may_be_no_job_itself(write: Write) -> None:
    file = write(f'[jobs.base]\nmirror = true\n[jobs.a]\ninherit = "base"\n{BOTH}')
    assert list(file.jobs) == ["a"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[jobs.a]\nsource = \n", ":2: this is no TOML"),
        (b'[jobs.a]\nsource = "', ":2: this is no TOML"),
        (b"# \xff\n", ":1: this is no UTF-8"),
        (b"#" * (1 << 20) + b"#", "larger than 1 MiB"),
    ],
)
def test_what_is_no_toml(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "f").write_bytes(data)
    (tmp_path / "f").chmod(0o644)
    with pytest.raises(UsageError, match=words):
        read_file(str(tmp_path / "f"), RUN)


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    with pytest.raises(UsageError, match="is no file"):
        read_file(str(tmp_path / "f"), RUN)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_text(f"[jobs.a]\n{BOTH}")
    path.chmod(0o646)
    with pytest.raises(Refused, match="may be written by everybody"):
        read_file(str(path), RUN)
    path.chmod(0o644)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    if os.getuid():
        with pytest.raises(Refused, match="owned by another user"):
            read_file(str(path), RUN)
    else:
        assert "a" in read_file(str(path), RUN).jobs  # root could do everything anyway


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_else_or_of_a_group_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(f"[jobs.a]\n{BOTH}")
    os.chown(path, 1, -1)
    with pytest.raises(Refused, match="owned by another user"):
        read_file(str(path), RUN)
    os.chown(path, 0, 54321)
    path.chmod(0o664)
    with pytest.raises(Refused, match="may be written by a group"):
        read_file(str(path), RUN)


def test_it_is_looked_for_upwards_and_then_at_the_users(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = home / "project" / "deep"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    monkeypatch.setenv("PWD", str(deep))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    assert find_file(None) is None
    (home / ".config").mkdir()
    (home / ".config" / "reconcile.toml").write_text(f"[jobs.a]\n{BOTH}")
    (home / ".config" / "reconcile.toml").chmod(0o600)
    users = find_file(None)
    assert users == str(home / ".config" / "reconcile.toml")
    assert read_file(users, RUN).is_users
    (deep.parent / "reconcile.toml").write_text("")
    assert find_file(None) == str(deep.parent / "reconcile.toml")
    assert find_file("~/.config/reconcile.toml") == users
    with pytest.raises(UsageError, match="--config: there is no"):
        find_file("nowhere.toml")


def test_lines_of_what_is_written_in_other_forms() -> None:
    text = 'jobs.a.source = "x"\njobs.a.exclude = """\ny\n"""\n\n[jobs]\n\n"b" = {source = "z"}\n'
    text = text.replace("[jobs]", "[other]")
    assert find_line(text, ("jobs", "a", "source")) == 1
    assert find_line(text, ("jobs", "a", "exclude")) == 2
    assert find_line(text, ("jobs", "a", "nothing")) == 0
