"""What a mutant is: a few lines replaced, and the tests or the fault that must notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class TextNotFound(Exception):
    """The text to be replaced is not there exactly once: the mutant says nothing any more."""


@dataclass(frozen=True)
class Edit:
    """One replacement in one file; the text must be there exactly once."""

    path: str
    old: str
    new: str

    def mutated(self, root: Path) -> str:
        """The file's text with the replacement in it.

        Raises:
            TextNotFound: the list is out of date.
        """
        text = (root / self.path).read_text("utf-8")
        times = text.count(self.old)
        if times != 1:
            raise TextNotFound(f"{self.path} holds this text {times} times instead of once:\n{self.old}")
        return text.replace(self.old, self.new)

    def apply(self, root: Path) -> None:
        """Carry it out in a copy of the tree."""
        (root / self.path).write_text(self.mutated(root), "utf-8")


@dataclass(frozen=True)
class Shown:
    """A fault of the laboratory under which the mutant cannot hide, and a complaint of the checker that says so."""

    fault: str
    complaint: str
    rounds: int = 1


@dataclass(frozen=True)
class Mutant:
    """One way to build the service wrong. Every one of `red` fails under it, and the laboratory complains."""

    name: str
    breaks: str
    invariant: str
    edits: tuple[Edit, ...]
    red: tuple[str, ...] = ()
    shown: Shown | None = None

    def apply(self, root: Path) -> None:
        """Break the copy of the tree at `root`."""
        for edit in self.edits:
            edit.apply(root)
