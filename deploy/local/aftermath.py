"""What a database that went back in time needs before anybody may use it: a check, and versions that never go back."""

from collections.abc import Collection
from typing import Final

import psycopg
from psycopg import sql

from deploy.local.errors import StackError

Connection = psycopg.Connection[tuple[object, ...]]

#: I6: a board's version is epoch * 2**32 + n, each rebuild takes the next epoch, and clients hold versions of the time
#: that is undone. So each timeline, that is each restore, gets this many epochs for itself. That covers 8,191 rebuilds
#: of one board between two restores: one every five minutes (as often as repair comes) for 28 days, where one a day is
#: usual. It leaves 256 restores before versions reach 2**53, up to where Lua and JavaScript count exactly.
EPOCHS_A_TIMELINE: Final = 2**13


def require_sound(connection: Connection, encryption_kids: Collection[str]) -> None:
    """Check that keys can be decrypted, and that scores and history agree.

    Raises:
        StackError: they do not.
    """
    if not _has(connection, "users"):
        return  # restored to before the first tables; the migrations make them at the start
    sealed = {str(kid) for (kid,) in connection.execute("SELECT DISTINCT secret_key_kid FROM users")}
    if unknown := sorted(sealed - set(encryption_kids)):
        raise StackError(
            f"ENCRYPTION_KEYS lacks {', '.join(unknown)}, under which players' keys were stored then: "
            "put that key back into secrets.json, and restore again; nothing was changed."
        )
    differing = connection.execute(
        "SELECT count(*) FROM scores JOIN score_history USING (user_id, board, season, version)"
        " WHERE new_score <> score"
    ).fetchone()
    if differing is None or differing[0]:
        raise StackError("scores and history disagree in this backup: choose another TIME; nothing was changed.")


def timeline_of(connection: Connection) -> int:
    """The timeline that the server writes now."""
    row = connection.execute("SELECT pg_walfile_name(pg_current_wal_insert_lsn())").fetchone()
    return int(str(row[0])[:8], 16) if row else 0


def raise_epochs(connection: Connection, timeline: int) -> None:
    """Have the boards' versions begin above all that were ever served, on whatever timeline.

    Each timeline has its own floor; the column's default keeps it, in the same transaction, so it goes back in time
    with the epochs that stand on it. One leap a restore would not do: who restores to the same moment twice would get
    the same versions twice. Seasons that begin only now may have begun once already: they begin on the new floor too.
    """
    if not _has(connection, "seasons"):
        return
    floor = EPOCHS_A_TIMELINE * (timeline - 1)
    with connection.transaction():
        row = connection.execute(
            "SELECT column_default FROM information_schema.columns"
            " WHERE (table_schema, table_name, column_name) = ('public', 'seasons', 'ranking_epoch')"
        ).fetchone()
        old_floor = int(str(row[0]).split("::")[0].strip("'")) if row else 0
        connection.execute("UPDATE seasons SET ranking_epoch = ranking_epoch + %s", (floor - old_floor,))
        connection.execute(
            sql.SQL("ALTER TABLE seasons ALTER COLUMN ranking_epoch SET DEFAULT {}").format(sql.Literal(floor))
        )


def _has(connection: Connection, table: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (f"public.{table}",)).fetchone()
    return bool(row and row[0])
