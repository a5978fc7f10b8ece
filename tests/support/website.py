"""A small site whose pages name what they need, and what of that a reader of DEST would miss."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

_NAMED = re.compile(r'src="/([^"]+)"')
PICTURES = 4


def write_site(root: Path, version: int) -> None:
    """One version: each brings a style of its own, changes the script, and moves the pictures."""
    for path in (root / "css", root / "page"):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    (root / "js").mkdir(exist_ok=True)
    (root / f"css/style-{version}.css").write_text(f"the style of version {version}\n" * 20)
    (root / "js/app.js").write_text(f"the script of version {version}\n" * (30 + version))
    pictures = root / f"img-{version}"
    former = root / f"img-{version - 1}"
    if former.is_dir():
        former.rename(pictures)
    else:
        pictures.mkdir()
        for n in range(PICTURES):
            (pictures / f"{n}.jpg").write_bytes(os.urandom(2000 + n))
    names = [f"css/style-{version}.css", "js/app.js", *(f"img-{version}/{n}.jpg" for n in range(PICTURES))]
    for name in ("index.html", "page/about.html", "page/more.html"):
        shown = "".join(f'<img src="/{each}">' for each in names)
        (root / name).write_text(f"<p>version {version}{'!' * version}{shown}</p>")


def missed(root: Path) -> list[str]:
    """What pages that are in ``root`` name, and is not there."""
    return [
        f"{page.relative_to(root)} names {name}"
        for page in _pages(root)
        for name in named(page.read_text())
        if not (root / name).is_file()
    ]


def versions(root: Path) -> set[str]:
    """Of which versions the pages are."""
    found = (re.search(r"version (\d+)", page.read_text()) for page in _pages(root))
    return {match[1] for match in found if match is not None}


def named(page: str) -> list[str]:
    """The paths of what a page needs."""
    return _NAMED.findall(page)


def _pages(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != ".reconcile"]
        yield from (Path(folder, name) for name in files if name.endswith(".html"))
