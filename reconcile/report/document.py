"""A result as what ``--json`` prints. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reconcile.core.job import Result
from reconcile.core.model import Op, Problem
from reconcile.report.findings import checked_document
from reconcile.report.words import count_actions


def document(
    result: Result, *, status: str, exit_code: int, notes: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    r"""What ``--json`` prints. ``notes`` were said during the run and stand beside the result's own.

    Names are strings in which a byte that is no UTF-8 is a lone surrogate ``\udcXX``:
    ``name.encode("utf-8", "surrogateescape")`` gives the bytes back.
    """
    done = result.done
    counts, entries = count_actions(done)
    body: dict[str, Any] = {
        "version": 1,
        "source": result.source or None,
        "target": result.target or None,
        "status": status,
        "exit_code": int(exit_code),
        "counts": {op.value: counts[op] for op in Op},
        "entries": {op.value: entries[op] for op in Op},
        "bytes_to_send": result.plan.bytes_to_send,
        "bytes_avoided": result.plan.bytes_avoided,
        "kept": result.kept,
        "actions": [
            {
                "op": action.op.value,
                "path": action.path,
                "from": action.origin,
                "kind": action.kind.value,
                "bytes": action.bytes,
                "reason": action.reason,
            }
            for action in done
        ],
        "problems": [_problem(problem) | _since(result, problem) for problem in result.problems],
        "notes": [*(_problem(note) for note in result.notes), *notes],
    }
    if result.command == "run":
        body |= {
            "connected": result.connected,
            "requests": result.traffic.requests,
            "bytes_sent": result.traffic.bytes_sent,
            "bytes_received": result.traffic.bytes_received,
            "unsynced": result.unsynced,
            "duration_s": round(result.duration_s, 3),
            "phases": {name: round(seconds, 3) for name, seconds in result.phases.items()},
        }
    if result.checked is not None:
        body["checked"] = checked_document(result.checked)
    return body


def _since(result: Result, problem: Problem) -> dict[str, str | int | None]:
    since = result.failing.get(problem.path)
    return {"since": None, "runs": None} if since is None else {"since": since.day, "runs": since.runs}


def _problem(problem: Problem) -> dict[str, str | int | None]:
    return {
        "path": problem.path,
        "stage": problem.stage,
        "reason": problem.reason.value,
        "message": problem.message,
    }
