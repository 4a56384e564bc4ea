"""Asks a Prometheus every query of the dashboards: `python -m deploy.grafana.check --prometheus http://127.0.0.1:9090`.

Exit status 1 when one fails, or has no data though its panel does not say that this is usual.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass, field

from deploy.grafana.queries import Asked, QueryFailed, ask, queries


@dataclass(slots=True)
class Found:
    """What became of the queries."""

    with_data: list[Asked] = field(default_factory=list)
    usually_empty: list[Asked] = field(default_factory=list)
    empty: list[Asked] = field(default_factory=list)
    failed: list[tuple[Asked, str]] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether each has data, or need not."""
        return not (self.empty or self.failed)


def check(prometheus: str, dashboard: str | None = None, *, window: str = "1m") -> Found:
    """Ask them all, as they are now. A quantile of nothing (NaN) is no data."""
    found = Found()
    for asked in queries(dashboard):
        try:
            series = ask(prometheus, "query", query=asked.filled(window))
        except QueryFailed as error:
            found.failed.append((asked, str(error)))
            continue
        if any(not math.isnan(float(each["value"][1])) for each in series):
            found.with_data.append(asked)
        else:
            (found.usually_empty if asked.may_be_empty else found.empty).append(asked)
    return found


def main() -> int:
    """Check and tell; gives the exit code."""
    parser = argparse.ArgumentParser("python -m deploy.grafana.check", description=__doc__)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--dashboard", help="only this one, such as overview")
    parser.add_argument("--window", default="1m", help="for rates; at least four scrapes (%(default)s)")
    options = parser.parse_args()
    found = check(options.prometheus, options.dashboard, window=options.window)
    say = sys.stdout.write
    for asked, why in found.failed:
        say(f"failed   {asked.dashboard} · {asked.panel} · {asked.letter}: {why}\n")
    for asked in found.empty:
        say(f"no data  {asked.dashboard} · {asked.panel} · {asked.letter}: {asked.filled(options.window)}\n")
    for asked in found.usually_empty:
        say(f"nothing yet, as may be: {asked.dashboard} · {asked.panel} · {asked.letter}\n")
    total = len(found.with_data) + len(found.usually_empty) + len(found.empty) + len(found.failed)
    say(f"{len(found.with_data)} of {total} queries have data, {len(found.usually_empty)} need none yet\n")
    return 0 if found.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
