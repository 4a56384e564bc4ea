"""Rate limits: flask-limiter's storage and strategies, asked at the place in the order of checks where each belongs.

Most requests are let in on credit (`credit.py`) without a round trip. With Redis away, each process counts by itself
in memory: a limit then holds per process, never not at all, and Redis is asked again after a pause.
"""

from __future__ import annotations

import threading
import time
from functools import lru_cache
from typing import Final, cast

import redis
import structlog
from flask import Flask
from flask_limiter import Limiter
from limits import parse_many
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter, RateLimiter
from redis import RedisError

from models.accounts.restrictions import Restrictions
from models.errors import RateLimited
from models.settings import Settings
from models.storage.redis import open_redis
from models.subjects import SubjectKind, site_of, subject_of
from web.credit import Credit, Limit

#: A limit is not worth waiting for: past this the process counts by itself.
STORAGE_TIMEOUT_SECONDS: Final = 0.3
REDIS_PAUSE_SECONDS: Final = 2.0

#: As all our keys begin: the service's user of Redis has rights to no others (deploy/redis).
KEY_PREFIX: Final = "sb:limit"

UPDATE_RULE: Final = "/api/v1/scores/update"

log = structlog.get_logger(__name__)


class Counters(RedisStorage):
    """The package's counters in a Redis of ours, whatever REDIS_URL names: its own clients know neither our time-outs
    nor a failover.
    """

    STORAGE_SCHEME = ["scoreboard"]  # noqa: RUF012 - as the package has it

    def __init__(self, uri: str, client: redis.Redis, **_: object) -> None:
        super(RedisStorage, self).__init__(uri)
        self.key_prefix = KEY_PREFIX
        self.target_server = "redis"
        self.dependency = self.dependencies[self.target_server].module
        self.storage = client
        self.initialize_storage(uri)


class Limits:
    """Spends one of a caller's allowance, or refuses."""

    def __init__(self, app: Flask, settings: Settings, client: redis.Redis, restrictions: Restrictions) -> None:
        self._restrictions = restrictions
        self._counters_client = open_redis(
            settings.redis_url,
            command_timeout_seconds=STORAGE_TIMEOUT_SECONDS,
            connect_timeout_seconds=STORAGE_TIMEOUT_SECONDS,
        )
        self._limiter = Limiter(
            key_func=lambda: "",
            storage_uri="scoreboard://",
            storage_options={"client": self._counters_client},  # type: ignore[dict-item]
            strategy="sliding-window-counter",
        )
        # Announced before it is set up, so that it adds no hooks: limits are asked below, in the contract's order.
        app.extensions.setdefault("limiter", set()).add(self._limiter)
        self._limiter.init_app(app)
        self._credit = Credit(cast(RedisStorage, self._limiter.storage), client)
        self._local: RateLimiter = FixedWindowRateLimiter(MemoryStorage())
        self._redis_rests_until = float("-inf")
        self._lock = threading.Lock()
        self._address = _limits(settings.limit_address, "address")
        self._user = _limits(settings.limit_user, "user")
        self._registration = _limits(settings.limit_registration, "registration")
        self._routes = {route: _limits(limit, f"route:{route}") for route, limit in settings.limit_routes.items()}

    def address(self, address: str) -> None:
        """Count a write against the caller's address. Raises RateLimited."""
        self._hold_back("address", subject_of(address))
        self._spend(self._address, site_of(address))

    def user(self, user_id: str) -> None:
        """Count a write against the player. Raises RateLimited."""
        self._hold_back("user", user_id)
        self._spend(self._user, user_id)

    def route(self, rule: str, address: str) -> None:
        """Count a call of a route that has a limit of its own against the caller's address. Raises RateLimited."""
        if limits := self._routes.get(rule):
            self._spend(limits, site_of(address))

    def registration(self, address: str) -> None:
        """Count a registration against the caller's address. Raises RateLimited."""
        self._spend(self._registration, site_of(address))

    def start(self) -> None:
        """Begin to give credit."""
        self._credit.start()

    def close(self) -> None:
        """Report what was let in on credit."""
        self._credit.close()
        self._counters_client.close()

    def write_on_credit(self, address: str, user_id: str) -> bool:
        """Count a player's write against both without asking Redis; False, and nothing counted, without credit."""
        throttle_of, site = self._restrictions.throttle_of, site_of(address)
        if UPDATE_RULE in self._routes:
            return False
        if throttle_of("user", user_id) is not None or throttle_of("address", site) is not None:
            return False
        return self._credit.spend(
            [*((limit, site) for limit in self._address), *((limit, user_id) for limit in self._user)]
        )

    def user_on_credit(self, user_id: str) -> bool:
        """The same against the player alone."""
        if self._restrictions.throttle_of("user", user_id) is not None:
            return False
        return self._credit.spend([(limit, user_id) for limit in self._user])

    def _hold_back(self, kind: SubjectKind, subject: str | None) -> None:
        """Count against the limit of who is throttled."""
        throttle = self._restrictions.throttle_of(kind, subject)
        if throttle is not None and subject is not None:
            self._spend(_throttle(throttle, kind), subject)

    def _spend(self, limits: tuple[Limit, ...], caller: str) -> None:
        if self._credit.spend([(limit, caller) for limit in limits]):
            return
        for limit in limits:
            item, kind, strategy = limit.item, limit.kind, self._strategy()
            try:
                if strategy.hit(item, kind, caller):
                    self._credit.has_room((limit, caller))
                    continue
                reset_at = strategy.get_window_stats(item, kind, caller).reset_time
            except (RedisError, StorageError) as error:
                self._rest(error)
                if self._local.hit(item, kind, caller):
                    continue
                reset_at = self._local.get_window_stats(item, kind, caller).reset_time
            raise RateLimited(retry_after_seconds=max(1, round(reset_at - time.time() + 0.5)), limit=item.amount)

    def _strategy(self) -> RateLimiter:
        return self._local if time.monotonic() < self._redis_rests_until else self._limiter.limiter

    def _rest(self, error: Exception) -> None:
        with self._lock:
            self._redis_rests_until = time.monotonic() + REDIS_PAUSE_SECONDS
        log.warning("limits are counted per process", **{"event.action": "limit"}, error=type(error))


@lru_cache(maxsize=256)
def _throttle(text: str, kind: SubjectKind) -> tuple[Limit, ...]:
    return _limits(text, f"throttle-{kind}")


def _limits(text: str, kind: str) -> tuple[Limit, ...]:
    return tuple(Limit(item, kind) for item in parse_many(text))
