"""The background worker: at most once, last wish first, failures not kept."""

from __future__ import annotations

import threading

import pytest

from explorer.jobs import Jobs, SupersededError


def test_the_same_key_is_computed_once() -> None:
    jobs, calls = Jobs(pause=0.0), []
    first = jobs.submit("a", "key", lambda: calls.append(1) or "done")
    assert first.result(5) == "done"
    assert jobs.submit("b", "key", lambda: calls.append(2)).result(5) == "done"
    assert calls == [1]


def test_what_an_owner_no_longer_waits_for_is_dropped_unless_begun() -> None:
    jobs, begun, release = Jobs(pause=0.0), threading.Event(), threading.Event()
    running = jobs.submit("a", "slow", lambda: begun.set() or release.wait(10))
    assert begun.wait(5)
    stale = jobs.submit("a", "stale", lambda: "never")
    last = jobs.submit("a", "last", lambda: "now")
    release.set()
    assert last.result(5) == "now"
    with pytest.raises(SupersededError):
        stale.result(5)
    assert running.result(5)
    assert jobs.submit("a", "stale", lambda: "asked again").result(5) == "asked again"


def test_what_another_owner_waits_for_is_kept() -> None:
    jobs, release = Jobs(pause=0.0), threading.Event()
    jobs.submit("a", "slow", lambda: release.wait(10))
    shared = jobs.submit("a", "shared", lambda: "kept")
    jobs.submit("b", "shared", lambda: "kept")
    jobs.submit("a", "other", lambda: None)
    release.set()
    assert shared.result(5) == "kept"


def test_a_failure_is_told_and_tried_again_when_asked_again() -> None:
    jobs = Jobs(pause=0.0)
    with pytest.raises(ZeroDivisionError):
        jobs.submit("a", "key", lambda: 1 / 0).result(5)
    assert jobs.submit("a", "key", lambda: "fine").result(5) == "fine"
