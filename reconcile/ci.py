"""What a CI service says of itself: that nobody is there to be asked, and who shows what we say."""

from __future__ import annotations

import os


def in_ci() -> bool:
    """Whether nobody is there: ``CI`` is set by all of them."""
    return _is_set("CI") or on_github()


def on_github() -> bool:
    """Whether it is GitHub's, or one that speaks its language (Forgejo, Gitea)."""
    return _is_set("GITHUB_ACTIONS")


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() not in {"", "0", "false", "no"}
