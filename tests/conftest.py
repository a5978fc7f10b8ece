"""Fixtures for all tests. Each worker of pytest-xdist has servers of its own, on ports of its own."""

from __future__ import annotations

import getpass
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.jobs import job_to, served
from tests.support.proxy import Proxy, start_proxy
from tests.support.sshd import Sshd, start_sshd
from tests.support.trees import Tree, build_tree

__all__ = ["job_to", "served"]

# No deadlines: they time the machine, not the code. A slow machine is no failure either.
settings.register_profile(
    "default", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# CI says whether a change broke something: the same examples each time. Looking for new ones is for people.
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.register_profile("torture", settings.get_profile("default"), max_examples=20_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


def pytest_xdist_auto_num_workers() -> int:
    """How many work for ``-n auto``: half as many again as there are cores, since tests wait a third of their
    time for servers, processes and disks.
    """
    return max(1, len(os.sched_getaffinity(0)) * 3 // 2)


# What a shell ignores for its background jobs, our processes would ignore as well.
signal.signal(signal.SIGINT, signal.default_int_handler)
for ignored in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    if signal.getsignal(ignored) is signal.SIG_IGN:
        signal.signal(ignored, signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="session")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of our own: no test sees the user's keys, ssh config, agent or state, nor changes them."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        for name in ("SSH_AUTH_SOCK", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
            patch.delenv(name, raising=False)
        for name in ("CI", "GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):  # where the tests run
            patch.delenv(name, raising=False)
        yield home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an empty ``.ssh``."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """``typed(answer, …)``: what the user types unseen, in this order, or what makes it; returns the prompts
    as they come.
    """

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


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A real server, started once. Don't stop it: see `own_sshd`."""
    with start_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="session")
def shim_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A real server with the shim, which counts requests. Started once; don't stop it."""
    with start_sshd(tmp_path_factory.mktemp("shim"), with_shim=True) as server:
        server.requests()
        yield server


@pytest.fixture(scope="session")
def bound_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A real server whom permissions bind, even if root runs the tests. Started once; don't stop it."""
    with start_sshd(tmp_path_factory.mktemp("bound"), bound=True) as server:
        yield server


@pytest.fixture
def own_sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A real server, with the shim, for one test alone, which may stop and start it."""
    folder = tmp_path / "sshd"
    folder.mkdir()
    with start_sshd(folder, with_shim=True) as server:
        yield server


@pytest.fixture
def make_proxy() -> Iterator[Callable[..., Proxy]]:
    """``make_proxy(port, rtt=0.0)``: a proxy that ends with the test."""
    proxies: list[Proxy] = []

    def make(to: int, rtt: float = 0.0) -> Proxy:
        proxies.append(start_proxy(to, rtt))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty SRC."""
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """A place for DEST that does not exist yet."""
    return tmp_path / "dest"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A place for ``--state`` that does not exist yet."""
    return tmp_path / "state"


@pytest.fixture
def tree(source: Path) -> Callable[[Tree], Path]:
    """``tree({...})`` writes into SRC and returns it."""

    def build(content: Tree) -> Path:
        build_tree(source, content)
        return source

    return build
