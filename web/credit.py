"""What a process lets in on credit: a small part of each limit, counted here first and in Redis a moment later.

A round trip a request for an exact limit costs more than the rest of the request. Instead each process may let in
so many that all processes' together are 5 % of the limit, and reports them twenty times a second in one round trip
for all callers. Who needs more than that in between is counted in Redis before going on, as ever. So a limit is
overrun by those 5 % at most, whatever the processes and servers, and never refuses anybody too early.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import redis
import structlog
from limits import RateLimitItem
from limits.storage import RedisStorage

from models.storage.redis import apart, call_each
from models.storage.redis_cluster import Call

#: How far a limit may be overrun.
SHARE: Final = 0.05
REPORT_SECONDS: Final = 0.05
#: Who has nothing to report says at least so often that it is there, for as long as it is asked for credit.
PRESENCE_SECONDS: Final = 1.0
ASKED_SECONDS: Final = 10.0
#: A process that has said nothing for so long counts no more.
ABSENT_SECONDS: Final = 3.0
#: A process that is new, or was not asked for long, gives no credit until all others have heard of it.
JOINING_SECONDS: Final = 2 * PRESENCE_SECONDS
#: Without a report for so long, by Redis or by us, there is no credit.
CONFIRMED_SECONDS: Final = 1.5
WINDOWS_A_REPORT: Final = 500
PROCESSES: Final = "sb:limit:processes"


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """A limit of one kind of caller; told from others by identity, since it is looked up at each request."""

    item: RateLimitItem
    kind: str

    def key(self, caller: str) -> str:
        """The caller's window, as the `limits` package names it."""
        return self.item.key_for(self.kind, caller)


Window = tuple[Limit, str]  # and the caller's address or id

log = structlog.get_logger(__name__)


class Credit:
    """Hits that this process has let in and not reported yet."""

    def __init__(self, storage: RedisStorage, client: redis.Redis) -> None:
        self._storage = storage
        self._client = client
        self._script = client.register_script((Path(__file__).parent / "lua" / "report_hits.lua").read_text("utf-8"))
        self._process = uuid4().hex
        self._lock = threading.Lock()
        self._unreported: dict[Window, int] = {}
        self._reporting: dict[Window, int] = {}
        self._full: dict[Window, float] = {}  # until when at most, by the monotonic clock
        self._processes = 0
        self._joined_at = float("inf")
        self._asked_at = float("-inf")
        self._confirmed_at = float("-inf")
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Make this process known, and report from a daemon thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="limits", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Report what is left, and stop."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def spend(self, windows: Sequence[Window]) -> bool:
        """Let one in at all of these windows; False, and nothing spent, when one of them has no credit left."""
        self._asked_at = now = time.monotonic()
        if now - self._confirmed_at > CONFIRMED_SECONDS or now - self._joined_at < JOINING_SECONDS:
            return False
        unreported, reporting, full, processes = self._unreported, self._reporting, self._full, self._processes
        with self._lock:
            for window in windows:
                spent = unreported.get(window, 0) + reporting.get(window, 0)
                if (spent + 1) * processes > SHARE * window[0].item.amount or window in full:
                    return False
            for window in windows:
                unreported[window] = unreported.get(window, 0) + 1
        return True

    def has_room(self, window: Window) -> None:
        """Redis has let one in at this window: it is not full any more."""
        self._full.pop(window, None)

    def report(self) -> None:
        """Tell Redis what was let in on credit, and learn which windows are full.

        Raises:
            redis.RedisError: it may not have been told; there is no credit until it is told something again.
        """
        with self._lock:
            self._reporting.update(self._unreported)
            self._unreported.clear()
        spent = list(self._reporting.items())
        started = time.monotonic()
        try:
            for at in range(0, max(1, len(spent)), WINDOWS_A_REPORT):
                self._tell(spent[at : at + WINDOWS_A_REPORT])
        except redis.RedisError:
            self._confirmed_at, self._joined_at = float("-inf"), float("inf")
            raise
        finally:
            self._reporting.clear()  # not before Redis knows: until then they use up credit
        self._confirmed_at = started
        self._joined_at = min(self._joined_at, started)
        with self._lock:
            for window in [window for window, until in self._full.items() if until < started]:
                del self._full[window]

    def _tell(self, spent: list[tuple[Window, int]]) -> None:
        keys = [self._keys(limit.key(caller)) for (limit, caller), _ in spent]
        groups = apart(self._client, [PROCESSES, *(previous for previous, _ in keys)])  # 0 are the processes
        calls: list[Call] = []
        for group in groups:
            names: list[str] = [PROCESSES] if 0 in group else []
            arguments: list[str | float] = [self._process if names else "", ABSENT_SECONDS]
            for at in (at - 1 for at in group if at):
                (limit, _), hits = spent[at]
                names += keys[at]
                arguments += (hits, limit.item.amount, limit.item.get_expiry())
            calls.append((names, arguments))
        now = time.monotonic()
        answers = call_each(self._client, self._script, calls)
        with self._lock:
            for group, (processes, *full) in zip(groups, answers, strict=True):
                if 0 in group:
                    self._processes = processes
                for at, is_full in zip((at - 1 for at in group if at), full, strict=True):
                    if is_full:
                        window = spent[at][0]
                        self._full[window] = now + window[0].item.get_expiry()

    def _keys(self, key: str) -> tuple[str, str]:
        """The previous and the current window's, as the storage itself has them; a test holds the two together."""
        storage = self._storage
        names = storage._previous_window_key(key), storage._current_window_key(key)  # noqa: SLF001 - see above
        return storage.prefixed_key(names[0]), storage.prefixed_key(names[1])

    def _run(self) -> None:
        reported_at = float("-inf")
        while not self._stopping.is_set():
            now = time.monotonic()
            if now - self._asked_at > ASKED_SECONDS:
                self._joined_at = float("inf")  # the others share our part meanwhile
            elif self._unreported or now - reported_at >= PRESENCE_SECONDS:
                try:
                    self.report()
                except redis.RedisError as error:
                    log.warning("limits are not reported", **{"event.action": "limit"}, error=type(error))
                reported_at = now
            self._stopping.wait(REPORT_SECONDS)
        with suppress(redis.RedisError):  # a limit that was overrun by a few as the process ended
            self.report()
