"""Tables, progress bars and clear ends for the commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import click
import redis
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from models.errors import ScoreboardError

P = ParamSpec("P")
R = TypeVar("R")


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns as wide as they need."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(head), *(len(row[at]) for row in cells)) if cells else len(head) for at, head in enumerate(heads)]
    click.echo("  ".join(head.ljust(width) for head, width in zip(heads, widths, strict=True)).rstrip())
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@contextmanager
def progress(total: int | None, what: str, unit: str) -> Iterator[Callable[[int], object]]:
    """A progress bar on standard error; yields a function that takes how many are done so far."""
    with tqdm(total=total, desc=what, unit=" " + unit, file=sys.stderr, leave=True, mininterval=0.2) as bar:
        yield lambda done: bar.update(done - bar.n)


def told_plainly(command: Callable[P, R]) -> Callable[P, R]:
    """End with one sentence instead of a traceback where a part of the service is away or refuses."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ScoreboardError as error:
            faults = [f"{each.pointer} {each.message}" for each in error.errors]
            raise click.ClickException("; ".join(faults) or error.detail) from error
        except SQLAlchemyError as error:
            raise _away("Postgres", error) from error
        except redis.RedisError as error:
            raise _away("Redis", error) from error

    return guarded


def _away(part: str, error: Exception) -> click.ClickException:
    return click.ClickException(f"{part} does not answer ({type(error).__name__}): is the stack up?")
