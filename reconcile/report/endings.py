"""How a command ended, in a few lines for who was not there: a monitor, a hook, a mail. Pure."""

from __future__ import annotations

from reconcile.core.job import Ending
from reconcile.report.words import fold_problems, show_message, summarise

MOST = 10_000  # bytes of it, from the end, that are told
BROKE_OFF = {"interrupted": "stopped"}  # else it "broke off"


def tell_end(ending: Ending) -> str:
    """Notes, problems and the one line of the end, or why it broke off: the same whatever was shown."""
    result = ending.result
    lines = [f"note: {show_message(text)}" for text in ending.said]
    lines += [f"problem: {line}" for line in fold_problems(result.problems, result.failing)]
    if not ending.message:
        lines.append(sum_up(ending))
    else:
        if result.done and result.command == "run":
            lines.append(sum_up(ending))
        lines.append(f"error: {show_message(ending.message)}")
    return "\n".join(lines) + "\n"


def sum_up(ending: Ending) -> str:
    """What was done, in one line."""
    failed = BROKE_OFF.get(ending.status, "broke off") if ending.message else None
    return summarise(ending.result, failed=failed)
