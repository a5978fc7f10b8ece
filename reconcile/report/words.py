"""Names, numbers and results in words. Pure: no rich, no I/O, no time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from reconcile.core.errors import Exit
from reconcile.core.job import Result, Since
from reconcile.core.model import Action, Kind, Op, Problem, Reason, Stage
from reconcile.core.units import show_bytes, show_count, show_duration

PROBLEMS = 20  # lines; more of them are only counted
EXAMPLES = 3  # paths of problems of one cause that are named; so many have a line each

# What is done, in the order in which it is told, and by which operations.
DEEDS = {
    "create": (Op.CREATE, Op.MKDIR),
    "change": (Op.MODIFY, Op.SETMETA),
    "move": (Op.MOVE,),
    "delete": (Op.DELETE,),
}


PATIENCE = (
    "stopping: up to 5 s more for what is under way; a file that takes longer is begun anew next time "
    "(a second signal ends it at once)"
)
_INTERRUPTIONS = {
    Exit.HUNG_UP: "hung up",
    Exit.INTERRUPTED: "interrupted",
    Exit.TERMINATED: "terminated",
}
_NAMES_AND_NUMBERS = r"'(?:[^'\\]|\\.)*'|\"[^\"]*\"|\d[\d,.]*"
_NEW = Since("", 0)  # a problem that did not come up before
_HARMLESS = frozenset(
    ("scan", "load", "hash", "diff", "connect", "survey", "try", "verify")
)  # phases that change nothing


# Names and numbers


def show_name(name: str) -> str:
    r"""A name as a person may safely see it: one line, no control codes, and no two names look the same.

    Bytes that are no UTF-8 become ``\xNN``, control characters and other invisible ones ``\n``,
    ``\u202e`` and the like, a backslash is doubled. The empty path is the base itself: ``./``.
    """
    if not name:
        return "./"
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(_show_character(character) for character in name)


def _show_character(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # surrogateescape: a byte
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()


def show_message(text: str) -> str:
    """A message that may hold names, or words of a server: its lines stay, control codes don't."""
    if text.isprintable():
        return text
    return "".join(c if c in {"\n", "\\"} else _show_character(c) for c in text)


# A result


def summarise(result: Result, *, verbose: bool = False, failed: str | None = None) -> str:
    """The one line that a person reads at night. ``failed`` says how a run ended that did not finish."""
    line = _summarise(result, verbose, failed)
    if result.kept:
        line += f"; {show_count(result.kept, 'entry', 'entries')} gone here {_are(result.kept)} kept there"
    return line


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _summarise(result: Result, verbose: bool, failed: str | None) -> str:
    done = result.done
    problems = f", {show_count(len(result.problems), 'problem')}" if result.problems else ""
    if result.notes:
        problems += f", {show_count(len(result.notes), 'note')}{'' if verbose else ' (-v shows them)'}"
    unchanged = f" ({show_count(result.entries, 'entry', 'entries')} unchanged)" if result.entries else ""
    size = sum(action.bytes for action in done)
    target = show_name(result.target)
    if result.command == "plan":
        if not done:
            return f"plan: nothing to do{problems}{unchanged if not problems else ''}"
        deeds = ", ".join(_count_deeds(done, "{} to {}"))
        sends = f"{show_bytes(size)} to send" if size else "nothing to send"
        if result.plan.bytes_avoided:
            sends += f", {show_bytes(result.plan.bytes_avoided)} need not be sent"
        return f"plan: {deeds}; {sends}{problems}"
    parts = [told for told in _count_deeds(done, "{} {}d") if not told.startswith("0 ")]
    if failed is not None:
        parts += [f"{show_bytes(size)} sent"] if size else []
        return f"{failed} {'after ' + ', '.join(parts) if parts else 'before anything was done'} → {target}"
    if parts:
        parts.append(f"{show_bytes(size)} sent" if size else "nothing sent")
        return f"{', '.join(parts)} in {show_duration(result.duration_s)}{problems} → {target}"
    if result.problems or not result.plan.empty:
        return f"nothing done{problems} → {target}"
    how = "nothing to do" if result.connected else "nothing to do, no connection made"
    return f"{how}{problems}{unchanged}"


def _count_deeds(actions: Iterable[Action], form: str) -> Iterator[str]:
    """How much of each deed: ``2 to move``, or ``2 to move (74 entries)`` where subtrees are among it.

    A directory may be touched again, as its mode is set once it is filled: it counts as what came first.
    """
    counts, entries = dict.fromkeys(Op, 0), dict.fromkeys(Op, 0)
    directories: set[str] = set()
    of_directories = (Op.MKDIR, Op.SETMETA)
    for action in actions:
        op = action.op
        if op in of_directories and action.kind is Kind.DIR:
            if action.path in directories:
                continue
            directories.add(action.path)
        counts[op] += 1
        entries[op] += action.entries
    for deed, ops in DEEDS.items():
        count, held = sum(counts[op] for op in ops), sum(entries[op] for op in ops)
        yield form.format(f"{count:,}", deed) + (f" ({held:,} entries)" if held != count else "")


def explain_interruption(code: Exit, result: Result, *, at_once: bool = False) -> str:
    """What a signal ended and what state things are in. ``at_once``: nothing was waited for nor saved."""
    how = _INTERRUPTIONS.get(code, "stopped")
    if result.command == "plan" or result.phases.keys() <= _HARMLESS:
        return f"{how}; nothing was done"
    if at_once:
        return f"{how} at once; the next run finds out what became of what was under way, and goes on"
    planned = sum(1 for action in result.plan.actions if not action.parks)
    done = sum(1 for action in result.ended if not action.parks)
    left = f" ({planned - done:,} of {planned:,} steps are left)" if planned else ""
    return f"{how}; what was acknowledged is remembered, and the next run goes on from there{left}"


def explain_retry(lost: str, attempt: int, most: int, wait_s: float) -> str:
    """Why a connection has to be made, again or at last, and when that is tried next."""
    when = f" in {show_duration(wait_s)}" if wait_s else ""
    return f"{lost}; connecting again{when}, attempt {attempt} of {most}"


def explain_unsynced(count: int) -> str:
    """What an acknowledgement alone is worth."""
    return f"{show_count(count, 'file')} acknowledged, not yet known to be on the disk there (--fsync)"


def fold_problems(
    problems: Sequence[Problem], failing: Mapping[str, Since], *, limit: int = PROBLEMS
) -> list[str]:
    """One line each, or for many of one cause; beyond ``limit`` lines only how many of which reason."""
    causes: dict[tuple[Reason, str], list[Problem]] = {}
    for problem in problems:
        causes.setdefault(_cause(problem), []).append(problem)
    groups: list[Sequence[Problem]] = []
    for alike in causes.values():
        groups += [alike] if len(alike) > EXAMPLES else [[problem] for problem in alike]
    lines = [_problem_line(group, failing) for group in groups[:limit]]
    if rest := Counter(problem.reason.value for group in groups[limit:] for problem in group):
        tally = ", ".join(f"{count:,} {reason}" for reason, count in rest.most_common())
        lines.append(f"… and {rest.total():,} more: {tally} (--json lists all)")
    return lines


def _cause(problem: Problem) -> tuple[Reason, str]:
    """What problems of one cause have in common: their words, but for names and numbers in them."""
    if problem.reason is Reason.NO_SPACE:  # it stops uploads wherever they are just then
        return problem.reason, ""
    return problem.reason, re.sub(_NAMES_AND_NUMBERS, "*", problem.message)


def _problem_line(alike: Sequence[Problem], failing: Mapping[str, Since]) -> str:
    first = alike[0]
    message = show_message(first.message)
    if first.stage is Stage.AFTER:  # it is about no path
        line = message
    elif len(alike) == 1:
        line = f"{show_name(first.path)}: {message}"
    else:
        names = ", ".join(show_name(problem.path) for problem in alike[:EXAMPLES])
        line = f"{len(alike):,} paths, such as {names}: {message}"
    longest = max((failing.get(problem.path, _NEW) for problem in alike), key=lambda since: since.runs)
    if longest.runs < 2:
        return line
    return f"{line} (failing since {longest.day}, {longest.runs:,} runs)"


def count_actions(actions: Iterable[Action]) -> tuple[Counter[Op], Counter[Op]]:
    """Actions and paths by what is done to them."""
    counts: Counter[Op] = Counter()
    entries: Counter[Op] = Counter()
    for action in actions:
        counts[action.op] += 1
        entries[action.op] += action.entries
    return counts, entries
