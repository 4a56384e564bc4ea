"""The pair of PostgreSQL servers behind PgBouncer: what was acknowledged outlives the primary's disk (I1)."""

from __future__ import annotations

def test_smoke(pair) -> None:
    with pair.connect() as c:
        print(c.execute("select current_user, current_setting('statement_timeout'), current_setting('synchronous_standby_names'), current_setting('port')").fetchall())
    with pair.connect("DATABASE_REPLICA_URL") as c:
        print(c.execute("select pg_is_in_recovery(), current_setting('statement_timeout'), current_setting('port')").fetchall())
