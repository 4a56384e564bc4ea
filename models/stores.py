"""Opens and closes everything a process keeps open, from Settings: one place, called by each factory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

import redis
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from models.accounts.keys import KeyCipher
from models.accounts.revocation import Revocations
from models.accounts.sign_in import SignIn
from models.accounts.users import Users
from models.boards import events
from models.boards.catalogue import Catalogue, load_catalogue
from models.boards.ranking import RankingStore
from models.boards.rebuild import Ranking
from models.boards.registry import BoardRegistry
from models.errors import ScoreboardError
from models.guard.audit import AuditKeys, Sealer
from models.guard.audit_check import AuditCheck
from models.guard.audit_export import AuditExport
from models.guard.desk import Desk
from models.guard.rules import Rules, load_rules
from models.guard.suspicion import Suspicion
from models.guard.watch import Watch
from models.pipeline.accept import Acceptor
from models.pipeline.drain import Drain, DrainObserver
from models.pipeline.history_reader import HistoryReader
from models.pipeline.pressure import Pressure
from models.pipeline.sweep import tell_of
from models.pipeline.vouching import key_of
from models.settings import Settings
from models.storage.database import open_engine
from models.storage.redis import open_redis
from models.storage.replica import Replica

if TYPE_CHECKING:
    from models.tracing.tracing import Tracing

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stores:
    """What is open in this process."""

    settings: Settings
    engine: Engine
    redis: redis.Redis
    catalogue: Catalogue
    replica: Replica
    registry: BoardRegistry
    ranking: Ranking
    history: HistoryReader
    users: Users
    revocations: Revocations
    sign_in: SignIn
    pressure: Pressure
    acceptor: Acceptor
    rules: Rules
    watch: Watch
    desk: Desk
    sealer: Sealer
    audit_check: AuditCheck
    audit_export: AuditExport

    def drain(self, observer: DrainObserver | None = None, tracing: Tracing | None = None) -> Drain:
        """A drain with a connection of its own, for a worker process."""
        return Drain(
            self.settings.database_url,
            self.redis,
            self.ranking,
            self.registry,
            self.catalogue,
            observer,
            tracing,
            pooling=self.settings.database_pooling,
        )

    def warm_up(self) -> None:
        """Do now what the first request would have to wait for: connections, prepared statements, missing boards."""
        try:
            self.acceptor.warm_up()
            for board in self.catalogue.boards:
                self.ranking.top(board, 1)
        except (ScoreboardError, SQLAlchemyError) as error:
            # No fault: whoever comes first does it then, and /readyz says what is missing.
            log.info("not warmed up", **{"event.action": "warm-up"}, error=error)

    def close(self) -> None:
        """Close all of it; repeatable."""
        self.watch.close()
        self.revocations.stop()
        self.pressure.close()
        self.acceptor.close()
        self.redis.close()
        self.replica.close()
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_stores(settings: Settings) -> Stores:
    """Open the stores of a process; connections are made when first used.

    Raises:
        CatalogueInvalid, RulesInvalid: the file has a fault.
    """
    catalogue, rules = load_catalogue(settings.catalogue_file), load_rules(settings.rules_file)
    engine = open_engine(settings.database_url, settings.database_pooling)
    client = open_redis(settings.redis_url)
    registry = BoardRegistry(engine, catalogue)
    users = Users(engine, KeyCipher(settings.encryption_keys))
    revocations = Revocations(engine, users)
    replica = _open_replica(settings, engine)
    ranking = Ranking(RankingStore(client), engine, registry, replica)
    audit_keys = AuditKeys(settings.audit_keys)
    vouch_keys = tuple(key_of(key.secret) for key in settings.audit_keys)
    pressure = Pressure(
        engine, depth_limit=settings.inbox_depth_limit, age_limit_seconds=settings.inbox_age_limit_seconds
    )
    return Stores(
        settings=settings,
        engine=engine,
        redis=client,
        catalogue=catalogue,
        replica=replica,
        registry=registry,
        ranking=ranking,
        history=HistoryReader(engine, replica),
        users=users,
        revocations=revocations,
        sign_in=SignIn(engine, users, revocations),
        pressure=pressure,
        acceptor=Acceptor(
            settings.database_url,
            users,
            catalogue,
            pressure,
            shards=settings.shards,
            vouch_key=vouch_keys[0],
            pooling=settings.database_pooling,
        ),
        rules=rules,
        watch=Watch(engine, rules, Suspicion(client)),
        sealer=Sealer(engine, audit_keys, shards=settings.shards),
        audit_check=AuditCheck(engine, audit_keys, vouch_keys),
        audit_export=AuditExport(engine, audit_keys),
        desk=Desk(
            engine,
            users,
            revocations,
            shards=settings.shards,
            vouch_key=vouch_keys[0],
            tell=lambda user_id: tell_of(engine, ranking, partial(events.publish, client), [user_id]),
        ),
    )


def _open_replica(settings: Settings, engine: Engine) -> Replica:
    url = settings.database_replica_url
    return Replica(
        engine,
        open_engine(url, settings.database_pooling) if url is not None else None,
        lag_limit_seconds=settings.replica_lag_limit_seconds,
    )
