"""The tables, as migrations make them; the picture of the data in one place.

Every table that grows with players or updates has `user_id` first in its primary key, so that it can be
distributed by user later (hash partitions, Citus).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, INET, JSONB, UUID

#: The newest revision in migrations/versions, which this code needs; a test holds the two together.
SCHEMA_REVISION: Final = "0006"

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
    }
)


def _instant(name: str, *, nullable: bool = False, now: bool = True) -> Column[object]:
    return Column(
        name, DateTime(timezone=True), nullable=nullable, server_default=None if nullable or not now else func.now()
    )


users = Table(
    "users",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True, server_default=text("gen_random_uuid()")),
    Column("username", Text, nullable=False),
    Column("email", Text, nullable=False),
    # nonce ‖ AES-256-GCM ciphertext; `secret_key_kid` names the encryption key it is under
    Column("secret_key", LargeBinary, nullable=False),
    Column("secret_key_kid", Text, nullable=False),
    _instant("created_at"),
    _instant("updated_at"),
    _instant("key_changed_at", nullable=True, now=False),  # processes forget the key they knew (I10)
    _instant("hidden_at", nullable=True, now=False),  # on no board
    _instant("erased_at", nullable=True, now=False),  # nobody knows who it was
)
Index("users_username_key", func.lower(users.c.username), unique=True)
Index("users_email_key", func.lower(users.c.email), unique=True)
Index(
    "users_username_beginning_idx",  # by bytes, so that a beginning is a range whatever the collation
    func.lower(users.c.username).label("beginning"),
    postgresql_ops={"beginning": "text_pattern_ops"},
)
Index("users_key_changed_at_idx", users.c.key_changed_at, postgresql_where=users.c.key_changed_at.is_not(None))
Index("users_hidden_idx", users.c.id, postgresql_where=users.c.hidden_at.is_not(None))

boards = Table(
    "boards",
    metadata,
    Column("name", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("season", Integer, nullable=False, server_default="1"),  # the season that scores count in now
    _instant("created_at"),
    _instant("updated_at"),
)

seasons = Table(
    "seasons",
    metadata,
    Column("board", Text, ForeignKey("boards.name"), nullable=False),
    Column("number", Integer, nullable=False),
    # Raised by each rebuild of the ranking, so that versions never go back when Redis was emptied (I6).
    Column("ranking_epoch", Integer, nullable=False, server_default="0"),
    _instant("starts_at"),
    _instant("ends_at", nullable=True),
    PrimaryKeyConstraint("board", "number"),
)

scores = Table(
    "scores",
    metadata,
    Column("id", UUID(as_uuid=False), nullable=False, server_default=text("uuidv7()")),
    Column("user_id", UUID(as_uuid=False), ForeignKey("users.id"), nullable=False),
    Column("board", Text, nullable=False),
    Column("season", Integer, nullable=False),
    Column("score", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),  # counts this score's changes; guards what Redis holds (I5)
    Column("last_action_id", Text, nullable=False),
    _instant("last_action_at", now=False),
    _instant("reached_at", nullable=True),  # when `score` last changed, null while it never did: first come, first rank
    _instant("created_at"),
    _instant("updated_at"),
    PrimaryKeyConstraint("user_id", "board", "season"),
    ForeignKeyConstraint(["board", "season"], ["seasons.board", "seasons.number"]),
    postgresql_with={"fillfactor": 80},  # updates of a score stay on its page (HOT)
)
# What a rebuild reads, and what answers "who is at rank n" without Redis.
Index("scores_ranking_idx", scores.c.board, scores.c.season)

# Partitioned by month (UTC) of `created_at`; the months are made ahead (history_months.py). Each partition has a
# primary key (user_id, board, season, version) and is unique by (user_id, action_id, board); the table as a whole can
# have neither, since a unique constraint over partitions must hold the partition key. Over months I2 is held by
# inbox_keys, the only way into the inbox, and I4 by scores.version under that score's row lock.
score_history = Table(
    "score_history",
    metadata,
    Column("id", UUID(as_uuid=False), nullable=False, server_default=text("uuidv7()")),
    Column("user_id", UUID(as_uuid=False), nullable=False),
    Column("board", Text, nullable=False),
    Column("season", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),  # scores.version after this change: no gap, no fork (I4)
    Column("action_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("score_increment", BigInteger, nullable=False),
    Column("previous_score", BigInteger, nullable=False),
    Column("new_score", BigInteger, nullable=False),
    Column("signature", LargeBinary),  # null for updates a game server vouched for
    Column("nonce", Text),
    Column("ip_address", INET),
    Column("request_id", Text, nullable=False),
    _instant("accepted_at", now=False),
    # When the batch was written, after it had the shard's lock: grows with `version`, so that pages can go by it.
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.statement_timestamp()),
    Column("vouch", LargeBinary),  # null for what was accepted before there was such a code (vouching.py)
    postgresql_partition_by="RANGE (created_at)",
)
# What is sealed is found by it, for next to nothing: rows lie in the order of their time.
Index(
    "score_history_created_at_idx",
    score_history.c.created_at,
    postgresql_using="brin",
    postgresql_with={"autosummarize": "on"},
)

# I2: what was accepted, for good: an action_id once per user, and a nonce for one action of a user. The nonce is
# forgotten once nothing signed with it can be valid any more (inbox.py); null, too, where a game server vouched.
inbox_keys = Table(
    "inbox_keys",
    metadata,
    Column("user_id", UUID(as_uuid=False), nullable=False),
    Column("action_id", Text, nullable=False),
    Column("nonce", Text),
    Column("action", Text, nullable=False),
    Column("value", BigInteger, nullable=False),
    # '-infinity' for what was accepted before this column was there: history is then looked for in all months.
    Column("accepted_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    PrimaryKeyConstraint("user_id", "action_id"),
)
Index(
    "inbox_keys_nonce_key",
    inbox_keys.c.user_id,
    inbox_keys.c.nonce,
    unique=True,
    postgresql_where=inbox_keys.c.nonce.is_not(None),
)
Index("inbox_keys_accepted_at_idx", inbox_keys.c.accepted_at, postgresql_where=inbox_keys.c.nonce.is_not(None))

# What the first answer with results said of ranks, by board: a repeat is told the same, whatever moved since.
told_ranks = Table(
    "told_ranks",
    metadata,
    Column("user_id", UUID(as_uuid=False), nullable=False),
    Column("action_id", Text, nullable=False),
    Column("ranks", JSONB, nullable=False),
    PrimaryKeyConstraint("user_id", "action_id"),
)

# I1: what was accepted and is not settled yet; a row leaves in the transaction that settles it (I3).
inbox = Table(
    "inbox",
    metadata,
    Column("seq", BigInteger, Identity(always=True), nullable=False),
    Column("shard", SmallInteger, nullable=False),
    Column("user_id", UUID(as_uuid=False), nullable=False),
    Column("action_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("signature", LargeBinary),
    Column("nonce", Text),
    Column("ip_address", INET),
    Column("request_id", Text, nullable=False),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("accepted_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("vouch", LargeBinary),
    PrimaryKeyConstraint("shard", "seq"),
)

cooldowns = Table(
    "cooldowns",
    metadata,
    Column("user_id", UUID(as_uuid=False), nullable=False),
    Column("action", Text, nullable=False),
    _instant("until", now=False),
    PrimaryKeyConstraint("user_id", "action"),
)
Index("cooldowns_until_idx", cooldowns.c.until)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("user_id", UUID(as_uuid=False), nullable=False),
    Column("action_id", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("attempts", SmallInteger, nullable=False),
    Column("shard", SmallInteger, nullable=False),
    Column("action", Text, nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("signature", LargeBinary),
    Column("nonce", Text),
    Column("ip_address", INET),
    Column("request_id", Text, nullable=False),
    _instant("accepted_at", now=False),
    _instant("parked_at"),
    Column("vouch", LargeBinary),
    # An operator decided that it never counts; null while it waits for somebody to look.
    _instant("dropped_at", nullable=True, now=False),
    Column("dropped_by", Text),
    Column("dropped_reason", Text),
    PrimaryKeyConstraint("user_id", "action_id"),
)
Index(
    "dead_letters_waiting_idx",
    dead_letters.c.parked_at,
    dead_letters.c.user_id,
    dead_letters.c.action_id,
    postgresql_where=dead_letters.c.dropped_at.is_(None),
)

# One row a committed batch whose boards in Redis were not confirmed yet; the sweeper finishes what a dead worker left.
refreshes = Table(
    "refreshes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("user_ids", ARRAY(UUID(as_uuid=False)), nullable=False),
    _instant("created_at"),
)

token_families = Table(
    "token_families",
    metadata,
    Column("family", UUID(as_uuid=False), primary_key=True),
    Column("user_id", UUID(as_uuid=False), ForeignKey("users.id"), nullable=False),
    Column("refresh_jti", UUID(as_uuid=False), nullable=False),  # the one refresh token not yet spent
    _instant("expires_at", now=False),
)
Index("token_families_expires_at_idx", token_families.c.expires_at)

# Postgres is the truth of revocation: each process keeps a replica of the rows that still matter (I10).
revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("token", UUID(as_uuid=False), primary_key=True),  # a token's jti, or the family of all it stands for
    Column("reason", Text, nullable=False),
    _instant("expires_at", now=False),
    _instant("revoked_at"),
)
Index("revoked_tokens_revoked_at_idx", revoked_tokens.c.revoked_at)
Index("revoked_tokens_expires_at_idx", revoked_tokens.c.expires_at)

# Who is blocked, throttled or in quarantine, and who was: one of a kind stands for a subject (restrictions.py).
restrictions = Table(
    "restrictions",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True, server_default=text("uuidv7()")),
    Column("subject_kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("throttle_to", Text),
    Column("reason", Text, nullable=False),
    Column("imposed_by", Text, nullable=False),
    Column("incident", UUID(as_uuid=False)),
    Column("imposed_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    _instant("ends_at", nullable=True, now=False),
    _instant("lifted_at", nullable=True, now=False),
    Column("lifted_by", Text),
    Column("lifted_reason", Text),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    CheckConstraint("subject_kind IN ('user', 'address')", name="restrictions_subject_kind_check"),
    CheckConstraint("kind IN ('block', 'throttle', 'quarantine')", name="restrictions_kind_check"),
    CheckConstraint("(kind = 'throttle') = (throttle_to IS NOT NULL)", name="restrictions_throttle_check"),
    CheckConstraint("kind <> 'quarantine' OR subject_kind = 'user'", name="restrictions_quarantine_check"),
)
Index(
    "restrictions_standing_key",
    restrictions.c.subject_kind,
    restrictions.c.subject,
    restrictions.c.kind,
    unique=True,
    postgresql_where=restrictions.c.lifted_at.is_(None),
)
Index("restrictions_changed_at_idx", restrictions.c.changed_at)
Index(
    "restrictions_quarantine_idx",  # the drain looks at these with every batch
    restrictions.c.subject,
    postgresql_where=text("kind = 'quarantine' AND lifted_at IS NULL"),
)

# One is open for a rule and a subject, however long it goes on: a noisy client fills a row, not the table.
incidents = Table(
    "incidents",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True, server_default=text("uuidv7()")),
    Column("rule", Text, nullable=False),
    Column("subject_kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("last_seen_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("events", BigInteger, nullable=False),
    Column("suspicion", Double, nullable=False),
    Column("evidence", JSONB, nullable=False),
    _instant("told_at", nullable=True, now=False),
    Column("tries", SmallInteger, nullable=False, server_default="0"),
    Column("next_try_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    _instant("closed_at", nullable=True, now=False),
    Column("closed_by", Text),
    Column("closed_reason", Text),
    CheckConstraint("subject_kind IN ('user', 'address')", name="incidents_subject_kind_check"),
)
Index(
    "incidents_open_key",
    incidents.c.rule,
    incidents.c.subject_kind,
    incidents.c.subject,
    unique=True,
    postgresql_where=incidents.c.closed_at.is_(None),
)
Index("incidents_untold_idx", incidents.c.next_try_at, postgresql_where=incidents.c.told_at.is_(None))

# Accepted updates of players in quarantine, as they stood in the inbox.
quarantine = Table(
    "quarantine",
    metadata,
    Column("user_id", UUID(as_uuid=False), nullable=False),
    Column("action_id", Text, nullable=False),
    Column("shard", SmallInteger, nullable=False),
    Column("action", Text, nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("signature", LargeBinary),
    Column("nonce", Text),
    Column("ip_address", INET),
    Column("request_id", Text, nullable=False),
    Column("vouch", LargeBinary),
    _instant("accepted_at", now=False),
    Column("held_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    PrimaryKeyConstraint("user_id", "action_id"),
)

# What operators and rules did; append-only.
acts = Table(
    "acts",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True, server_default=text("uuidv7()")),
    Column("operator", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("details", JSONB, nullable=False, server_default="{}"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
Index("acts_created_at_idx", acts.c.created_at, postgresql_using="brin", postgresql_with={"pages_per_range": 16})
Index("acts_subject_idx", acts.c.subject)

# Which updates are void now, on which board, by which act.
voids = Table(
    "voids",
    metadata,
    Column("user_id", UUID(as_uuid=False), nullable=False),
    Column("action_id", Text, nullable=False),
    Column("board", Text, nullable=False),
    Column("act", UUID(as_uuid=False), nullable=False),
    PrimaryKeyConstraint("user_id", "action_id", "board"),
)

# The chain over history and acts (audit.py); append-only.
seals = Table(
    "seals",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _instant("upto", now=False),
    Column("rows", Integer, nullable=False),
    Column("leaves", LargeBinary, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("previous", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    _instant("sealed_at", now=False),
)

# How far work that goes through history in the order of time has come: `sealing` is what writers keep clear of.
progress = Table("progress", metadata, Column("name", Text, primary_key=True), _instant("upto", now=False))
