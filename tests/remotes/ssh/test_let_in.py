"""Being let in by real servers that want more than one thing, or that take few tries."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from reconcile.remotes.sftp.session import Session
from reconcile.remotes.ssh.connect import connect
from tests.support.accounts import make_account
from tests.support.sshd import Sshd, start_sshd

SECRET = "correct horse"
VARIABLE = "TEST_PASSWORD"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an empty ``.ssh``."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """``typed(answer, …)``: what the user types, in this order; returns the prompts as they come."""

    def type_in(*answers: str | Callable[[], str]) -> list[str]:
        left = list(answers)
        prompts: list[str] = []

        def ask(prompt: str) -> str:
            prompts.append(prompt)
            if not left:
                raise EOFError
            answer = left.pop(0)
            return answer if isinstance(answer, str) else answer()

        monkeypatch.setattr(getpass, "getpass", ask)
        return prompts

    return type_in


def spoken(sshd: Sshd, **login: object) -> bool:
    """Whether SFTP is spoken, in the end."""
    with closing(connect(sshd.endpoint.target("/"), sshd.endpoint.login(**login), pytest.fail)) as connection:
        return bool(Session(connection.channel).handshake())


# Key and password


@pytest.mark.parametrize("way", ["password", "keyboard-interactive"])
def test_a_key_and_then_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Callable[..., list[str]], way: str
) -> None:
    account = make_account(tmp_path / "account", SECRET)
    with start_sshd(tmp_path, settings=(f"AuthenticationMethods publickey,{way}",), account=account) as sshd:
        monkeypatch.setenv(VARIABLE, SECRET)
        assert spoken(sshd, password_env=VARIABLE)
        prompts = typed(SECRET)
        assert spoken(sshd, interactive=True)
    assert len(prompts) == 1


def test_two_questions(tmp_path: Path, typed: Callable[..., list[str]]) -> None:
    account = make_account(tmp_path / "account", SECRET, factor=True)
    settings = ("AuthenticationMethods keyboard-interactive",)
    with start_sshd(tmp_path, settings=settings, account=account) as sshd:
        prompts = typed(SECRET, account.code)
        assert spoken(sshd, interactive=True)
        assert prompts == ["Password: ", "Verification code: "]
