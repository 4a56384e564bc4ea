"""What people see of a run: the table, a line a fault, and the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.faults.laboratory import Outcome

COLUMNS: Final = (
    "fault", "rounds", "calls", "accepted", "lost", "doubled", "wrong", "recovery s", "longest stall s", "slowest answer s"
)  # fmt: skip
_COMPLAINTS_MOST: Final = 12


def table(outcomes: list[Outcome]) -> str:
    """The outcomes as a Markdown table."""
    rows = [COLUMNS, tuple("-" * len(column) for column in COLUMNS), *(_cells(outcome) for outcome in outcomes)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    return "\n".join("| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows)


def line(outcome: Outcome) -> str:
    """One outcome in a line."""
    return "  " + ", ".join(f"{name} {cell}" for name, cell in zip(COLUMNS[1:], _cells(outcome)[1:], strict=True))


def complaints(outcome: Outcome) -> list[str]:
    """The first of what was found."""
    verdict = outcome.verdict
    found = [f"lost: {each}" for each in verdict.lost] + [f"doubled: {each}" for each in verdict.doubled] + verdict.wrong
    return found[:_COMPLAINTS_MOST] + ([f"and {len(found) - _COMPLAINTS_MOST} more"] if len(found) > _COMPLAINTS_MOST else [])


def _cells(outcome: Outcome) -> tuple[str, ...]:
    verdict = outcome.verdict
    return (
        outcome.fault.name,
        str(len(outcome.rounds)),
        str(outcome.calls),
        str(verdict.accepted),
        str(len(verdict.lost)),
        str(len(verdict.doubled)),
        str(len(verdict.wrong)),
        f"{outcome.recovery_seconds:.1f}",
        f"{outcome.longest_stall:.1f}",
        f"{outcome.slowest_answer:.1f}",
    )


def draw(outcome: Outcome, path: Path) -> None:
    """The fault's time line as a picture."""
    raise NotImplementedError(path)
