"""Answers that come together are kept together: one transaction for all that wait, one wait for the disk."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from explorer.teaching.answers import Given


class Writer:
    """What waits to be written, in the server's loop, and how much was."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._waiting: list[tuple[Given, asyncio.Future[str]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._times: deque[float] = deque(maxlen=10_000)

    async def keep(self, given: Given) -> str:
        """Return what became of an answer, as `Answers.record` says, once that is on the disk."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append((given, future))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        return await future

    def in_last(self, seconds: float) -> int:
        """Return how many answers were written in the last seconds."""
        since = time.monotonic() - seconds
        return sum(one >= since for one in [*self._times])

    async def _write(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            try:
                became = await _kept([given for given, _ in taken])
            except Exception as error:  # each phone hears of it, and sends again
                for _, future in taken:
                    if not future.cancelled():
                        future.set_exception(error)
                continue
            self._times.extend([time.monotonic()] * len(taken))
            for (_, future), one in zip(taken, became, strict=True):
                if not future.cancelled():
                    future.set_result(one)


async def _kept(given: Sequence[Given]) -> list[str]:
    from starlette.concurrency import run_in_threadpool

    from explorer.teaching.kept import classes

    return await run_in_threadpool(lambda: classes().record(given))


WRITER = Writer()
