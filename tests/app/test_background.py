"""Work in the background: at most once, in slices, fair by session, and resumed where it stopped."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Generator, Hashable
from concurrent.futures import Future

import numpy as np
import pytest
import torch
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests
from streamlit.testing.v1 import AppTest
from torch import nn

from explorer.background import Kind, Scheduler, Session, Task
from explorer.background.limits import Limits
from explorer.background.live import is_wanted
from explorer.background.scheduler import MAX_KEPT, MAX_STOPPED, MOST_OWN
from quant_engine.caches import buffers_of
from quant_engine.network import load

LIMIT = 10.0  # seconds


class Counting:
    """A generator function of whole numbers that goes on when it is told to, and says when it is closed."""

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


class Holding:
    """A function that returns when it is told to."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.go.wait(LIMIT)
        return "held"


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "this never came true"
        time.sleep(0.002)


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(slice_seconds=0.0, pause=0.0)


def states(tasks: list[Task]) -> list[str]:
    return [task.state for task in tasks]


def start(session: Session, key: Hashable, work: Callable[[], object]) -> Task:
    return session.start(key, work, Kind.LONG_RUN)


# --- answers ----------------------------------------------------------------------------------------------------------


def test_the_same_key_is_computed_once(scheduler: Scheduler) -> None:
    a, b, calls = scheduler.session(), scheduler.session(), []
    first = a.ask("panel", "key", lambda: calls.append(1) or "done")
    assert first.result(LIMIT) == "done"
    assert b.ask("panel", "key", lambda: calls.append(2)) is first
    assert calls == [1]


def test_what_a_place_no_longer_shows_is_dropped_unless_begun(scheduler: Scheduler) -> None:
    session, slow = scheduler.session(), Holding()
    running = session.ask("panel", "slow", slow)
    assert slow.begun.wait(LIMIT)
    stale = session.ask("panel", "stale", lambda: "never")
    last = session.ask("panel", "last", lambda: "now")
    slow.go.set()
    assert last.result(LIMIT) == "now"
    assert stale.state == "cancelled"
    assert session.find("stale") is None
    assert running.result(LIMIT) == "held"
    assert session.ask("panel", "stale", lambda: "asked again").result(LIMIT) == "asked again"


def test_asking_for_more_than_is_done_keeps_nothing_of_what_was_dropped(scheduler: Scheduler) -> None:
    """A busy server would keep a thing for every question ever asked."""

    def waiting() -> int:
        return sum(type(one) is Future for one in gc.get_objects())

    session, slow = scheduler.session(), Holding()
    session.ask("panel", "slow", slow)
    assert slow.begun.wait(LIMIT)
    before = waiting()
    for number in range(500):
        session.ask("panel", number, lambda: "never")
    assert waiting() - before < 5
    slow.go.set()
    assert session.ask("panel", "last", lambda: "now").result(LIMIT) == "now"


def test_another_page_leaves_what_the_last_one_showed_but_not_runs(scheduler: Scheduler) -> None:
    session, slow, work = scheduler.session(), Holding(), Counting(1)
    session.open("first")
    session.ask("other panel", "slow", slow)
    assert slow.begun.wait(LIMIT)
    left, run = session.ask("panel", "left", lambda: "never"), start(session, "run", work)
    session.open("first")
    assert left.state == "waiting"
    session.open("second")
    slow.go.set()
    assert left.state == "cancelled"
    work.release(1)
    assert run.result(LIMIT) == 0


def test_what_another_session_shows_is_kept(scheduler: Scheduler) -> None:
    a, b, slow = scheduler.session(), scheduler.session(), Holding()
    a.ask("panel", "slow", slow)
    shared = a.ask("panel", "shared", lambda: "kept")
    b.ask("panel", "shared", lambda: "kept")
    a.ask("panel", "other", lambda: None)
    slow.go.set()
    assert shared.result(LIMIT) == "kept"


def test_a_failure_is_told_and_tried_again_when_it_is_asked_for_anew(scheduler: Scheduler) -> None:
    session = scheduler.session()
    failed = session.ask("panel", "key", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        failed.result(LIMIT)
    assert session.ask("panel", "key", lambda: "fine") is failed
    session.leave("panel")
    assert session.ask("panel", "key", lambda: "fine").result(LIMIT) == "fine"


def test_a_session_that_has_gone_keeps_nobody_waiting_and_leaves_nothing(scheduler: Scheduler) -> None:
    a, b, gone, slow = scheduler.session(), scheduler.session(), scheduler.session(), Holding()
    a.ask("panel", "slow", slow)
    assert slow.begun.wait(LIMIT)
    alone = gone.ask("panel", "alone", lambda: "never")
    shared = [session.ask("table", "shared", lambda: "kept") for session in (gone, b)]
    gone.release()
    assert alone.state == "cancelled"
    assert scheduler.sessions == [a, b]
    slow.go.set()
    assert shared[0] is shared[1]
    assert shared[1].result(LIMIT) == "kept"
    a.release()
    b.release()
    gone.release()
    assert scheduler.sessions == []


def test_sessions_take_turns(scheduler: Scheduler) -> None:
    greedy, modest, slow, order = scheduler.session(), scheduler.session(), Holding(), []
    greedy.ask("0", "slow", slow)
    assert slow.begun.wait(LIMIT)
    last = [greedy.ask(str(n), f"greedy {n}", lambda n=n: order.append(f"greedy {n}")) for n in (1, 2, 3)]
    last.append(modest.ask("1", "modest", lambda: order.append("modest")))
    slow.go.set()
    for task in last:
        task.result(LIMIT)
    assert order == ["modest", "greedy 1", "greedy 2", "greedy 3"]


def test_old_answers_are_forgotten_but_not_those_that_are_shown(scheduler: Scheduler) -> None:
    session = scheduler.session()
    shown = session.ask("shown", "first", lambda: "first")
    shown.result(LIMIT)
    for number in range(MAX_KEPT + 10):
        session.ask("panel", number, lambda: None).result(LIMIT)
        session.ask("shown", "first", lambda: "again")
    assert session.find("first") is shown
    assert session.find(0) is None
    assert session.find(MAX_KEPT + 9) is not None


def test_studies_that_were_left_in_the_middle_are_closed_beyond_so_many(scheduler: Scheduler) -> None:
    session, works = scheduler.session(), [Counting() for _ in range(MAX_STOPPED + 4)]
    for number, work in enumerate(works):
        session.ask("study", number, work, Kind.STUDY)
        assert work.begun.wait(LIMIT)
        session.leave("study")
        work.release(1)
    session.ask("panel", "last", lambda: None).result(LIMIT)
    assert [work.closed.is_set() for work in works] == [True] * 4 + [False] * MAX_STOPPED
    assert session.find(3) is None


# --- studies ----------------------------------------------------------------------------------------------------------


def test_an_answer_waits_for_one_slice_of_a_study_only(scheduler: Scheduler) -> None:
    a, b, work = scheduler.session(), scheduler.session(), Counting(3)
    study = a.ask("study", "study", work, Kind.STUDY, 3)
    assert work.begun.wait(LIMIT)
    answers = [session.ask("panel", f"answer {session is a}", lambda: len(study.items)) for session in (a, b)]
    work.release(1)
    assert sorted(answer.result(LIMIT) for answer in answers) == [1, 1]
    assert study.state == "running"
    assert study.share == 1 / 3
    work.release(2)
    assert study.result(LIMIT) == 2
    assert study.share == 1


def test_a_slice_lasts_until_its_time_is_over() -> None:
    scheduler = Scheduler(slice_seconds=LIMIT, pause=0.0)
    session, work = scheduler.session(), Counting(3)
    study = session.ask("study", "study", work, Kind.STUDY)
    assert work.begun.wait(LIMIT)
    answer = session.ask("panel", "answer", lambda: study.items)
    work.release(3)
    assert answer.result(LIMIT) == (0, 1, 2)


def test_a_study_that_is_left_stops_and_goes_on_from_there_for_whoever_asks_again(scheduler: Scheduler) -> None:
    a, b, work = scheduler.session(), scheduler.session(), Counting(3)
    study = a.ask("study", "study", work, Kind.STUDY, 3)
    assert work.begun.wait(LIMIT)
    a.leave("study")
    work.release(1)
    wait_until(lambda: study.state == "cancelled")
    assert study.items == (0,)
    assert a.find("study") is study
    assert b.ask("study", "study", Counting(), Kind.STUDY, 3) is study
    work.release(2)
    assert study.result(LIMIT) == 2
    assert study.items == (0, 1, 2)


# --- runs -------------------------------------------------------------------------------------------------------------


def test_items_are_seen_while_a_run_goes_on_and_it_ends_as_done(scheduler: Scheduler) -> None:
    work = Counting(3)
    run = start(scheduler.session(), "key", work)
    work.release(2)
    wait_until(lambda: run.items == (0, 1))
    assert run.state == "running"
    assert run.active
    work.release(1)
    wait_until(lambda: run.state == "done")
    assert run.items == (0, 1, 2)
    assert work.closed.is_set()
    wait_until(lambda: not run.held)
    taken = run.seconds
    time.sleep(0.01)
    assert run.seconds == taken > 0


def test_a_cancelled_run_finishes_its_item_and_goes_on_from_there_when_it_is_started_again(
    scheduler: Scheduler,
) -> None:
    work, session = Counting(5), scheduler.session()
    run = start(session, "key", work)
    work.release(2)
    wait_until(lambda: work.asked == 3)  # and is in the middle of it
    session.leave("key")
    assert run.stopping
    work.release(1)
    wait_until(lambda: run.state == "cancelled")
    assert run.items == (0, 1, 2)
    assert not run.stopping
    taken = run.seconds
    time.sleep(0.01)
    assert run.seconds == taken > 0
    assert start(session, "key", Counting()) is run
    work.release(2)
    wait_until(lambda: run.state == "done")
    assert run.items == (0, 1, 2, 3, 4)
    assert run.seconds > taken
    assert work.closed.is_set()


def test_a_cancelled_run_whose_session_is_gone_is_closed(scheduler: Scheduler) -> None:
    def start_and_go(work: Counting) -> None:
        session = scheduler.session()
        run = start(session, "key", work)
        assert work.begun.wait(LIMIT)
        session.release()
        work.release(1)
        wait_until(lambda: run.state == "cancelled")
        assert not work.closed.is_set()

    work = Counting()
    start_and_go(work)
    start(scheduler.session(), "other", lambda: None).result(LIMIT)
    wait_until(lambda: gc.collect() >= 0 and work.closed.is_set())


def test_a_run_is_started_once_and_anew_only_after_it_failed(scheduler: Scheduler) -> None:
    session, work = scheduler.session(), Counting(1)
    first = start(session, "key", work)
    assert start(session, "key", Counting()) is first
    work.release(1)
    wait_until(lambda: first.state == "done")
    assert start(session, "key", Counting()) is first

    def breaks() -> Generator[int, None, None]:
        yield 1
        raise ValueError("broken")

    failed = start(session, "other", breaks)
    wait_until(lambda: failed.state == "failed")
    assert str(failed.error) == "broken"
    assert failed.items == (1,)
    again = start(session, "other", Counting(0))
    assert again is not failed
    wait_until(lambda: again.state == "done")


def test_a_run_started_again_while_it_stops_does_not_stop(scheduler: Scheduler) -> None:
    session, work = scheduler.session(), Counting(2)
    run = start(session, "key", work)
    assert work.begun.wait(LIMIT)
    session.leave("key")
    assert start(session, "key", Counting()) is run
    assert not run.stopping
    work.release(2)
    wait_until(lambda: run.state == "done")


def test_a_run_cancelled_and_resumed_while_it_waits_has_its_turn_once(scheduler: Scheduler) -> None:
    session, works = scheduler.session(), [Counting(1) for _ in range(3)]
    runs = [start(session, number, work) for number, work in enumerate(works)]
    session.leave(2)
    assert start(session, 2, Counting()) is runs[2]
    assert runs[2].state == "waiting"
    for work in works:
        work.release(1)
    wait_until(lambda: not any(run.active for run in runs))
    assert runs[2].items == (0,)


def test_two_long_runs_go_on_at_once_and_one_that_waits_can_be_cancelled(scheduler: Scheduler) -> None:
    session, works = scheduler.session(), [Counting(2) for _ in range(4)]
    runs = [start(session, number, work) for number, work in enumerate(works)]
    wait_until(lambda: states(runs) == ["running", "running", "waiting", "waiting"])
    session.leave(2)
    assert runs[2].state == "cancelled"
    for work in works[:2]:
        work.release(1)
    wait_until(lambda: [work.asked for work in works] == [2, 2, 0, 0])  # each goes on, slice by slice, to its end
    works[0].release(1)
    wait_until(lambda: runs[3].state == "running")
    assert not works[2].begun.is_set()
    works[1].release(1)
    works[3].release(2)
    wait_until(lambda: not any(run.active for run in runs))


def test_a_free_worker_goes_to_the_session_whose_last_turn_is_longest_ago(scheduler: Scheduler) -> None:
    greedy, modest, works = scheduler.session(), scheduler.session(), [Counting(1) for _ in range(5)]
    crowd = [start(greedy, number, work) for number, work in enumerate(works[:4])]
    wait_until(lambda: states(crowd[:2]) == ["running", "running"])
    late = start(modest, "late", works[4])
    works[0].release(1)
    wait_until(lambda: late.state == "running")
    assert states(crowd[1:]) == ["running", "waiting", "waiting"]
    greedy.leave(*greedy.own)
    for work in works:
        work.release(1)
    wait_until(lambda: not any(run.active for run in (*crowd, late)))


def test_what_is_quick_does_not_wait_for_long_runs(scheduler: Scheduler) -> None:
    session, works = scheduler.session(), [Counting(1) for _ in range(5)]
    slow = [start(session, number, work) for number, work in enumerate(works[:3])]
    quick = [session.start(number, work) for number, work in enumerate(works[3:], 3)]
    wait_until(lambda: states(slow) == ["running", "running", "waiting"])
    wait_until(lambda: states(quick) == ["running", "waiting"])
    works[3].release(1)
    wait_until(lambda: quick[1].state == "running")
    assert slow[2].state == "waiting"
    for work in works:
        work.release(1)
    wait_until(lambda: not any(run.active for run in (*slow, *quick)))


def test_an_answer_comes_before_a_run_of_its_session(scheduler: Scheduler) -> None:
    session, work = scheduler.session(), Counting(2)
    run = session.start("run", work)
    assert work.begun.wait(LIMIT)
    answer = session.ask("panel", "answer", lambda: len(run.items))
    work.release(2)
    assert answer.result(LIMIT) == 1
    assert run.result(LIMIT) == 1


def test_a_session_that_goes_away_frees_its_workers_and_leaves_others_alone(scheduler: Scheduler) -> None:
    gone, stays, works = scheduler.session(), scheduler.session(), [Counting() for _ in range(4)]
    left = [start(gone, number, work) for number, work in enumerate(works[:3])]
    wait_until(lambda: states(left) == ["running", "running", "waiting"])
    other = start(stays, "other", works[3])
    gone.release()
    works[0].release(1)
    wait_until(lambda: other.state == "running")
    works[1].release(1)
    wait_until(lambda: states(left) == ["cancelled"] * 3)
    assert other.state == "running"
    assert not works[2].begun.is_set()
    stays.leave("other")
    works[3].release(1)
    wait_until(lambda: not other.active)


def walk(seed: int) -> Callable[[], Generator[float, None, None]]:
    def work() -> Generator[float, None, None]:
        rng = np.random.default_rng(seed)
        for _ in range(200):
            yield float(rng.standard_normal())

    return work


def test_two_sessions_at_once_draw_what_each_draws_alone(scheduler: Scheduler) -> None:
    alone = [tuple(walk(seed)()) for seed in (1, 2)]
    together = [start(scheduler.session(), "walk", walk(seed)) for seed in (1, 2)]
    for run in together:
        run.result(LIMIT)
    assert [run.items for run in together] == alone


def test_a_task_that_never_had_its_turn_took_no_time() -> None:
    task = Task("key", Counting(1))
    assert task.seconds == 0.0
    assert task.items == ()
    assert task.state == "cancelled"


# --- the part of a page -----------------------------------------------------------------------------------------------


def page() -> None:
    import streamlit as st

    from explorer.background import live

    runs = st.session_state["runs"] = st.session_state.get("runs", 0) + 1

    def draw() -> None:
        left = st.session_state["left"] = max(st.session_state.get("left", 2) - 1, 0)
        st.text(f"{left} left in run {runs}")

    live(draw, lambda: st.session_state.get("left", 2) > 0)


def test_the_page_runs_once_more_when_what_a_part_watches_has_ended() -> None:
    at = AppTest.from_function(page).run()
    assert at.text[0].value == "1 left in run 1"
    at.run()
    assert at.text[0].value == "0 left in run 3"


def test_the_page_does_not_run_under_an_open_dialog_and_does_once_it_is_closed() -> None:
    at = AppTest.from_function(page)
    at.session_state["live_held"] = True
    assert at.run().run().text[0].value == "0 left in run 2"
    del at.session_state["live_held"]
    assert at.run().text[0].value == "0 left in run 3"


def refused() -> None:
    import streamlit as st

    from explorer.background import live

    def draw() -> None:
        raise ValueError("no such setting")

    try:
        live(draw, lambda: st.session_state["working"])
    except ValueError as error:
        st.text(str(error))


@pytest.mark.parametrize("working", [False, True])
def test_what_a_part_raises_the_page_meets(working: bool) -> None:
    at = AppTest.from_function(refused)
    at.session_state["working"] = working
    at.run()
    assert not at.exception
    assert at.text[0].value == "no such setting"


# --- limits and faults ------------------------------------------------------------------------------------------------


def limited(**most: int) -> Scheduler:
    return Scheduler(
        slice_seconds=0.0,
        pause=0.0,
        limits=Limits(**most),
        refused=lambda *about: ValueError(*about),
        reached=buffers_of,
    )


def test_a_run_too_many_of_one_session_or_of_all_fails_at_once_and_can_be_tried_again_later() -> None:
    scheduler, most = limited(), Limits()
    sessions = [scheduler.session() for _ in range(1 + most.all_runs // most.runs)]
    held = Holding()
    for number, session in enumerate(sessions[:-1]):
        started = [start(session, (number, at), held) for at in range(most.runs)]
        assert "failed" not in states(started)
        refused = start(session, (number, "more"), held)
        assert (refused.state, refused.error.args) == ("failed", ("runs", most.runs))
    refused = start(sessions[-1], "any", held)
    assert refused.error.args == ("runs_of_all", most.all_runs)
    assert sessions[-1].ask("panel", "answer", lambda: 1).result(LIMIT) == 1  # what the screen shows is no run
    held.go.set()
    wait_until(lambda: not any(task.active for task in sessions[0].own.values()))
    assert start(sessions[0], (0, "more"), lambda: "done").result(LIMIT) == "done"
    assert start(sessions[-1], "any", lambda: "done").result(LIMIT) == "done"


def test_a_session_whose_results_take_too_much_begins_nothing_long_until_it_lets_go_of_them() -> None:
    scheduler = limited(size_bytes=10_000, all_bytes=25_000)
    first, second, third = (scheduler.session() for _ in range(3))
    for session in (first, second, third):
        session.start("run", lambda: np.zeros(1100)).result(LIMIT)  # 8,800 bytes, and what a result takes besides
    with pytest.raises(ValueError, match="memory"):
        first.hold("file", 1000)
    assert first.start("more", lambda: 1).error.args == ("memory_of_all", 25_000)
    third.release()
    assert first.start("more", lambda: b"1" * 200).result(LIMIT)
    refused = first.ask("table", "study", lambda: 1, Kind.STUDY, refusable=True)
    assert refused.error.args == ("memory", 10_000)
    assert first.ask("panel", "part", lambda: 1, Kind.STUDY).result(LIMIT) == 1  # what the screen shows is drawn
    assert second.start("more", lambda: 1).result(LIMIT) == 1
    again = scheduler.session()  # the page is loaded anew
    first.release()
    assert again.ask("table", "study", lambda: "done", Kind.STUDY, refusable=True).result(LIMIT) == "done"


def test_a_file_counts_while_it_is_held_and_one_that_is_too_large_leaves_the_one_before() -> None:
    session = limited(size_bytes=1000, all_bytes=2000).session()
    session.hold("file", 900)
    with pytest.raises(ValueError, match="memory"):
        session.hold("other", 200)
    with pytest.raises(ValueError, match="memory"):
        session.hold("file", 1100)
    assert session.taken.size_bytes == 900
    session.hold("file", 0)
    session.hold("other", 200)
    assert session.taken.size_bytes == 200


def test_shared_results_that_nobody_looks_at_take_no_more_than_they_may() -> None:
    scheduler = limited(kept_bytes=5 * 9000)
    session, parts = scheduler.session(), np.zeros(1000)
    for number in range(20):
        session.ask("panel", number, lambda: (np.zeros(1000), parts, parts)).result(LIMIT)
    shown = session.find(19)
    wait_until(lambda: len(scheduler.shared) <= 3)
    assert session.find(19) is shown
    assert shown.size_bytes == pytest.approx(16_000, abs=2000)  # `parts` once
    session.release()
    assert sum(task.size_bytes for task in scheduler.shared.values()) <= 5 * 9000


def test_what_work_has_at_hand_counts_until_it_has_ended() -> None:
    """Of what several pieces of work share, such as a model, nothing counts."""
    network, go = load("fashion-cnn"), threading.Semaphore(0)

    def steps() -> Generator[int, None, None]:
        inputs = {"images": np.zeros((10, 1000)), "seen": None}
        weights = [torch.zeros(1000, dtype=torch.float64), inputs["images"][:5], torch.eye(3).to_sparse()]
        for number, _ in enumerate(more(network.model, lambda: weights)):
            assert go.acquire(timeout=LIMIT)
            yield number

    def more(model: object, weights: Callable[[], object]) -> Generator[object, None, None]:
        module, bound = nn.Linear(1000, 1000), "".join
        for _ in range(2):
            yield module, bound, model, weights

    scheduler = limited(size_bytes=100_000, all_bytes=200_000, kept_bytes=80_000)
    session = scheduler.session()
    run = start(session, "run", steps)
    go.release()
    wait_until(lambda: len(run.items) == 1)
    session.leave("run")
    go.release()
    wait_until(lambda: run.stopped)
    assert run.size_bytes == pytest.approx(88_000, abs=3000)
    assert start(session, "more", lambda: np.zeros(2000)).result(LIMIT) is not None
    assert start(session, "too much", lambda: 1).error.args == ("memory", 100_000)
    start(scheduler.session(), "another's", lambda: 1).result(LIMIT)
    assert start(session, "run", steps) is run
    assert run.result(LIMIT) == 1
    assert run.size_bytes < 3000
    study = session.ask("study", "study", steps, Kind.STUDY)
    go.release(2)
    assert study.result(LIMIT) == 1
    left = session.ask("study", "left", steps, Kind.STUDY)
    go.release()
    wait_until(lambda: bool(left.items))
    session.leave("study")
    go.release()
    wait_until(lambda: session.find("left") is None)
    assert session.find("study") is study  # what has ended takes little, though it was asked for before


def test_a_session_keeps_so_many_runs_that_have_ended(scheduler: Scheduler) -> None:
    session = scheduler.session()
    for number in range(MOST_OWN + 20):
        session.start(number, lambda: 1).result(LIMIT)
        session.leave(number)
    assert len(session.own) <= MOST_OWN + 1
    assert session.find(MOST_OWN + 19) is not None


@pytest.mark.parametrize("error", [SystemExit("score.py"), KeyboardInterrupt(), MemoryError(), GeneratorExit()])
def test_work_that_ends_its_thread_has_failed_and_the_next_is_done(scheduler: Scheduler, error: BaseException) -> None:
    def dies() -> None:
        raise error

    session = scheduler.session()
    for kind in (Kind.RUN, Kind.LONG_RUN):
        task = session.start((kind, "dies"), dies, kind)
        wait_until(lambda task=task: task.ended)
        assert (task.state, type(error).__name__ in repr(task.error)) == ("failed", True)
        assert session.start((kind, "next"), lambda: "done", kind).result(LIMIT) == "done"


def test_what_a_page_waits_for_waits_for_no_answer_of_others(scheduler: Scheduler) -> None:
    slow = Holding()
    scheduler.session().ask("panel", "slow", slow)
    assert slow.begun.wait(LIMIT)
    assert scheduler.session().ask("page", "awaited", lambda: "now", Kind.AWAITED).result(LIMIT) == "now"
    slow.go.set()


def test_a_failure_that_is_looked_at_again_and_again_keeps_nothing_of_its_work_and_of_who_looks() -> None:
    held: list[weakref.ref[Task]] = []

    def work() -> None:
        found = Task("of the work", print)
        held.append(weakref.ref(found))
        raise ValueError("no")

    task, lengths = Scheduler(pause=0.0).session().ask("place", "key", work), set()
    for _ in range(3):
        with pytest.raises(ValueError, match="no") as failed:
            task.result(LIMIT)
        lengths.add(len(failed.traceback))
    gc.collect()
    assert len(lengths) == 1
    assert held[0]() is None


@pytest.mark.parametrize("asked", [RerunData(), RerunData(fragment_id="another part")])
def test_a_look_at_work_ends_for_whatever_a_session_asks(asked: RerunData) -> None:
    requests = ScriptRequests()
    assert not is_wanted(requests)
    requests.request_rerun(asked)
    assert is_wanted(requests)
