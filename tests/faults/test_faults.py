"""A short selection of the laboratory's faults, one service for all: `make faults` tries every one, for an hour."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.faults.laboratory import Laboratory
from tests.faults.nemesis.catalogue import FAULTS

SHORT = {
    "lost-message": 1,
    "kill-everything": 1,
    "doubtful-commit": 1,
    "postgres-immediate-restart": 1,
    "both-full": 1,
    "both-emptied": 1,
    "network-unreliable": 1,
    "messages-nonsense": 1,
    "unpublished": 1,
    "subscriber-overflown": 1,
}
#: What is lost is judged here; how quickly it recovers is measured by `make faults`, alone on the machine.
PATIENCE = 3.0


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Laboratory]:
    with Laboratory(say=print) as opened:
        yield opened


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_nothing_is_lost_doubled_or_wrong(laboratory: Laboratory, name: str) -> None:
    (fault,) = (fault for fault in FAULTS if fault.name == name)
    seed = random.randrange(1_000_000)
    print(f"again: python -m tests.faults --only {name} --rounds {SHORT[name]} --seed {seed}")
    outcome = laboratory.run(fault, rounds=SHORT[name], seed=seed, patience=PATIENCE)
    assert outcome.verdict.lost == []
    assert outcome.verdict.doubled == []
    assert outcome.verdict.wrong == []
    assert outcome.verdict.accepted > 0


def test_each_fault_has_a_name_of_its_own_and_strikes_at_least_five_times() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert all(fault.rounds >= 5 for fault in FAULTS)
    assert set(SHORT) <= set(names)
