"""Who is told of figures when nobody asked for them."""

from __future__ import annotations


def nobody(*_figures: object) -> None:
    """Take any figures and do nothing with them."""
