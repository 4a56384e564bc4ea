"""What is lost in turn, what mends it, and which alert must say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.drill.deployment import Deployment

#: What happens to the deployment; a part of it.
Deed = Callable[[Deployment], None]


def _nothing(_: Deployment) -> None:
    """It mends itself."""


@dataclass(frozen=True)
class Strike:
    """One loss.

    Attributes:
        name: what `--only` takes.
        sentence: what happens, for the table.
        lose: does it.
        mend: what an operator does about it, at once; nothing where the deployment mends itself.
        bring_back: puts the lost part back once the alert has fired.
        alert: which must fire for the lost part; "" where another part does its work and nobody need know.
        recovery_seconds_most: from the loss to an update that goes all the way again.
    """

    name: str
    sentence: str
    lose: Deed
    bring_back: Deed
    alert: str
    recovery_seconds_most: float
    mend: Deed = _nothing
    mended_by: str = "itself"


def _lose(name: str) -> Deed:
    def lose(deployment: Deployment) -> None:
        deployment.lost = name
        deployment.lose(name)

    return lose


def _gone(name: str, sentence: str, recovery_seconds_most: float, alert: str = "PartDown") -> Strike:
    return Strike(
        name,
        sentence,
        _lose(name),
        lambda deployment: deployment.bring_back(name),
        alert,
        recovery_seconds_most,
    )


def _lose_redis_master(deployment: Deployment) -> None:
    deployment.lost = deployment.redis_master()
    deployment.lose(deployment.lost)


def _lose_primary_and_disk(deployment: Deployment) -> None:
    deployment.lost = deployment.primary().name
    deployment.lose_disk(deployment.lost)


def _lose_replica(deployment: Deployment) -> None:
    deployment.lost = deployment.replica().name
    deployment.lose(deployment.lost)


STRIKES: Final = (
    _gone("lb-1", "nginx, one of two load balancers, is gone", 5.0),
    _gone("lb-2", "HAProxy, the other load balancer, is gone", 5.0),
    _gone("api-2", "one of three API servers is gone", 5.0),
    _gone("sockets-1", "one of two socket servers is gone", 5.0),
    _gone("worker-1", "one of two workers is gone", 10.0),
    _gone("beat-1", "one of two beats is gone", 15.0, alert=""),
    _gone("rabbitmq", "the broker is gone", 15.0, alert="AllPartsDown"),
    Strike(
        "redis-master",
        "the Redis master is gone: Sentinel makes the replica master",
        _lose_redis_master,
        lambda deployment: deployment.bring_back(deployment.lost),
        "PartDown",
        15.0,
        mended_by="Sentinel",
    ),
    Strike(
        "postgres-replica",
        "the PostgreSQL replica is gone, which every commit waits for",
        _lose_replica,
        lambda deployment: deployment.go_together(deployment.lost),
        "PartDown",
        30.0,
        mend=lambda deployment: deployment.go_alone(),
        mended_by="the command `alone`",
    ),
    Strike(
        "postgres-primary",
        "the PostgreSQL primary is gone, and its disk with it",
        _lose_primary_and_disk,
        lambda deployment: deployment.rejoin(deployment.lost),
        "PartDown",
        30.0,
        mend=lambda deployment: deployment.promote(),
        mended_by="the command `promote`",
    ),
)
