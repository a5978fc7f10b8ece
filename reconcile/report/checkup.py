"""What was found out of a DEST, in lines for people and as a document for machines. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from reconcile.core.checkup import Checkup, Fact, Part, Standing
from reconcile.report.words import show_message

SIGNS = {Standing.TOLD: " ", Standing.WORKS: "✓", Standing.OTHERWISE: "~", Standing.LACKS: "✗"}
_TITLES = {
    Part.LINE: "Connection",
    Part.SERVER: "Server",
    Part.DEST: "DEST",
    Part.TRIED: "What it does",
}


class Row(Struct, frozen=True):
    """A line: of text after a sign, or of the title of a part, or of what a fact means."""

    text: str
    sign: str = ""
    is_title: bool = False

    @property
    def plain(self) -> str:
        """Without colours."""
        return self.text if self.is_title else f"  {self.sign or ' '} {self.text}".rstrip()


def rows(checkup: Checkup, width: int) -> Iterator[Row]:
    """All that is shown of it, in lines of so many characters."""
    names = max((len(fact.name) for fact in checkup.facts), default=0)
    for part in Part:
        facts = [fact for fact in checkup.facts if fact.part is part]
        if facts:
            yield Row(_TITLES[part], is_title=True)
        for fact in facts:
            yield from _rows_of(fact, names, width)


def _rows_of(fact: Fact, names: int, width: int) -> Iterator[Row]:
    room = max(
        width - names - 7, 20
    )  # two blanks, the sign, a blank, the name, two blanks, and one at the end
    first, *more = textwrap.wrap(show_message(fact.words), room, break_on_hyphens=False) or [""]
    yield Row(f"{fact.name:<{names}}  {first}", SIGNS[fact.standing])
    yield from (Row(f"{'':<{names}}  {line}", " ") for line in more)
    for number, line in enumerate(textwrap.wrap(show_message(fact.means), room - 2, break_on_hyphens=False)):
        yield Row(f"{'':<{names}}  {' ' if number else '→'} {line}", "")


def summarise(checkup: Checkup) -> str:
    """The last line."""
    if checkup.facts and all(fact.part is not Part.TRIED for fact in checkup.facts):
        return "doctor: nothing was tried, for what is said of DEST above"
    lacks, otherwise = len(checkup.having(Standing.LACKS)), len(checkup.having(Standing.OTHERWISE))
    parts = []
    if lacks:
        parts.append(f"{lacks} {'thing' if lacks == 1 else 'things'} can't be had")
    if otherwise:
        things = "" if lacks else " thing" if otherwise == 1 else " things"
        parts.append(f"{otherwise}{things} {'is' if otherwise == 1 else 'are'} done in another way")
    return f"doctor: {', '.join(parts) or 'a job gets all that it may ask for'}"


def document(
    checkup: Checkup, *, status: str, exit_code: int, notes: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """What ``--json`` prints. ``notes`` were said while it was found out."""
    return {
        "version": 1,
        "target": checkup.target or None,
        "status": status,
        "exit_code": int(exit_code),
        "facts": [
            {
                "part": fact.part.value,
                "name": fact.name,
                "standing": fact.standing.value,
                "value": fact.words if fact.value is None else fact.value,
                "words": fact.words,
                "means": fact.means or None,
            }
            for fact in checkup.facts
        ],
        "notes": [*notes],
    }
