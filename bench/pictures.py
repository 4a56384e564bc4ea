"""Draws what was measured: `bench/results/*.json` in, pictures for `docs/performance.md` out.

.venv/bin/python -m bench.pictures
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
PICTURES = Path(__file__).parent.parent / "docs" / "images"
OURS, BARE, NAIVE = "#2563eb", "#9ca3af", "#f59e0b"
COLOURS = (OURS, "#059669", NAIVE, "#dc2626", "#7c3aed", "#0891b2")


def rates(kept: dict[str, Any]) -> Figure:
    """Each workload's rate with its spread, beside its goal, the bare route and the naive build."""
    table = kept["table"]
    figure, axes = _axes(10.0, 0.62 * len(table) + 1.4)
    for row, line in enumerate(reversed(table)):
        axes.barh(row, line["rate"], 0.55, color=OURS, label="this service" if not row else None)
        axes.plot([line["least"], line["most"]], [row, row], color="black", linewidth=1)
        axes.plot([line["goal"]] * 2, [row - 0.4, row + 0.4], color="#dc2626", linewidth=2, label=_once("goal", row))
        bare = line["rate"] / line["to_bare"] if line["to_bare"] else None
        if bare and line["workload"] != "batches of 500":
            axes.plot(bare, row, "D", color=BARE, label=_once("a bare Flask route, same minutes", row))
        if line["to_naive"]:
            axes.barh(row - 0.38, line["rate"] / line["to_naive"], 0.18, color=NAIVE)
    axes.barh(0, 0, color=NAIVE, label="the naive build")
    axes.set_yticks(range(len(table)), [line["workload"] for line in reversed(table)])
    axes.set_xlabel("a second (updates, for batches)")
    axes.legend(loc="lower right", fontsize=8)
    return figure


def players(kept: dict[str, Any]) -> Figure:
    """Costs of single operations by the board's size."""
    figure, axes = _axes(8.0, 4.6)
    names = {
        "accept": "accept, in groups of 8", "apply": "apply and tell, in batches", "rank": "rank of a player",
        "around": "around a player, 10", "page": "top 100", "delta": "delta of the top 100",
    }  # fmt: skip
    _curves(axes, kept["players"], names)
    axes.set(xscale="log", yscale="log", xlabel="players on the board", ylabel="µs, one caller alone")
    axes.set_yticks([50, 100, 200, 500, 1000], ["50", "100", "200", "500", "1,000"])
    axes.minorticks_off()
    return figure


def rebuild(kept: dict[str, Any]) -> Figure:
    """How long a lost board takes to come back from Postgres."""
    figure, axes = _axes(8.0, 3.4)
    found = kept["players"]
    axes.plot(_sizes(found), [figures["rebuild"] / 1e6 for figures in found.values()], "o-", color=OURS)
    axes.set(xscale="log", yscale="log", xlabel="players on the board", ylabel="seconds to rebuild it")
    return figure


def workers(kept: dict[str, Any]) -> Figure:
    """Rows a second by worker processes, each with a shard."""
    figure, axes = _axes(5.0, 3.2)
    found = kept["workers"]
    axes.bar(list(found), [figures["rows_a_second"] for figures in found.values()], 0.5, color=OURS)
    axes.set(xlabel="worker processes and shards, on two cores", ylabel="updates applied a second")
    return figure


def sockets(kept: dict[str, Any]) -> Figure:
    """Cost of a frame, and the wait for it, by sockets."""
    figure = Figure((10.0, 4.2), layout="constrained")
    cost, wait = figure.subplots(1, 2)
    _curves(cost, kept["sockets"], {"us": "this service", "floor_us": "C, epoll", "naive_us": "flask-sock as it comes"})
    cost.set(xscale="log", yscale="log", xlabel="sockets, 50 changes a second", ylabel="CPU µs a frame")
    _curves(wait, kept["sockets"], {"p50_ms": "half of all", "p99_ms": "99 of 100"})
    wait.set(xscale="log", xlabel="sockets, 50 changes a second", ylabel="ms from the 202 to the delta", ylim=(0, None))
    return figure


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=True, alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def _curves(axes: Axes, found: dict[str, dict[str, float]], names: dict[str, str]) -> None:
    axes.grid(visible=True, alpha=0.25)
    for (name, label), colour in zip(names.items(), COLOURS, strict=False):
        axes.plot(_sizes(found), [figures[name] for figures in found.values()], "o-", color=colour, label=label)
    axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)


def _sizes(found: dict[str, Any]) -> Sequence[int]:
    return [int(size) for size in found]


def _once(label: str, row: int) -> str | None:
    return None if row else label


DRAWN: dict[str, tuple[str, Callable[[dict[str, Any]], Figure]]] = {
    "rates": ("rates.json", rates),
    "growth-players": ("growth.json", players),
    "growth-rebuild": ("growth.json", rebuild),
    "growth-workers": ("growth.json", workers),
    "growth-sockets": ("growth.json", sockets),
}


def main() -> None:
    """Draw what there is."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for name, (source, draw) in DRAWN.items():
        if (RESULTS / source).exists():
            target = PICTURES / f"{name}.png"
            draw(json.loads((RESULTS / source).read_text("utf-8"))).savefig(target, dpi=110)
            print(target)
        else:
            print(f"{source} is not there yet: nothing drawn for {name}")


if __name__ == "__main__":
    main()
