"""Runs in the background: cancelled between two items, a few at once, and one session does not disturb another."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Generator

import numpy as np
import pytest

from explorer.races import Lanes, Run, Runs

LIMIT = 10.0  # seconds


class Counting:
    """A generator of whole numbers that goes on when it is told to, and says when it is closed."""

    def __init__(self, items: int = 1000) -> None:
        self.items, self.asked = items, 0
        self.begun, self.closed, self.go = threading.Event(), threading.Event(), threading.Semaphore(0)

    def __call__(self) -> Generator[int, None, None]:
        try:
            for number in range(self.items):
                self.asked += 1
                self.begun.set()
                assert self.go.acquire(timeout=LIMIT)
                yield number
        finally:
            self.closed.set()

    def release(self, items: int) -> None:
        for _ in range(items):
            self.go.release()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "this never came true"
        time.sleep(0.002)


@pytest.fixture
def lanes() -> Lanes:
    return Lanes(at_once=2)


def test_items_are_seen_while_the_run_goes_on_and_it_ends_as_done(lanes: Lanes) -> None:
    work = Counting(3)
    run = Runs("a", lanes).start("key", work)
    work.release(2)
    wait_until(lambda: run.items == (0, 1))
    assert run.state == "running"
    assert run.active
    work.release(1)
    wait_until(lambda: run.state == "done")
    assert run.items == (0, 1, 2)
    assert work.closed.is_set()
    taken = run.seconds
    time.sleep(0.01)
    assert run.seconds == taken > 0


def test_a_cancelled_run_finishes_its_item_and_goes_on_from_there_when_it_is_started_again(lanes: Lanes) -> None:
    work, runs = Counting(5), Runs("a", lanes)
    run = runs.start("key", work)
    work.release(2)
    wait_until(lambda: work.asked == 3)  # and is in the middle of it
    run.cancel()
    assert run.stopping
    work.release(1)
    wait_until(lambda: run.state == "cancelled")
    assert run.items == (0, 1, 2)
    assert not run.stopping
    taken = run.seconds
    time.sleep(0.01)
    assert run.seconds == taken > 0
    assert runs.start("key", Counting()) is run
    work.release(2)
    wait_until(lambda: run.state == "done")
    assert run.items == (0, 1, 2, 3, 4)
    assert run.seconds > taken
    assert work.closed.is_set()


def test_a_cancelled_run_that_nobody_holds_any_more_is_closed(lanes: Lanes) -> None:
    def start_and_cancel(work: Counting) -> None:
        run = Runs("a", lanes).start("key", work)
        assert work.begun.wait(LIMIT)
        run.cancel()
        work.release(1)
        wait_until(lambda: run.state == "cancelled")
        assert not work.closed.is_set()

    work = Counting()
    start_and_cancel(work)
    wait_until(lambda: gc.collect() >= 0 and work.closed.is_set())


def test_a_key_is_started_once_and_anew_only_after_it_failed(lanes: Lanes) -> None:
    runs, work = Runs("a", lanes), Counting(1)
    first = runs.start("key", work)
    assert runs.start("key", Counting()) is first
    work.release(1)
    wait_until(lambda: first.state == "done")
    assert runs.start("key", Counting()) is first

    def breaks() -> Generator[int, None, None]:
        yield 1
        raise ValueError("broken")

    failed = runs.start("other", breaks)
    wait_until(lambda: failed.state == "failed")
    assert str(failed.error) == "broken"
    assert failed.items == (1,)
    again = runs.start("other", Counting(0))
    assert again is not failed
    wait_until(lambda: again.state == "done")


def test_a_run_started_again_while_it_stops_does_not_stop(lanes: Lanes) -> None:
    runs, work = Runs("a", lanes), Counting(2)
    run = runs.start("key", work)
    assert work.begun.wait(LIMIT)
    run.cancel()
    assert runs.start("key", Counting()) is run
    assert not run.stopping
    work.release(2)
    wait_until(lambda: run.state == "done")


def test_a_run_cancelled_and_taken_back_while_it_waits_has_its_turn_once(lanes: Lanes) -> None:
    runs, works = Runs("a", lanes), [Counting(1) for _ in range(3)]
    *_, last = (runs.start(number, work) for number, work in enumerate(works))
    last.cancel()
    assert runs.start(2, Counting()) is last
    assert last.state == "waiting"
    for work in works:
        work.release(1)
    wait_until(lambda: not runs.active())
    assert last.items == (0,)


def test_more_runs_than_lanes_wait_and_a_waiting_one_can_be_cancelled(lanes: Lanes) -> None:
    runs, works = Runs("a", lanes), [Counting(1) for _ in range(4)]
    begun = [runs.start(number, work) for number, work in enumerate(works)]
    wait_until(lambda: [run.state for run in begun] == ["running", "running", "waiting", "waiting"])
    begun[2].cancel()
    assert begun[2].state == "cancelled"
    works[0].release(1)
    wait_until(lambda: begun[3].state == "running")
    assert not works[2].begun.is_set()
    for work in (works[1], works[3]):
        work.release(1)
    wait_until(lambda: not runs.active())


def test_a_free_lane_goes_to_the_session_with_the_fewest_runs_under_way(lanes: Lanes) -> None:
    greedy, modest, works = Runs("greedy", lanes), Runs("modest", lanes), [Counting(1) for _ in range(5)]
    crowd = [greedy.start(number, work) for number, work in enumerate(works[:4])]
    late = modest.start("late", works[4])
    wait_until(lambda: [run.state for run in crowd[:2]] == ["running", "running"])
    works[0].release(1)
    wait_until(lambda: late.state == "running")
    assert [run.state for run in crowd[1:]] == ["running", "waiting", "waiting"]
    greedy.cancel_all()
    for work in works:
        work.release(1)
    wait_until(lambda: not greedy.active() and not modest.active())


def test_what_is_quick_does_not_wait_for_what_takes_long(lanes: Lanes) -> None:
    runs, works = Runs("a", lanes), [Counting(1) for _ in range(6)]
    slow = [runs.start(number, work) for number, work in enumerate(works[:3])]
    quick = [runs.start(number, work, quick=True) for number, work in enumerate(works[3:], 3)]
    wait_until(lambda: [run.state for run in slow] == ["running", "running", "waiting"])
    wait_until(lambda: [run.state for run in quick] == ["running", "waiting", "waiting"])
    works[3].release(1)
    wait_until(lambda: quick[1].state == "running")
    assert slow[2].state == "waiting"
    works[0].release(1)
    wait_until(lambda: quick[2].state == "running")
    for work in works:
        work.release(1)
    wait_until(lambda: not runs.active())


def test_many_that_are_quick_do_not_keep_another_session_waiting(lanes: Lanes) -> None:
    greedy, modest, works = Runs("greedy", lanes), Runs("modest", lanes), [Counting(1) for _ in range(6)]
    crowd = [greedy.start(number, work, quick=True) for number, work in enumerate(works[:5])]
    wait_until(lambda: [run.state for run in crowd[2:4]] == ["running", "waiting"])
    late = modest.start("late", works[5])
    works[0].release(1)
    wait_until(lambda: late.state == "running")
    assert crowd[3].state == "waiting"
    for work in works:
        work.release(1)
    wait_until(lambda: not greedy.active() and not modest.active())


def test_a_session_that_goes_away_frees_its_lanes_and_leaves_others_alone(lanes: Lanes) -> None:
    gone, stays, works = Runs("gone", lanes), Runs("stays", lanes), [Counting() for _ in range(4)]
    for number, work in enumerate(works[:3]):
        gone.start(number, work)
    other = stays.start("other", works[3])
    gone.cancel_all()
    works[0].release(1)
    wait_until(lambda: other.state == "running")
    works[1].release(1)
    wait_until(lambda: not gone.active())
    assert other.state == "running"
    assert not works[2].begun.is_set()
    other.cancel()
    works[3].release(1)
    wait_until(lambda: not stays.active())


def walk(seed: int) -> Callable[[], Generator[float, None, None]]:
    def work() -> Generator[float, None, None]:
        rng = np.random.default_rng(seed)
        for _ in range(200):
            yield float(rng.standard_normal())

    return work


def test_two_sessions_at_once_draw_what_each_draws_alone(lanes: Lanes) -> None:
    alone = [tuple(walk(seed)()) for seed in (1, 2)]
    together = [Runs(name, lanes).start("walk", walk(seed)) for name, seed in (("a", 1), ("b", 2))]
    wait_until(lambda: all(run.state == "done" for run in together))
    assert [run.items for run in together] == alone


def test_a_run_that_never_had_its_turn_took_no_time() -> None:
    run = Run("a", Counting(1))
    assert run.seconds == 0.0
    run.cancel()
    run.carry_out()
    assert run.state == "cancelled"
    assert run.items == ()
