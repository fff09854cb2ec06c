"""The background worker: at most once, last wish first, failures not kept."""

from __future__ import annotations

import threading

import pytest

from explorer.jobs import Jobs, SupersededError


def test_the_same_key_is_computed_once() -> None:
    jobs, calls = Jobs(pause=0.0), []
    first = jobs.submit("a", "panel", "key", lambda: calls.append(1) or "done")
    assert first.result(5) == "done"
    assert jobs.submit("b", "panel", "key", lambda: calls.append(2)).result(5) == "done"
    assert calls == [1]


def test_what_an_owner_no_longer_waits_for_is_dropped_unless_begun() -> None:
    jobs, begun, release = Jobs(pause=0.0), threading.Event(), threading.Event()
    running = jobs.submit("a", "panel", "slow", lambda: begun.set() or release.wait(10))
    assert begun.wait(5)
    stale = jobs.submit("a", "panel", "stale", lambda: "never")
    last = jobs.submit("a", "panel", "last", lambda: "now")
    release.set()
    assert last.result(5) == "now"
    with pytest.raises(SupersededError):
        stale.result(5)
    assert running.result(5)
    assert jobs.submit("a", "panel", "stale", lambda: "asked again").result(5) == "asked again"


def test_what_another_owner_waits_for_is_kept() -> None:
    jobs, release = Jobs(pause=0.0), threading.Event()
    jobs.submit("a", "panel", "slow", lambda: release.wait(10))
    shared = jobs.submit("a", "panel", "shared", lambda: "kept")
    jobs.submit("b", "panel", "shared", lambda: "kept")
    jobs.submit("a", "panel", "other", lambda: None)
    release.set()
    assert shared.result(5) == "kept"


def test_a_failure_is_told_and_tried_again_when_asked_again() -> None:
    jobs = Jobs(pause=0.0)
    with pytest.raises(ZeroDivisionError):
        jobs.submit("a", "panel", "key", lambda: 1 / 0).result(5)
    assert jobs.submit("a", "panel", "key", lambda: "fine").result(5) == "fine"


def test_a_session_that_has_gone_keeps_nobody_waiting_and_leaves_nothing() -> None:
    jobs, begun, release = Jobs(pause=0.0), threading.Event(), threading.Event()
    jobs.submit("a", "panel", "slow", lambda: begun.set() or release.wait(10))
    assert begun.wait(5)
    gone = jobs.submit("gone", "panel", "last", lambda: "never")
    shared = [jobs.submit(session, "table", "shared", lambda: "kept") for session in ("gone", "b")]
    jobs.release("gone")
    with pytest.raises(SupersededError):
        gone.result(5)
    assert jobs.sessions == 2
    release.set()
    assert shared[0] is shared[1]
    assert shared[1].result(5) == "kept"
    jobs.release("a")
    jobs.release("b")
    jobs.release("never came")
    assert jobs.sessions == 0


def test_sessions_take_turns() -> None:
    jobs, begun, release, order = Jobs(pause=0.0), threading.Event(), threading.Event(), []
    jobs.submit("greedy", "0", "slow", lambda: begun.set() or release.wait(10))
    assert begun.wait(5)
    last = [jobs.submit("greedy", str(n), f"greedy {n}", lambda n=n: order.append(f"greedy {n}")) for n in (1, 2, 3)]
    last.append(jobs.submit("modest", "1", "modest", lambda: order.append("modest")))
    release.set()
    for future in last:
        future.result(5)
    assert order == ["modest", "greedy 1", "greedy 2", "greedy 3"]
