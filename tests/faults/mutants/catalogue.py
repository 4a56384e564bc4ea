"""All mutants there are, in the order of an update's way."""

from __future__ import annotations

from tests.faults.mutants import accepting, applying, boards, guarding
from tests.faults.mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (*accepting.MUTANTS, *applying.MUTANTS, *boards.MUTANTS, *guarding.MUTANTS)
