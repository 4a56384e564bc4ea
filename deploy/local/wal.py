"""Positions in WAL, the names of its segments, and which timelines lead to one: pure rules of PostgreSQL's files."""

import re
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

SEGMENT_BYTES: Final = 16 * 2**20  # initdb's default
_SEGMENTS_PER_ID: Final = 2**32 // SEGMENT_BYTES
_SEGMENT: Final = re.compile(r"\A[0-9A-F]{24}\Z")
_PAGE_HEADER: Final = struct.Struct("=HHIQ")  # XLogPageHeaderData: magic, info, timeline, address of the page


def position(text: str) -> int:
    """The byte position that PostgreSQL writes as `0/3000148`."""
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def number_at(place: int) -> int:
    """The number of the segment that holds a position."""
    return place // SEGMENT_BYTES


def name_of(timeline: int, number: int) -> str:
    """The file name of a segment."""
    return f"{timeline:08X}{number // _SEGMENTS_PER_ID:08X}{number % _SEGMENTS_PER_ID:08X}"


def is_segment(name: str) -> bool:
    """Whether a file is a segment, and not a history file or the like."""
    return _SEGMENT.match(name) is not None


def number_of(name: str) -> int:
    """The number of the segment with this file name; the same on every timeline."""
    return int(name[8:16], 16) * _SEGMENTS_PER_ID + int(name[16:24], 16)


def holds_its_own(segment: Path) -> bool:
    """Whether a file in pg_wal was written under its name, and is not one that waits to be used again."""
    with segment.open("rb") as file:
        header = file.read(_PAGE_HEADER.size)
    if len(header) != _PAGE_HEADER.size:
        return False
    return bool(_PAGE_HEADER.unpack(header)[3] == number_of(segment.name) * SEGMENT_BYTES)


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one timeline contributes, from `begins` up to `ends` (positions; None: it has not ended)."""

    timeline: int
    begins: int
    ends: int | None

    def holds(self, number: int) -> bool:
        """Whether the segment of this number, on this timeline, may be of use."""
        return number_at(self.begins) <= number and (self.ends is None or number <= number_at(self.ends))


@dataclass(frozen=True, slots=True)
class Lineage:
    """The timelines that lead from the first one to `timeline`."""

    timeline: int
    stretches: tuple[Stretch, ...]

    @classmethod
    def of(cls, timeline: int, history: str) -> "Lineage":
        """Read a history file, which has a line for each timeline before: number, end, reason (timeline 1: none)."""
        stretches, begins = [], 0
        for line in history.splitlines():
            words = line.split()
            if len(words) >= 2 and words[0].isdigit():
                stretches.append(Stretch(int(words[0]), begins, position(words[1])))
                begins = position(words[1])
        return cls(timeline, _clipped([*stretches, Stretch(timeline, begins, None)]))

    def leads_through(self, timeline: int, begins: int, ends: int) -> bool:
        """Whether a base backup that was taken there lies on the way."""
        return any(
            each.timeline == timeline and each.begins <= begins and (each.ends is None or ends <= each.ends)
            for each in self.stretches
        )

    def on_the_way(self, names: Iterable[str]) -> set[str]:
        """Those of the files that are segments of this lineage."""
        return {
            name
            for name in names
            if is_segment(name)
            and any(each.timeline == int(name[:8], 16) and each.holds(number_of(name)) for each in self.stretches)
        }

    def missing(self, begins: int, names: Collection[str]) -> str | None:
        """The first segment that is not among the names: the one at a position, or one that others follow."""
        have = {number_of(name) for name in self.on_the_way(names)}
        first = number_at(begins)
        for number in range(first, max(have, default=first) + 1):
            if number not in have:
                return name_of(next(each.timeline for each in reversed(self.stretches) if each.holds(number)), number)
        return None


def _clipped(stretches: list[Stretch]) -> tuple[Stretch, ...]:
    """Without what a later timeline left out: one that began before its parent did goes on from the parent's parent."""
    clipped: list[Stretch] = []
    for each in reversed(stretches):
        if clipped:
            limit = clipped[0].begins
            each = replace(each, ends=limit if each.ends is None else min(each.ends, limit))
            if each.ends is not None and each.begins >= each.ends:
                continue
        clipped.insert(0, each)
    return tuple(clipped)
