"""A Redis Cluster as one client, whose time-outs hold and whose errors are Redis' own.

redis-py's client follows MOVED and ASK and learns anew which node has what when one fails. What it leaves to its user:
it connects when it is made, so nothing could start while the cluster is away; some of its errors are no RedisError;
and scripts are loaded into all nodes or none.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, cast

import redis
from redis._parsers import Encoder
from redis.cluster import ClusterNode
from redis.commands.core import Script
from redis.exceptions import AskError, ClusterDownError, NoScriptError, RedisClusterException, TryAgainError
from redis.retry import Retry
from redis.utils import str_if_bytes

from models.redis_url import Address, SeveralServers

#: The keys and arguments of a script.
Call = tuple[Sequence[str], Sequence[Any]]
#: Answers that say that a call was not carried out, but may be where the node says, or with the script at hand.
_ELSEWHERE: Final = (AskError, ClusterDownError, NoScriptError, TryAgainError)


@dataclass(frozen=True, slots=True)
class Range:
    """Slots, and where their master is."""

    first: int
    last: int
    address: Address


class Cluster(redis.RedisCluster):
    """Connects when first used. Every method raises `redis.RedisError` when the cluster does not answer in time."""

    #: A time-out is not waited for twice; a slot that was moved, or a node that closed the connection, is asked again.
    ERRORS_ALLOW_RETRY = (redis.ConnectionError,)  # type: ignore[assignment]  # declared as that very tuple

    def __init__(self, servers: SeveralServers, retry: Retry, timeouts: dict[str, Any]) -> None:
        self._servers = servers
        self._options = {**servers.options, **timeouts, **({"ssl": True} if servers.tls else {})}
        self._times = retry
        self._opening = threading.RLock()
        self._opened = self._is_opening = False

    def __getattr__(self, name: str) -> Any:
        """What redis-py's client sets up when it connects; asked for something else, it is not there."""
        if not name.startswith("__") and not self.__dict__.get("_opened", True):
            with self._opening:
                if not self._is_opening:
                    self._open()
                    return getattr(self, name)
        raise AttributeError(name)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command to the node that it is for."""
        try:
            return super().execute_command(*args, **options)
        except RedisClusterException as error:
            raise redis.ConnectionError(str(error)) from error

    def script_load(self, script: Any) -> Any:
        """Load a script into every node that answers: one that is away must not keep it from the others."""
        sha = None
        error: redis.RedisError = redis.ConnectionError("no node answers")
        for node in self.get_primaries():
            try:
                sha = self.get_redis_connection(node).script_load(script)
            except redis.RedisError as failure:
                error = failure
        if sha is None:
            raise error
        return sha

    def node_of(self, key: str) -> redis.Redis:
        """The client of the node that has a key."""
        return self.get_redis_connection(self._node(key))

    def call_each(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """The answers of a script to several calls, each with keys of one slot, in one round trip a node."""
        nodes: dict[str, list[int]] = {}
        for index, (keys, _) in enumerate(calls):
            nodes.setdefault(self._node_name(keys[0]), []).append(index)
        answers: list[Any] = [None] * len(calls)
        for indices in nodes.values():
            pipeline = self.node_of(calls[indices[0]][0][0]).pipeline(transaction=False)
            for index in indices:
                keys, arguments = calls[index]
                pipeline.evalsha(script.sha, len(keys), *keys, *arguments)
            for index, answer in zip(indices, pipeline.execute(raise_on_error=False), strict=True):
                if isinstance(answer, _ELSEWHERE):
                    answer = script(keys=calls[index][0], args=calls[index][1])
                elif isinstance(answer, Exception):
                    raise answer
                answers[index] = answer
        return answers

    def get_encoder(self) -> Encoder:
        """What turns text into bytes; scripts are made before there is a connection."""
        return Encoder("utf-8", "strict", decode_responses=False)

    def ping(self, **_: Any) -> bool:
        """Whether all nodes that have something answer; a replica may be away."""
        return all(self.get_redis_connection(node).ping() for node in self.get_primaries())

    def pubsub(self, *args: Any, **options: Any) -> Any:
        """A subscription on some node that answers: what is published goes to all of them."""
        self.learn()
        for node in self._shuffled():
            client = self.get_redis_connection(node)
            try:
                client.ping()
            except redis.RedisError:
                continue
            return client.pubsub(*args, **options)
        raise redis.ConnectionError("no node answers")

    def ranges(self) -> tuple[Range, ...]:
        """Who has what, as a node says that is not cut off from the others."""
        for node in self._shuffled():
            client = self.get_redis_connection(node)
            try:
                if client.cluster("info")["cluster_state"] != "ok":
                    continue
                slots = client.execute_command("CLUSTER SLOTS")
            except redis.RedisError:
                continue
            return tuple(
                Range(first, last, (str_if_bytes(master[0]) or node.host, int(master[1])))
                for first, last, master, *_ in sorted(slots, key=itemgetter(0))
            )
        self.learn()  # about others, for the next time
        raise redis.ConnectionError("no node knows all the others")

    def learn(self) -> None:
        """Ask which node has what."""
        try:
            self.nodes_manager.initialize()
        except RedisClusterException as error:
            raise redis.ConnectionError(str(error)) from error

    def close(self) -> None:
        """Close every connection; repeatable."""
        if self._opened:
            super().close()

    def _shuffled(self) -> list[ClusterNode]:
        nodes = list(self.get_primaries())
        random.shuffle(nodes)
        return nodes

    def _node_name(self, key: str) -> str:
        return str(self._node(key).name)

    def _node(self, key: str) -> ClusterNode:
        try:
            return cast(ClusterNode, self.get_node_from_key(key))
        except RedisClusterException as error:
            raise redis.ConnectionError(str(error)) from error

    def _open(self) -> None:
        if self._opened:
            return
        self._is_opening = True
        try:
            super().__init__(
                startup_nodes=[ClusterNode(host, port) for host, port in self._servers.addresses],
                retry=self._times,
                require_full_coverage=False,  # what one node has is no reason to do without the others
                reinitialize_steps=1,
                **self._options,
            )
        except RedisClusterException as error:
            raise redis.ConnectionError(str(error)) from error
        finally:
            self._is_opening = False
        self._opened = True
