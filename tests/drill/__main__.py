"""`make production-drill`: lose one of everything in the running production picture, and print what came of it."""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
from pathlib import Path
from typing import Any

from deploy.local import terminal
from deploy.local.errors import StackError
from deploy.production.folders import folders_of
from tests.drill import rounds
from tests.drill.deployment import Deployment
from tests.drill.strikes import STRIKES


def main(arguments: list[str]) -> int:
    """Play on the running deployment (start it with make production) and lose its parts one after the other.

    Exit status 1 when anything was lost, doubled or wrong, or an alert did not fire.
    """
    parser = argparse.ArgumentParser(prog="make production-drill ARGS='…'", description=main.__doc__)
    parser.add_argument("--only", nargs="+", choices=[strike.name for strike in STRIKES], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="say what there is to lose, and end")
    parser.add_argument("--out", type=Path, default=Path("build/drill"), help="folder of the report")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(f"{strike.name:18} {strike.sentence}" for strike in STRIKES))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        deployment = Deployment(folders_of(terminal.given()))
    except StackError as error:
        return terminal.fail(error)
    chosen = [strike for strike in STRIKES if options.only is None or strike.name in options.only]
    lines = []
    for number, strike in enumerate(chosen, start=1):
        print(f"[{number}/{len(chosen)}] {strike.name}", flush=True)
        lines.append(rounds.run(deployment, strike, random.randrange(1_000_000), terminal.say))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "drill.json").write_text(json.dumps([line.as_json() for line in lines], indent=1) + "\n", "utf-8")
    table = table_of(lines)
    (options.out / "drill.md").write_text(table + "\n", "utf-8")
    print(table)
    complaints = [f"{line.name}: {sentence}" for line in lines for sentence in line.wrong]
    print("\n".join(f"!! {sentence}" for sentence in complaints))
    return int(bool(complaints) or any(line.lost or line.doubled for line in lines))


def table_of(lines: list[rounds.Line]) -> str:
    """The drill's table, in Markdown."""
    head = (
        "| what is lost | mended by | itself again | alerts | told after | calls | failed | longest stall | accepted "
        "| lost | doubled |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|"
    )
    return "\n".join([head, *(_row(line) for line in lines)])


def _row(line: rounds.Line) -> str:
    cells: list[Any] = [
        line.sentence, line.mended_by, _seconds(line.recovery_seconds), ", ".join(line.alerts) or "–",
        _seconds(line.alert_fired_seconds), line.calls, line.failed, _seconds(line.longest_stall_seconds),
        line.accepted, line.lost, line.doubled,
    ]  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
