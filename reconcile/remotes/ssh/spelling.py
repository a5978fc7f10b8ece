"""How a line of an SSH config is spelled, in all the ways that OpenSSH takes: ssh_config(5). Pure.

What may live here: words, quotes, comments, and which words of a ``Match`` we can judge.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

_LINE = re.compile(r'\s*"?(\w+)"?(?:\s*=\s*|\s+)(.+)')
_CRITERIA = ("all", "host", "originalhost", "user", "localuser")  # of Match: what needs only names
_ALONE = ("all", "canonical", "final")  # those without an argument


def split_line(line: str) -> tuple[str, str] | None:
    """The keyword, and what stands behind it. None: a comment, or nothing to act on."""
    parsed = _LINE.match(line)
    return None if parsed is None else (parsed[1], parsed[2].strip())


def words_of(text: str) -> list[str]:
    """The arguments without their quotes, up to a comment. Raises ValueError if a quote is not closed."""
    words: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in " \t":
            at += 1
            continue
        if text[at] == "#":
            break
        word, quote = "", ""
        while at < len(text) and (quote or text[at] not in " \t"):
            char = text[at]
            if char == "\\" and text[at + 1 : at + 2] in ('"', "'", "\\", *([] if quote else [" "])):
                at += 1
                word += text[at]
            elif char == quote or (not quote and char in "\"'"):
                quote = "" if quote else char
            else:
                word += char
            at += 1
        if quote:
            raise ValueError(f"a quote is not closed in {text}")
        words.append(word)
    return words


def join_words(words: Sequence[str]) -> str:
    """One line of arguments, as paramiko splits it again."""
    return shlex.join(words)


def judge(criteria: str) -> tuple[str, str]:
    """Of a Match line the part that needs only names, and the first word that needs more, if any.

    Raises ValueError as ``words_of``.
    """
    words = words_of(criteria)
    if words and words[0].lower() == "all":
        return join_words(["all", *words[1:]]), ""
    sure: list[str] = []
    unknown = ""
    while words:
        word = words.pop(0)
        criterion, equals, value = word.partition("=")
        name = criterion.lower().lstrip("!")
        if equals:
            argument = [value] if value else words[:1]
            del words[: not value]
        else:
            argument = [words.pop(0)] if words and name not in _ALONE else []
        if name in _CRITERIA:
            sure += [criterion.lower(), *argument]
        else:
            unknown = unknown or criterion
    return join_words(sure) or "all", unknown
