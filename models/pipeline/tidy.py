"""Keeps the inbox small: its rows come and go by the million, and each look walks past those that are gone."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine, text

#: Dead rows that are worth a vacuum of 5 to 30 ms. PostgreSQL's own comes once a minute at the earliest unless it is
#: told otherwise; by then 300,000 are dead at 5,000 updates a second, and each look takes 5 ms longer.
DEAD_MOST: Final = 20_000


def vacuum_inbox(engine: Engine) -> bool:
    """Vacuum the inbox if that pays; False when it does not. Nobody waits for it, and it waits for nobody.

    Raises:
        SQLAlchemyError: Postgres is away, or refuses.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        dead: int = connection.execute(text("SELECT pg_stat_get_dead_tuples('inbox'::regclass)")).scalar_one()
        if dead < DEAD_MOST:
            return False
        connection.execute(text("VACUUM (SKIP_LOCKED, TRUNCATE off, INDEX_CLEANUP on) inbox"))
        return True
