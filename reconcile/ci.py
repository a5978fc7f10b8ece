"""What a CI service says of itself: that nobody is there to be asked, and who shows what we say."""

from __future__ import annotations

import os


def in_ci() -> bool:
    """Whether nobody is there: ``CI`` is set by all of them."""
    return _is_set("CI") or on_github()


def on_github() -> bool:
    """Whether it is GitHub's, or one that speaks its language (Forgejo, Gitea)."""
    return _is_set("GITHUB_ACTIONS")


def name_ourselves() -> str:
    """Where this run is made, in a word: the CI's page of it, or else this machine."""
    return ci_url() or os.uname().nodename


def ci_url() -> str:
    """Where to watch the CI job that we are, if it is one of GitHub's, GitLab's, or some others'."""
    at = os.environ.get
    if at("GITHUB_RUN_ID") and at("GITHUB_REPOSITORY"):
        server = at("GITHUB_SERVER_URL") or "https://github.com"
        return f"{server}/{at('GITHUB_REPOSITORY')}/actions/runs/{at('GITHUB_RUN_ID')}"
    names = ("CI_JOB_URL", "BUILD_URL", "CIRCLE_BUILD_URL", "BUILDKITE_BUILD_URL")
    return next((url for name in names if (url := at(name))), "")


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() not in {"", "0", "false", "no"}
