"""The code, the migrations and the tables speak of the same schema."""

from __future__ import annotations

from alembic.script import ScriptDirectory

from migrations import schema
from models.storage.tables import SCHEMA_REVISION


def test_there_is_one_head_and_the_code_wants_it() -> None:
    heads = ScriptDirectory.from_config(schema.config("")).get_heads()
    assert heads == [SCHEMA_REVISION]
