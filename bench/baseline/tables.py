"""Where the naive build keeps things: three tables and a sorted set."""

from __future__ import annotations

from typing import Final

BOARD: Final = "board:global"
TABLES: Final = (
    "CREATE TABLE players (id text PRIMARY KEY, username text NOT NULL, secret_key bytea NOT NULL)",
    "CREATE TABLE scores (player_id text PRIMARY KEY REFERENCES players, score bigint NOT NULL)",
    (
        "CREATE TABLE history (player_id text NOT NULL, action_id text NOT NULL, action text NOT NULL,"
        " value bigint NOT NULL, previous_score bigint NOT NULL, new_score bigint NOT NULL,"
        " created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (player_id, action_id))"
    ),
)
