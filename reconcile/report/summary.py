"""What a run came to, as GitHub shows it beside a job: HTML that it takes as Markdown. Pure.

Names and a server's words are in ``pre``, escaped: there they mean nothing, whatever they are.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence

from reconcile.core.job import Result
from reconcile.core.model import Op, Plan
from reconcile.report import plans, words

LIMIT = 1024 * 1024  # bytes that GitHub takes of a step
_FRAME = 512  # bytes that a block takes beside its lines, and more


def write_summary(result: Result, message: str = "", *, room: int = LIMIT) -> str:
    """All of it, in ``room`` bytes at most. ``message``: why the run broke off."""
    deed = "planned" if result.command == "plan" else "done"
    title = f"reconcile {result.command} → <code>{html.escape(words.show_name(result.target))}</code>"
    parts = [f"<h3>{title}</h3>\n\n"]  # in one line: an empty one would end the block, and begin Markdown
    if not message:
        parts.append(f"<p>{html.escape(' '.join(words.summarise(result).split()))}</p>\n\n")
    lines, deleted = plans.list_plan(Plan(levels=(tuple(result.done),)))
    blocks = {
        "Why it broke off": words.show_message(message).split("\n") if message else [],
        "Problems": words.fold_problems(result.problems, result.failing),
        f"Deletes that are {deed}": list(map(str, deleted)),
        f"What else is {deed}": list(map(str, lines)),
    }
    left = room - _size("".join(parts))
    for title, told in blocks.items():
        if told and left > _FRAME:
            parts.append(_block(title, told, left - _FRAME))
            left -= _size(parts[-1])
    return "".join(parts) if left >= 0 else ""


def write_outputs(result: Result) -> str:
    """Lines of ``name=value`` for the steps that follow. Nothing in it is anybody else's."""
    counts, _ = words.count_actions(result.done)
    told = json.dumps({op.value: counts[op] for op in Op}, separators=(",", ":"))
    return f"changes={'true' if counts else 'false'}\ncounts={told}\n"


def _block(title: str, lines: Sequence[str], room: int) -> str:
    """Some lines as they are, below a title with which they fold away; as many as there is room for."""
    shown: list[str] = []
    for line in lines:
        escaped = html.escape(line) + "\n"
        room -= _size(escaped)
        if room < 0:
            shown.append(f"… and {len(lines) - len(shown):,} lines more, which are in the log\n")
            break
        shown.append(escaped)
    head = f"<details open><summary>{html.escape(title)}</summary>"
    return f"{head}\n\n<pre>{''.join(shown)}</pre>\n\n</details>\n\n"


def _size(text: str) -> int:
    """Bytes, once it is written."""
    return len(text.encode("utf-8", "backslashreplace"))
