"""Draws a dashboard's panels from its own queries: `python -m deploy.grafana.picture --prometheus URL --output FILE`.

For documents: the places, titles, queries and units are those of the JSON that Grafana is given.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from deploy.grafana.queries import Asked, QueryFailed, ask, dashboards, name_of, queries

# The service's own pages in the dark (web/pages/static/style.css).
PAGE: Final = "#101314"
CARD: Final = "#181c1e"
LINE: Final = "#2a3033"
INK: Final = "#e9edec"
MUTED: Final = "#9aa5a7"
LINES: Final = ("#5fd0bd", "#f2c063", "#8fb8f0", "#ff9a98", "#c6a2ee", "#d3a678", "#b9c4c9", "#9bcf7a")
UNIT_PIXELS: Final = 36
WIDTH_PIXELS: Final = 1760
HEAD_PIXELS: Final = 64
DPI: Final = 100
GAP: Final = 7
POINTS: Final = 240
#: Seconds between the marks of the time axis, and the most of them.
STEPS: Final = (5, 10, 30, 60, 120, 300, 600, 1800, 3600, 10800, 21600)
STEPS_MOST: Final = 5
LEGEND_MOST: Final = 6


@dataclass(frozen=True, slots=True)
class Series:
    """One line: seconds and values."""

    name: str
    times: list[float]
    values: list[float]


def series_of(prometheus: str, asked: Asked, since: float, until: float, window: str) -> list[Series]:
    """What a query gives over time.

    Raises:
        QueryFailed: Prometheus does not answer it.
    """
    step = max(1, round((until - since) / POINTS))
    found = ask(prometheus, "query_range", query=asked.filled(window), start=since, end=until, step=step)
    return [
        Series(
            name_of(asked, each["metric"]),
            [float(moment) for moment, _ in each["values"]],
            [float(value) for _, value in each["values"]],
        )
        for each in found
    ]


def told(value: float, unit: str) -> str:
    """A figure as people read it."""
    if math.isnan(value):
        return "–"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        for size, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return "0 s"
    end = {"ops": "/s", "reqps": "/s", "Bps": "B/s", "bytes": "B"}.get(unit, "")
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {sign}{end}"
    return f"{value:.3g} {end}".strip()


class Picture:
    """A figure in pixels from the top left, as the grid of a dashboard is."""

    def __init__(self, document: dict[str, Any]) -> None:
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in document["panels"])
        self.height = HEAD_PIXELS + rows * UNIT_PIXELS + GAP
        self.figure = Figure(figsize=(WIDTH_PIXELS / DPI, self.height / DPI), dpi=DPI, facecolor=PAGE)

    def box(self, panel: dict[str, Any]) -> tuple[float, float, float, float]:
        """Left, top, width and height of a panel."""
        grid, unit = panel["gridPos"], (WIDTH_PIXELS - 2 * GAP) / 24
        left, top = GAP + grid.get("x", 0) * unit, HEAD_PIXELS + grid.get("y", 0) * UNIT_PIXELS
        return left + GAP / 2, top + GAP / 2, grid["w"] * unit - GAP, grid["h"] * UNIT_PIXELS - GAP

    def text(self, left: float, top: float, words: str, size: float, color: str = INK, **how: Any) -> None:
        """Words, at their base line."""
        self.figure.text(left / WIDTH_PIXELS, 1 - top / self.height, words, fontsize=size, color=color, **how)

    def card(self, box: tuple[float, float, float, float]) -> None:
        """The panel's ground."""
        left, top, width, height = box
        place = (left / WIDTH_PIXELS, 1 - (top + height) / self.height)
        card = FancyBboxPatch(
            place, width / WIDTH_PIXELS, height / self.height, boxstyle="round,pad=0,rounding_size=0.004",
            mutation_aspect=WIDTH_PIXELS / self.height, facecolor=CARD, edgecolor=LINE, linewidth=1, zorder=-1,
            transform=self.figure.transFigure,
        )  # fmt: skip
        self.figure.add_artist(card)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes in a part of a card."""
        found: Axes = self.figure.add_axes(
            (left / WIDTH_PIXELS, 1 - (top + height) / self.height, width / WIDTH_PIXELS, height / self.height)
        )
        found.set_facecolor("none")
        for spine in found.spines.values():
            spine.set_visible(False)
        return found


def _graph(picture: Picture, panel: dict[str, Any], lines: list[Series], unit: str, span: tuple[float, float]) -> None:
    left, top, width, height = picture.box(panel)
    picture.text(left + 14, top + 25, panel["title"], 10.5, weight="bold")
    axes = picture.axes(left + 62, top + 42, width - 80, height - 118)
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    axes.set_xlim(*span)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.tick_params(colors=MUTED, labelsize=8, length=0)
    step = next((step for step in STEPS if (span[1] - span[0]) / step <= STEPS_MOST), STEPS[-1])
    axes.xaxis.set_major_locator(MultipleLocator(step))
    clock = "%H:%M" if step >= 60 else "%H:%M:%S"
    axes.xaxis.set_major_formatter(FuncFormatter(lambda moment, _: datetime.fromtimestamp(moment, UTC).strftime(clock)))
    axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: told(value, unit)))
    if not lines:
        words = panel["fieldConfig"]["defaults"].get("noValue", "no data")
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", color=MUTED, fontsize=9)
    below: dict[float, float] = {}
    for place, (line, color) in enumerate(zip(lines, _colors(), strict=False)):
        values = line.values
        if stacked:
            values = [
                below.get(at, 0.0) + (0 if math.isnan(v) else v) for at, v in zip(line.times, values, strict=True)
            ]
        ground = [below.get(at, 0.0) for at in line.times] if stacked else [0.0] * len(values)
        axes.plot(
            line.times, values, color=color, linewidth=1.4, marker="o" if len(values) == 1 else None, markersize=3,
            zorder=100 - place,  # the first above the rest: in a stack those that are 0 would hide it
        )  # fmt: skip
        axes.fill_between(line.times, ground, values, color=color, alpha=0.28 if stacked else 0.07, linewidth=0)
        if stacked:
            below.update(zip(line.times, values, strict=True))
    axes.set_ylim(bottom=0)
    _legend(picture, (left, top, width, height), lines, unit)


def _legend(picture: Picture, box: tuple[float, float, float, float], lines: list[Series], unit: str) -> None:
    """Names with their last values, in two columns at the foot of a card."""
    left, top, width, height = box
    column = (width - 28) / 2
    for place, (line, color) in enumerate(zip(lines[:LEGEND_MOST], _colors(), strict=False)):
        x, y = left + 14 + place % 2 * column, top + height - 46 + place // 2 * 16
        most = int(column / 7.2) - 12
        name = line.name if len(line.name) <= most else line.name[: most - 1] + "…"
        picture.text(x, y, "●", 7, color)
        picture.text(x + 13, y, f"{name}  {told(line.values[-1], unit)}", 8, MUTED)


def _number(picture: Picture, panel: dict[str, Any], lines: list[Series], unit: str) -> None:
    left, top, width, height = picture.box(panel)
    picture.text(left + 14, top + 25, panel["title"], 10.5, weight="bold")
    values = [value for value in (lines[0].values if lines else []) if not math.isnan(value)]
    last = values[-1] if values else math.nan
    color = INK
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step.get("value") is None or last >= step["value"]:
            color = step["color"]
    if len(values) > 1:
        axes = picture.axes(left + 1, top + height * 0.7, width - 2, height * 0.28)
        axes.axis("off")
        axes.fill_between(range(len(values)), values, min(0.0, *values), color=color, alpha=0.16, linewidth=0)
        axes.plot(values, color=color, linewidth=1.2, alpha=0.7)
        axes.margins(0, 0.1)
    picture.text(left + 14, top + height * 0.6, told(last, unit), 23, color, weight="bold")


def _colors() -> Iterator[str]:
    while True:
        yield from LINES


def draw(prometheus: str, name: str, since: float, until: float, window: str) -> Figure:
    """The dashboard as it would be seen.

    Raises:
        KeyError: there is no such dashboard.
        QueryFailed: Prometheus does not answer.
    """
    document = dashboards()[name]
    picture = Picture(document)
    picture.text(GAP + 8, 40, document["title"], 17, weight="bold")
    when = f"{datetime.fromtimestamp(since, UTC):%Y-%m-%d %H:%M:%S} – {datetime.fromtimestamp(until, UTC):%H:%M:%S} UTC"
    picture.text(WIDTH_PIXELS - GAP - 8, 40, when, 10, MUTED, ha="right")
    found: dict[int, list[Series]] = {}
    for asked in queries(name):
        found.setdefault(asked.panel_id, []).extend(series_of(prometheus, asked, since, until, window))
    for panel in document["panels"]:
        box = picture.box(panel)
        if panel["type"] == "row":
            picture.text(box[0] + 4, box[1] + 22, panel["title"], 12, MUTED)
            continue
        picture.card(box)
        unit = panel["fieldConfig"]["defaults"].get("unit", "")
        lines = found.get(panel["id"], [])
        if panel["type"] == "stat":
            _number(picture, panel, lines, unit)
        else:
            _graph(picture, panel, lines, unit, (since, until))
    return picture.figure


def main() -> int:
    """Draw it; gives the exit code."""
    parser = argparse.ArgumentParser("python -m deploy.grafana.picture", description=__doc__)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--dashboard", default="overview", choices=sorted(dashboards()))
    parser.add_argument("--minutes", type=float, default=15, help="how far back (%(default)s)")
    parser.add_argument("--until", type=float, help="Unix time of the right edge; now without it")
    parser.add_argument("--window", default="1m", help="for rates; at least four scrapes (%(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    until = options.until or time.time()
    mpl.rcParams["font.family"] = ["DejaVu Sans"]
    try:
        figure = draw(options.prometheus, options.dashboard, until - options.minutes * 60, until, options.window)
    except QueryFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    figure.savefig(options.output, facecolor=PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
