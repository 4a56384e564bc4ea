"""Statements sent as libpq has them: any text arrives as it is, and every fault is raised as a cursor raises it."""

from __future__ import annotations

import json

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.storage.database import open_connection
from models.storage.prepared import Prepared, bytes_array, integer_array, text_array

_ECHO = Prepared(
    "echo",
    "SELECT array_to_json($1::text[])::text, array_to_json($2::bigint[])::text,"
    " (SELECT json_agg(encode(b, 'hex')) FROM unnest($3::bytea[]) b)::text",
)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@pytest.fixture
def connection(database_url: str):
    with open_connection(database_url) as opened:
        opened.autocommit = True
        yield opened


@hypothesis_settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.one_of(st.none(), texts, st.sampled_from(["NULL", "null", "", '"', "\\", "{}", ",", " a "]))),
    st.lists(st.integers(-(2**63), 2**63 - 1)),
    st.lists(st.one_of(st.none(), st.binary())),
)
def test_arrays_arrive_as_they_were(connection, values, numbers, contents) -> None:
    ((said, counted, held),) = _ECHO.execute(
        connection, (text_array(values), integer_array(numbers), bytes_array(contents))
    )
    assert json.loads(said) == values
    assert json.loads(counted) == numbers
    assert json.loads(held or "null") == ([None if each is None else each.hex() for each in contents] or None)


def test_a_fault_is_raised_and_the_connection_goes_on(connection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        Prepared("fault", "SELECT (1 / $1::int)::text").execute(connection, ("0",))
    with pytest.raises(psycopg.errors.SyntaxError):
        Prepared("nonsense", "SELEKT").execute(connection, ())
    assert Prepared("fault", "").execute(connection, ("1",)) == [("1",)]


def test_a_lost_connection_is_an_operational_error(connection, admin) -> None:
    admin.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
    with pytest.raises(psycopg.OperationalError):
        Prepared("one", "SELECT '1'").execute(connection, ())
