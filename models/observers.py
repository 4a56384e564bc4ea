"""How figures are told: to nobody when nobody asked for them, and many at a time."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from prometheus_client import Histogram


def nobody(*_figures: object) -> None:
    """Take any figures and do nothing with them."""


def observe_all(histogram: Histogram, values: Sequence[float]) -> None:
    """What `observe` does for each, in one step a bucket: one at a time they took a third of a worker's time."""
    bounds, buckets = histogram._upper_bounds, histogram._buckets  # noqa: SLF001 - the library takes one at a time
    for place, times in Counter(bisect_left(bounds, value) for value in values).items():
        buckets[place].inc(times)
    histogram._sum.inc(sum(values))  # noqa: SLF001
