"""Control characters, line ends and odd Unicode wherever a client may put them: each log line stays one record."""

from __future__ import annotations

import json
import socket
import time
import unicodedata
from secrets import token_hex
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from models.settings import Settings
from models.storage.database import open_engine
from tests.fixtures.live_stack import LiveStack

#: What would be a line of ours, had its line end come through.
FORGED = '{"log.level":"info","message":"forged"}'
#: Controls, separators and what is not seen: of these a terminal or a reader may do more than show them.
OBEYED = ("Cc", "Cf", "Zl", "Zp")
ODD = {
    "CR and LF": f"\r\n{FORGED}\r\n",
    "LF": f"\n{FORGED}\n",
    "line separators": f"\u2028{FORGED}\u2029\x85{FORGED}",
    "terminal escapes": "\x1b[2J\x1b]0;owned\x07",
    "NUL and friends": "\x00\x01\x08\x7f",
    "written from right to left": "\u202egnp.exe\u202c",
    "a lone surrogate": "\ud800",
    "a heap of accents": "Z" + "\u0351" * 200,
    "quotes and braces": '"},{"message":"forged","x":"',
}


def ask(stack: LiveStack, data: bytes) -> bytes:
    """Whatever comes back for these bytes."""
    url = urlsplit(stack.api_url)
    with socket.create_connection((url.hostname, url.port), 10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([line, b"Host: here", b"Connection: close", length, *headers, b"", body])


@pytest.mark.slow
def test_no_client_writes_a_line_of_ours(live_stack: LiveStack) -> None:
    mark = token_hex(8)
    for odd in ODD.values():
        raw = (mark + odd).encode("utf-8", "surrogatepass")
        quoted = "".join(f"%{byte:02X}" for byte in raw).encode()
        body = json.dumps({"username": mark + odd, "email": odd + "@example.org"}).encode()
        sent = [
            request(b"GET /" + quoted + b" HTTP/1.1"),
            request(b"GET /api/v1/leaderboards/" + quoted + b"/top?count=" + quoted + b" HTTP/1.1"),
            request(b"GET /healthz HTTP/1.1", b"X-Request-ID: " + quoted, b"User-Agent: " + quoted),
            request(b"GET /healthz HTTP/1.1", b"X-Request-ID: " + raw.replace(b"\r", b"").replace(b"\n", b"")),
            request(b"GET /" + raw + b" HTTP/1.1"),
            request(b"POST /api/v1/users HTTP/1.1", b"Content-Type: application/json", body=body),
            request(b"POST /api/v1/scores/update HTTP/1.1", b"Authorization: Bearer " + quoted, body=body),
        ]
        for data in sent:
            answer = ask(live_stack, data)
            assert not answer or b" 5" not in answer.partition(b"\r\n")[0][8:11], answer[:300]
    time.sleep(1.5)  # lines are written behind
    lines = [line for path in live_stack.logs("web") for line in path.read_bytes().split(b"\n") if line]
    records = [json.loads(line) for line in lines]
    assert all(record["message"] != "forged" for record in records)
    assert any(mark in line.decode("ascii", "ignore") for line in lines)
    assert not any(unicodedata.category(char) in OBEYED for line in lines for char in line.decode("utf-8"))


def test_what_a_client_sent_is_not_in_the_words_of_an_error_of_the_database(settings: Settings) -> None:
    engine = open_engine(settings.database_url)
    with pytest.raises(SQLAlchemyError) as caught, engine.connect() as connection:
        connection.execute(text("SELECT CAST(:sent AS integer)"), {"sent": "ada@example.org\0"})
    engine.dispose()
    assert "ada@example.org" not in str(caught.value)
