"""What stands aside on an event loop is woken by the loop alone, whoever began it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet

from models.storage.loop_connection import LoopTurns


def paused(loop: asyncio.AbstractEventLoop, seconds: float) -> Any:
    """Stand aside for some time, as a connection does that waits for its socket."""
    me = getcurrent()
    loop.call_later(seconds, me.switch, "the loop")
    assert isinstance(me.parent, greenlet)
    return me.parent.switch()


def told_on_a_loop(play: Callable[[asyncio.AbstractEventLoop, LoopTurns], None]) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        play(loop, LoopTurns(loop))
        await asyncio.sleep(0.15)

    asyncio.run(run())


def test_who_is_begun_from_a_wait_of_another_wakes_nobody() -> None:
    """A group of keys is learned, and its answer begins the first group of updates; then more keys are asked for."""
    woken: list[tuple[str, Any]] = []

    def play(loop: asyncio.AbstractEventLoop, turns: LoopTurns) -> None:
        def updates() -> None:
            woken.append(("updates", paused(loop, 0.02)))
            woken.append(("updates", paused(loop, 0.02)))

        def keys() -> None:
            woken.append(("keys", paused(loop, 0.01)))
            turns.spawn(updates)
            woken.append(("keys", paused(loop, 0.08)))

        turns.spawn(keys)

    told_on_a_loop(play)
    assert woken == [("keys", "the loop"), ("updates", "the loop"), ("updates", "the loop"), ("keys", "the loop")]


def test_who_is_begun_by_the_loop_runs_at_once() -> None:
    begun: list[str] = []

    def play(loop: asyncio.AbstractEventLoop, turns: LoopTurns) -> None:
        turns.spawn(lambda: begun.append("work"))
        begun.append("back")

    told_on_a_loop(play)
    assert begun == ["work", "back"]
