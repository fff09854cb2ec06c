"""A case of the benchmark: our operation, the peers it runs against, and the target for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import inf
from statistics import median
from typing import Protocol

import torch

from benchmarks.timing import interleave
from quant_engine.kernels.parallel import one_thread

Run = Callable[[], object]
ROUNDS_ALONE = 5  # on one thread, compared with nothing
SLOW = 2.0  # seconds: what takes longer is not run on one thread, too


def figures(value: float, digits: int = 3) -> str:
    """Return a number with so many figures, without an exponent where it is large."""
    return f"{value:,.{digits}g}" if value < 10**digits else f"{value:,.0f}"


class Target(Protocol):
    """What our time has to be in units of a peer's, which is what the methods take."""

    def ratio(self, units: float) -> str:
        """Say how the times compare."""

    def met(self, units: float) -> bool | None:
        """Say whether the target is reached; None where nothing is asked."""


@dataclass(frozen=True)
class TimesAsFast:
    """At least `least` times as fast as the peer; 0 asks nothing."""

    least: float = 0.0

    def __str__(self) -> str:
        """Return the target as text."""
        return f"≥ {self.least:g} × as fast" if self.least else ""

    def ratio(self, units: float) -> str:
        """Return how many times as fast we are."""
        return f"{figures(1.0 / units)} × as fast"

    def met(self, units: float) -> bool | None:
        """Compare with the least allowed."""
        return 1.0 / units >= self.least if self.least else None


@dataclass(frozen=True)
class TimesItsTime:
    """At most `most` times what the peer takes; for peers that are limits, as copying or reading the tensor is.

    ∞ asks nothing.
    """

    most: float = inf

    def __str__(self) -> str:
        """Return the target as text."""
        return f"≤ {self.most:g} × its time" if self.most < inf else ""

    def ratio(self, units: float) -> str:
        """Return our time in units of the peer's."""
        return f"{figures(units)} × its time"

    def met(self, units: float) -> bool | None:
        """Compare with the most allowed."""
        return units <= self.most if self.most < inf else None


@dataclass(frozen=True)
class Peer:
    """Another way to the same result.

    `share` is the part of the work that `run` does; its time is divided by that. What takes minutes is run once, before
    the others, and took `seconds`. Without either, `note` says what is missing.
    """

    name: str
    run: Run | None
    target: Target = TimesAsFast()
    share: float = 1.0
    note: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Our operation and its peers.

    Without `ours`, there are rows that say of peers what is missing. `limit_ms` is a target for our time alone.
    `check` raises AssertionError unless our result is as good as it should be, and says how good it is; where it
    raises, the case becomes one row that says what differed.
    """

    ours: Run | None
    peers: tuple[Peer, ...] = ()
    limit_ms: float | None = None
    check: Callable[[], str] = str


@dataclass(frozen=True)
class Row:
    """One line of the result: an operation alone, or against one peer. `unit` is that of all values.

    `alone` is our median on one thread, where the operation was run so, too. `failed` says that our result is not as
    good as it should be; `note` then says what differed.
    """

    operation: str
    ours: float | None
    ours_least: float | None
    peer: str = ""
    peers: float | None = None
    ratio: str = ""
    target: str = ""
    met: bool | None = None
    note: str = ""
    unit: str = "ms"
    failed: bool = False
    alone: float | None = None


def failure(operation: str, error: str) -> Row:
    """Return the row of an operation that did not come to its result."""
    return Row(operation, None, None, note=error, failed=True)


def compare(operation: str, case: Comparison, repeats: int, budget: float) -> Iterator[Row]:
    """Time a case's operations in turn, check our result, and yield a row for a limit of its own and for each peer.

    Of a result that fails its check there is one row, without a ratio.
    """
    if case.ours is None:
        yield from (Row(operation, None, None, peer.name, note=peer.note) for peer in case.peers)
        return
    runs = {"": case.ours, **{peer.name: peer.run for peer in case.peers if peer.run is not None}}
    times = {name: [second * 1e3 for second in seconds] for name, seconds in interleave(runs, repeats, budget).items()}
    times |= {peer.name: [peer.seconds * 1e3] * len(times[""]) for peer in case.peers if peer.seconds is not None}
    ours = median(times[""])
    on_one = None if ours > 1e3 * SLOW else interleave({"": _on_one_thread(case.ours)}, ROUNDS_ALONE, 0.0)[""]
    alone = Row(operation, ours, min(times[""]), alone=on_one and 1e3 * median(on_one))
    try:
        checked = case.check()
    except AssertionError as error:
        yield replace(alone, note=f"CHECK FAILED: {error}", failed=True)
        return
    if case.limit_ms is not None:
        yield replace(alone, target=f"≤ {case.limit_ms:g} ms", met=ours <= case.limit_ms, note=checked)
        checked = ""
    for peer in case.peers:
        notes = [checked, peer.note, f"measured on {peer.share:.3g} of the work and scaled" if peer.share < 1.0 else ""]
        row = replace(alone, peer=peer.name, target=str(peer.target), note="; ".join(filter(None, notes)))
        checked = ""
        if peer.name in times:
            theirs = [time / peer.share for time in times[peer.name]]
            units = median(a / b for a, b in zip(times[""], theirs, strict=True))  # of runs side by side
            row = replace(row, peers=median(theirs), ratio=peer.target.ratio(units), met=peer.target.met(units))
        yield row


def _on_one_thread(run: Run) -> Run:
    """Return the same, done by the calling thread by itself."""

    def alone() -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with one_thread():
                run()
        finally:
            torch.set_num_threads(threads)

    return alone
