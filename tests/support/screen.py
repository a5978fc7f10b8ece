"""What a terminal shows of what is written to it: a command run on one of a given width, and a picture of it.

It knows as much of a terminal as our output asks of one: colours, and going back to draw a line anew.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.text import Text

ROWS = 200  # of the terminal: nothing ever scrolls away
_PART = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)|\x1b")
_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # nothing is fetched for a picture of ours


class Screen:
    """What is on a terminal of ``width`` columns: rows of cells, each with its colours."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._rows: list[list[tuple[str, str]]] = [[]]
        self._row = self._column = 0
        self._style = ""

    def feed(self, text: str) -> None:
        """Show what is written."""
        for match in _PART.finditer(text):
            codes, letter, control, plain = match.groups()
            if plain:
                for character in plain:
                    self._put(character)
            elif control == "\r":
                self._column = 0
            elif control == "\n":
                self._go_down()
            elif letter == "m":
                self._style = "" if codes in ("", "0") else f"{self._style}\x1b[{codes}m"
            elif letter == "A":
                self._row = max(0, self._row - int(codes or 1))
            elif letter == "K":
                kept = 0 if codes == "2" else self._column
                del self._rows[self._row][kept:]

    @property
    def lines(self) -> list[str]:
        """The text of all rows."""
        return ["".join(character for character, _ in row).rstrip() for row in self._rows]

    def picture(self, title: str) -> str:
        """An SVG of it."""
        console = Console(width=self.width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
        with console.file:
            for row in self._rows[: len(self._rows) - (not self._rows[-1])]:
                line = "".join(f"{style}{character}\x1b[0m" for character, style in row)
                console.print(Text.from_ansi(line), no_wrap=True, soft_wrap=True)
            return _FONT.sub("", console.export_svg(title=title))

    def _put(self, character: str) -> None:
        if self._column >= self.width:
            self._go_down()
            self._column = 0
        row = self._rows[self._row]
        row += [(" ", "")] * (self._column - len(row))
        row[self._column : self._column + 1] = [(character, self._style)]
        self._column += 1

    def _go_down(self) -> None:
        self._row += 1
        if self._row == len(self._rows):
            self._rows.append([])


def watch(
    command: Sequence[str],
    width: int,
    environment: Mapping[str, str],
    folder: str,
    until: Callable[[Screen], bool] = lambda _: False,
) -> tuple[Screen, int | None]:
    """What a command shows on a terminal, and its exit code; or what it shows once ``until`` is true of it.

    It is ended then, and there is no exit code.
    """
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, width, 0, 0))
    screen = Screen(width)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=its, stderr=its, env=dict(environment), cwd=folder
    ) as process:
        os.close(its)
        left = b""
        while piece := _read(ours):
            text, left = _whole(left + piece)
            screen.feed(text)
            if until(screen):
                process.kill()
                break
    os.close(ours)
    return screen, process.returncode if process.returncode >= 0 else None


def _whole(data: bytes) -> tuple[str, bytes]:
    """What can be shown of what has come: neither half a character nor half a command."""
    end = data.rfind(b"\x1b")
    if end >= 0 and not re.match(rb"\x1b\[[0-9;?]*[A-Za-z]", data[end:]):
        return data[:end].decode(), data[end:]
    try:
        return data.decode(), b""
    except UnicodeDecodeError as error:
        return data[: error.start].decode(), data[error.start :]


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 16)
    except OSError:  # nobody has the other side any more
        return b""
