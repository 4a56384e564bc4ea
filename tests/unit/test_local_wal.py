"""Which WAL a restore needs, by the names of its segments and the histories of timelines."""

import pytest

from deploy.local.wal import SEGMENT_BYTES, Lineage, Stretch, is_segment, name_of, number_of, position

A, B = 5 * SEGMENT_BYTES + 100, 8 * SEGMENT_BYTES + 100
HISTORY = f"1\t0/{A:X}\tno recovery target specified\n\n2\t0/{B:X}\tbefore 2026-11-25 10:00:00\n"


@pytest.mark.parametrize("number", [0, 1, 255, 256, 2**24])
def test_a_segments_name_is_its_number(number: int) -> None:
    name = name_of(3, number)
    assert is_segment(name)
    assert number_of(name) == number
    assert not is_segment(name + ".partial")
    assert not is_segment("00000003.history")


def test_a_position_is_read_as_postgresql_writes_it() -> None:
    assert position("1/2000028") == 2**32 + 0x2000028


def test_a_lineage_goes_from_timeline_to_timeline() -> None:
    lineage = Lineage.of(3, HISTORY)
    assert lineage.stretches == (Stretch(1, 0, A), Stretch(2, A, B), Stretch(3, B, None))
    assert lineage.leads_through(1, 0, A)
    assert not lineage.leads_through(1, A - 1, A + 1)  # a backup of the time that was undone
    assert lineage.leads_through(3, B, B + 1)
    assert not lineage.leads_through(4, B, B + 1)


def test_a_timeline_that_went_back_beyond_its_parents_start_leaves_the_parent_out() -> None:
    early = A - SEGMENT_BYTES
    lineage = Lineage.of(4, HISTORY + f"3\t0/{early:X}\tbefore 2026-11-25 09:00:00\n")
    assert lineage.stretches == (Stretch(1, 0, early), Stretch(4, early, None))
    assert not lineage.leads_through(2, A, A + 1)


def test_a_gap_is_found_and_the_end_is_none() -> None:
    lineage = Lineage.of(3, HISTORY)
    whole = [*(name_of(1, n) for n in range(2, 6)), *(name_of(2, n) for n in range(5, 9)), name_of(3, 8), name_of(3, 9)]
    start = 2 * SEGMENT_BYTES + 40
    assert lineage.missing(start, whole) is None
    assert lineage.missing(start, []) == name_of(1, 2)
    assert lineage.missing(start, [*whole, name_of(2, 12)]) is None  # of the time that was undone
    assert lineage.missing(start, [name for name in whole if name != name_of(1, 3)]) == name_of(1, 3)
    assert lineage.missing(start, [name for name in whole if name != name_of(2, 7)]) == name_of(2, 7)
    assert lineage.missing(start, [*whole, name_of(3, 11)]) == name_of(3, 10)
