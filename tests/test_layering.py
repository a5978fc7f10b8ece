"""Imports point down, and each third party has its place. Read from the source, nothing is run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconcile.remotes import SCHEMES, Scheme
from reconcile.remotes.local import scheme as local
from reconcile.remotes.s3 import scheme as s3
from reconcile.remotes.sftp import scheme as sftp

ROOT = Path(__file__).parents[1]

# From the top down. A wing, which is a module or a package with all in it that is not a wing itself, imports
# from its own row and from those below.
ROWS = (
    ("__main__",),
    ("cli",),
    ("commands",),
    ("demo", "jobs"),
    ("config", "options", "pipeline", "process", "report", "schedule", "serve", "told"),
    ("phases",),
    ("apply",),
    ("remotes.local", "remotes.s3", "remotes.sftp"),
    ("remotes.ssh", "remotes.tree"),
    ("remotes",),
    ("source",),
    ("state",),
    ("ci", "home", "leaving"),
    ("core",),
)
ROW = {name: number for number, row in enumerate(ROWS) for name in row}

# What knows nothing of the other, although its row is no reason.
APART = (
    ("remotes.tree", "remotes.ssh"),
    ("remotes.ssh", "remotes.tree"),
    ("serve", "remotes.tree"),
    ("remotes.local", "remotes.sftp"),
    ("remotes.local", "remotes.ssh"),
    ("remotes.sftp", "remotes.local"),
    *((wing, "remotes.s3") for wing in ("remotes.local", "remotes.sftp", "remotes.ssh", "remotes.tree")),
    *(("remotes.s3", wing) for wing in ("remotes.local", "remotes.sftp", "remotes.ssh", "remotes.tree")),
)
MEETING = (
    "remotes.sftp.open",
    "remotes.sftp.driver",
    "remotes.sftp.scheme",
    "remotes.sftp.line",
)  # of all SFTP what knows SSH

# Who may import what is not Python's own. A package's name stands for all in it.
# Nouns may be anywhere, so msgspec may.
THIRD_PARTIES = {
    "botocore": {"remotes.s3.open", "remotes.s3.quick", "remotes.s3.service", "remotes.s3.silence"},
    "urllib3": {"remotes.s3.quick", "remotes.s3.silence"},  # whose connections botocore's are
    "paramiko": {"remotes.ssh", "serve"},
    "cryptography": {"remotes.ssh", "serve"},
    "msgpack": {"source.fork", "state"},
    "xxhash": {"source.files", "state"},
    "click": {"cli", "commands", "jobs", "options"},
    "rich": {"report.terminal"},
    "watchfiles": {"source.watch"},
    "pathspec": {"core.filters"},
    "platformdirs": {"config", "jobs.file", "state"},
}

# What a pure module may use: nothing here knows a file, a clock, a process or chance.
HARMLESS = {
    *("__future__", "abc", "bisect", "collections", "dataclasses", "enum", "functools", "graphlib", "heapq"),
    *(
        "itertools",
        "math",
        "msgspec",
        "operator",
        "re",
        "string",
        "textwrap",
        "types",
        "typing",
        "unicodedata",
        "zlib",
    ),
}
SANS_IO = {
    "remotes.sftp.wire": HARMLESS | {"struct"},
    "core.chmod": HARMLESS | {"stat"},
    "core.settings": HARMLESS | {"ast"},
}

KNOWN: dict[str, Scheme] = {"sftp": sftp, "file": local, "s3": s3}  # which the type checker looks at

SLOW = ("boto3", "botocore", "paramiko", "cryptography")  # not before a connection is opened


def find_modules() -> dict[str, Path]:
    """Module names without the leading ``reconcile.``, ``__init__`` as its package; the root is ""."""
    modules = {}
    for path in sorted((ROOT / "reconcile").rglob("*.py")):
        parts = path.relative_to(ROOT / "reconcile").with_suffix("").parts
        modules[".".join(part for part in parts if part != "__init__")] = path
    return modules


MODULES = find_modules()


def imports_of(module: str, *, eager: bool = False) -> Iterator[str]:
    """Full names of what ``module`` imports; ``eager``: only what runs when it is imported itself."""
    yield from _imports(ast.parse(MODULES[module].read_text()).body, module, eager)


def _imports(body: list[ast.stmt], module: str, eager: bool) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, module)
            for alias in node.names:
                # `from package import module` imports the module, not a name in the package.
                inner = f"{base}.{alias.name}"
                yield inner if inner.removeprefix("reconcile.") in MODULES else base
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            if not eager:
                yield from _imports(node.body, module, eager)
            yield from _imports(node.orelse, module, eager)
        elif not (eager and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            for field in ("body", "orelse", "finalbody"):
                yield from _imports(getattr(node, field, []), module, eager)
            for branch in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                yield from _imports(branch.body, module, eager)


def _base(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    package = ["reconcile", *module.split(".")]
    climb = node.level - (MODULES[module].name == "__init__.py")
    parts = package[: len(package) - climb] if climb else package
    return ".".join([*filter(None, parts), *([node.module] if node.module else [])])


def unit(module: str) -> str:
    """The wing that a module of ours belongs to: the innermost."""
    parts = module.split(".")
    names = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((name for name in names if name in ROW), parts[0])


def inside(module: str, places: set[str]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def ours(name: str) -> str | None:
    """The module behind a full name, if it is one of ours."""
    if name == "reconcile":
        return ""
    return name.removeprefix("reconcile.") if name.startswith("reconcile.") else None


def test_every_module_has_a_row() -> None:
    strangers = {unit(module) for module in MODULES} - {""} - ROW.keys()
    assert not strangers, f"say in ROWS where these belong: {sorted(strangers)}"


def test_every_module_of_the_core_is_tried_on_its_own_or_where_it_is_named() -> None:
    """In ``tests/core/test_NAME.py``, or in a module of tests whose docstring names it, as ``NAME``."""
    tests = (ROOT / "tests").rglob("test_*.py")
    told = "".join(ast.get_docstring(ast.parse(path.read_text())) or "" for path in tests)
    modules = {module.rpartition(".")[2] for module in MODULES if module.startswith("core.")}
    own = {path.stem.removeprefix("test_") for path in (ROOT / "tests/core").glob("test_*.py")}
    assert {name for name in modules - own if f"``{name}``" not in told} == set()


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    if not module:
        return  # the package itself hands out public names of every row
    for name in imports_of(module):
        used = ours(name)
        if used:
            assert ROW[unit(used)] >= ROW[unit(module)], f"{module} imports {used}, which is above it"


def imports_from(module: str, wing: str) -> list[str]:
    return [name for each in imports_of(module) if (name := ours(each)) and inside(name, {wing})]


@pytest.mark.parametrize(("wing", "other"), APART)
def test_wings_that_know_nothing_of_each_other(wing: str, other: str) -> None:
    for module in MODULES:
        if inside(module, {wing}):
            assert not imports_from(module, other), module


def test_ssh_and_trees_meet_where_sftp_is_opened() -> None:
    meeting = {module for module in MODULES if inside(module, {"remotes.sftp"})} - {*MEETING}
    assert not [module for module in meeting if imports_from(module, "remotes.ssh")]


def test_no_circles() -> None:
    uses = {unit(module): set[str]() for module in MODULES}
    for module in MODULES:
        uses[unit(module)] |= {unit(used) for name in imports_of(module) if (used := ours(name))} - {
            unit(module)
        }
    while free := [name for name, used in uses.items() if not used & uses.keys()]:
        for name in free:
            del uses[name]
    assert not uses, f"these import each other: {sorted(uses)}"


@pytest.mark.parametrize("module", MODULES)
def test_third_parties_keep_their_place(module: str) -> None:
    for name in imports_of(module):
        top = name.partition(".")[0]
        if top not in ("reconcile", "msgspec") and top not in sys.stdlib_module_names:
            assert top in THIRD_PARTIES, f"{module} imports {name}, which has no place here yet"
            assert inside(module, THIRD_PARTIES[top]), f"{module} imports {name}"


PURE = [
    *(module for module in MODULES if module.startswith("core.")),
    *("report.words", "report.plans", "report.document", "report.meter", "report.checkup", "report.endings"),
    "report.endings",
]


@pytest.mark.parametrize("module", [*PURE, *SANS_IO])
def test_pure_modules_touch_nothing(module: str) -> None:
    for name in imports_of(module):
        top = name.partition(".")[0]
        if top != "reconcile" and not inside(module, THIRD_PARTIES.get(top, set())):
            assert top in SANS_IO.get(module, HARMLESS), f"{module} is pure, but imports {name}"


def test_every_scheme_offers_what_it_has_to() -> None:
    assert {name: scheme.__name__ for name, scheme in KNOWN.items()} == SCHEMES  # type: ignore[attr-defined]


def test_what_is_slow_to_import_is_imported_late() -> None:
    """Neither the package nor the command line reaches paramiko just by being imported."""
    late = [module.removeprefix("reconcile.") for module in SCHEMES.values()]  # which nothing imports openly
    came_from = reached("", "__main__", "cli", "pipeline", *late)
    for module, by in came_from.items():
        for name in imports_of(module, eager=True):
            assert name.partition(".")[0] not in SLOW, f"{name} by {module or 'reconcile'} by {by}"


def test_a_run_with_nothing_to_do_imports_little() -> None:
    """Each of these is of use to few runs, and takes time of all that import it."""
    came_from = reached("cli", "pipeline", "report.plain")
    few = {
        *("apply.staging", "core.compare", "core.reviewed", "core.shelf", "core.undo", "phases.catch_up"),
        *("phases.done", "phases.handover", "phases.release", "phases.reviewed", "phases.shared"),
        *("report.findings", "report.plans", "source.agree", "state.done", "state.journal"),
        *("state.readback", "apply.turn", "apply.adopt", "apply.recover"),
    }
    assert few <= MODULES.keys()
    assert {module: came_from[module] for module in few & came_from.keys()} == {}


def reached(*modules: str) -> dict[str, str]:
    """All that is imported as these are, with what imports it first."""
    came_from = dict.fromkeys(modules, "")
    todo = list(modules)
    for module in todo:
        for name in imports_of(module, eager=True):
            parts = (ours(name) or "").split(".")
            for used in (".".join(parts[:end]) for end in range(1, len(parts) + 1)):  # its packages run too
                if used in MODULES and used not in came_from:
                    came_from[used] = module
                    todo.append(used)
    return came_from


# What a tree may use of Python's own beside what is harmless: names as bytes, chance, the clock.
OF_TREES = HARMLESS | {"contextlib", "hashlib", "os", "posixpath", "stat", "time"}
OF_OS = {"fsencode", "fsdecode", "urandom"}


@pytest.mark.parametrize("module", [module for module in MODULES if inside(module, {"remotes.tree"})])
def test_a_tree_touches_no_disk_and_no_line_itself(module: str) -> None:
    for name in imports_of(module):
        assert name.partition(".")[0] in OF_TREES | {"reconcile"}, f"{module} imports {name}"
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr in OF_OS, f"{module} uses os.{node.attr}"
