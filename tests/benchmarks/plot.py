"""The plot, as SVG by hand: it needs dots, lines and letters, and no library for that."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from tests.benchmarks.peers import OURS
from tests.benchmarks.results import Point, Row
from tests.benchmarks.table import ratio as show_ratio

WIDTH = 840
LEFT = 300  # where the axis begins
RIGHT = 30
STEP = 26  # pixels from one work to the next
CURVE = 210  # pixels of height of a curve's plot
COLOURS = {
    OURS: "#d1242f",
    "rsync": "#0969da",
    "rclone": "#8250df",
    "rclone, 32": "#bf8fff",
    "tar | ssh tar": "#57606a",
    "lftp": "#1a7f37",
    "sftp -b": "#bc8700",
    "find -printf": "#0a7ea4",
}
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1f2328}.dim{fill:#656d76;font-size:11px}"
    ".head{font-weight:600;font-size:13px}.grid{stroke:#d8dee4}.one{stroke:#d1242f;stroke-width:1.5}"
)


def draw(rows: Sequence[Row], caption: str) -> str:
    """An SVG document: how much longer the peers take, and the curves there are points for."""
    parts: list[str] = []
    y = 30.0
    compared = [row for row in rows if OURS in row.timings and any(peer in COLOURS for peer in _peers(row))]
    if compared:
        parts += _dots(compared, y)
        y += STEP * (len(compared) + 4)
    points = [point for row in rows for point in row.points]
    for plot in dict.fromkeys(point.plot for point in points):
        parts += _curves(plot, [point for point in points if point.plot == plot], y)
        y += CURVE + 70
    parts.append(f'<text class="dim" x="16" y="{y:.0f}">{escape(caption)}</text>')
    height = y + 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {WIDTH} {height:.0f}"><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" rx="8" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _dots(rows: Sequence[Row], top: float) -> Iterator[str]:
    """A line per work, a dot per peer, on a logarithmic axis: the time it takes, ours being 1."""
    times = [1 / ratio for row in rows for peer in _peers(row) if (ratio := row.ratio(peer))]
    low, high = min([0.5, *times]) / 1.15, max([2.0, *times]) * 1.3

    def across(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(value / low) / math.log(high / low)

    yield f'<text class="head" x="16" y="{top:.0f}">Time of the others, as multiples of ours</text>'
    yield from _legend([peer for row in rows for peer in _peers(row)], top + 22)
    first, last = top + 46, top + 46 + STEP * len(rows)
    for value in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        if low <= value <= high:
            x, kind = across(value), "one" if value == 1 else "grid"
            yield f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{first:.0f}" y2="{last:.0f}"/>'
            label = f"{value:g} x" if value >= 1 else f"{show_ratio(value)} x"
            yield f'<text class="dim" text-anchor="middle" x="{x:.1f}" y="{last + 15:.0f}">{label}</text>'
    for index, row in enumerate(rows):
        y = first + STEP * (index + 0.5)
        yield f'<text x="16" y="{y + 4:.0f}">{escape(_short(row.work))}</text>'
        for peer in _peers(row):
            if peer in COLOURS and (ratio := row.ratio(peer)):
                title = f"{peer}: {row.timings[peer].median:.2f} s, ours {row.timings[OURS].median:.2f} s"
                x = across(1 / ratio)
                yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{COLOURS[peer]}" fill-opacity=".85">'
                yield f"<title>{escape(title)}</title></circle>"


def _curves(plot: str, points: Sequence[Point], top: float) -> Iterator[str]:
    """A curve per tool; counts on a logarithmic axis, the x values there are at equal distances."""
    xs = sorted({point.x for point in points})
    most = max(point.y for point in points) * 1.1
    base = top + 40 + CURVE - 30

    def across(x: float) -> float:
        return 90 + (WIDTH - 90 - RIGHT - 40) * xs.index(x) / max(1, len(xs) - 1)

    def up(y: float) -> float:
        return base - (base - top - 40) * y / most

    yield f'<text class="head" x="16" y="{top:.0f}">{escape(plot)}</text>'
    yield from _legend([point.tool for point in points], top + 22)
    for value in _round_values(most):
        yield f'<line class="grid" x1="90" x2="{WIDTH - RIGHT}" y1="{up(value):.1f}" y2="{up(value):.1f}"/>'
        yield f'<text class="dim" text-anchor="end" x="82" y="{up(value) + 4:.1f}">{value:,.0f}</text>'
    for x in xs:
        at = f'x="{across(x):.1f}" y="{base + 18:.0f}"'
        yield f'<text class="dim" text-anchor="middle" {at}>{x:,.0f}</text>'
    for tool in dict.fromkeys(point.tool for point in points):
        colour = COLOURS.get(tool, "#000000")
        mine = [(across(p.x), up(p.y)) for p in sorted(points, key=lambda p: p.x) if p.tool == tool]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in mine)
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in mine)


def _legend(names: Sequence[str], y: float) -> Iterator[str]:
    x = 16.0
    for name in dict.fromkeys(name for name in names if name in COLOURS):
        yield f'<circle cx="{x + 5:.0f}" cy="{y - 4:.0f}" r="5" fill="{COLOURS[name]}"/>'
        yield f'<text class="dim" x="{x + 15:.0f}" y="{y:.0f}">{escape(name)}</text>'
        x += 34 + 6.5 * len(name)


def _round_values(most: float) -> list[float]:
    """Some four values from zero to ``most`` that are easy to read."""
    rough = most / 4
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    return [step * index for index in range(int(most / step) + 1)]


def _peers(row: Row) -> list[str]:
    return [name for name in row.timings if name != OURS]


def _short(work: str) -> str:
    return work if len(work) <= 42 else f"{work[:41]}…"
