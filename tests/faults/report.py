"""What people see of a run: the table, a line a fault, and the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from tests.faults.laboratory import Outcome

COLUMNS: Final = (
    "fault", "rounds", "calls", "accepted", "lost", "doubled", "wrong", "recovery s", "longest stall s",
    "slowest answer s",
)  # fmt: skip
_COMPLAINTS_MOST: Final = 12
#: Width of a point on the time line.
BIN_SECONDS: Final = 0.25


def table(documents: list[dict[str, Any]]) -> str:
    """The outcomes as a Markdown table."""
    rows = [COLUMNS, tuple("-" * len(column) for column in COLUMNS), *(_cells(each) for each in documents)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows
    )


def complaints(outcome: Outcome) -> list[str]:
    """The first of what was found."""
    verdict = outcome.verdict
    found = (
        [f"lost: {each}" for each in verdict.lost] + [f"doubled: {each}" for each in verdict.doubled] + verdict.wrong
    )
    return found[:_COMPLAINTS_MOST] + (
        [f"and {len(found) - _COMPLAINTS_MOST} more"] if len(found) > _COMPLAINTS_MOST else []
    )


def _cells(document: dict[str, Any]) -> tuple[str, ...]:
    return (
        document["fault"],
        str(len(document["rounds"])),
        str(document["calls"]),
        str(document["accepted"]),
        str(len(document["lost"])),
        str(len(document["doubled"])),
        str(len(document["wrong"])),
        f"{document['recovery_seconds']:.1f}",
        f"{document['longest_stall_seconds']:.1f}",
        f"{document['slowest_answer_seconds']:.1f}",
    )


def draw(outcome: Outcome, path: Path) -> None:
    """The fault's time line as a picture: what was answered, when it struck, when all was as before."""
    figure = Figure(figsize=(9.0, 2.4), dpi=80, layout="constrained")
    axes = figure.add_subplot()
    end = max([*outcome.accepted_at, *outcome.unanswered_at, 1.0])
    for moments, label, colour in (
        (outcome.accepted_at, "accepted", "#2a7f3f"),
        (outcome.refused_at, "told to come again (503)", "#c77700"),
        (outcome.unanswered_at, "no answer", "#b3261e"),
    ):
        axes.plot(*_per_second(moments, end), label=label, color=colour, linewidth=1.2)
    for number, each in enumerate(outcome.rounds):
        first = number == 0
        healed = max(each.healed_at, each.struck_at + 0.05)
        axes.axvspan(each.struck_at, healed, color="#b3261e", alpha=0.18, label="fault" if first else None)
        if each.recovered_at is not None:
            axes.axvspan(healed, each.recovered_at, color="#f2b800", alpha=0.25, label="recovery" if first else None)
    axes.set(xlim=(0, end), xlabel="seconds", ylabel="updates a second")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)  # room for the legend
    axes.set_title(f"{outcome.fault.name}: {outcome.fault.sentence}", fontsize=9, loc="left")
    axes.legend(fontsize=7, loc="upper right", ncols=5, frameon=False)
    figure.savefig(path, pil_kwargs={"optimize": True})


def _per_second(moments: list[float], end: float) -> tuple[list[float], list[float]]:
    bins = [0] * (int(end / BIN_SECONDS) + 1)
    for moment in moments:
        if moment <= end:
            bins[int(moment / BIN_SECONDS)] += 1
    return [place * BIN_SECONDS for place in range(len(bins))], [count / BIN_SECONDS for count in bins]
