"""The same numbers from one thread or many, from several callers at once, and after a fork."""

import os
import signal
import threading

import numpy as np
import pytest

import quant_engine as qe
from quant_engine.kernels import parallel

LARGE = np.random.default_rng(9).standard_t(3, (1025, 1031)).astype(np.float32)  # above parallel.SERIAL_BELOW
SPECS = [
    qe.QuantizerSpec(qe.IntFormat(4), granularity, symmetric, clipping)
    for granularity in (qe.PerTensor(), qe.PerChannel(1), qe.PerGroup(100, remainder="short"))
    for symmetric in (True, False)
    for clipping in (qe.MinMax(), qe.MinMSE())
]


def everything(spec):
    """Return all that is made of the large tensor, as bytes and numbers."""
    fitted = qe.fit(LARGE, spec)
    x_hat, report = fitted.reconstruct(LARGE)
    q = fitted.encode(LARGE)
    made = (fitted.scale, fitted.zero_point, q.codes, q.dequantize(), x_hat)
    return [array.tobytes() for array in made], (report.clipped, report.max_abs), report.mse


@pytest.fixture
def cores(monkeypatch):
    def use(count):
        monkeypatch.setattr(parallel, "thread_count", lambda: count)
        monkeypatch.setattr(parallel, "_pools", {})

    return use


def test_the_large_tensor_is_large_enough_to_be_divided():
    assert LARGE.size > parallel.SERIAL_BELOW


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.key.replace('"', ""))
def test_one_thread_and_three_give_the_same_bits(cores, spec):
    cores(1)
    arrays, numbers, mse = everything(spec)
    cores(3)
    assert everything(spec)[:2] == (arrays, numbers)
    assert everything(spec)[2] == pytest.approx(mse, rel=1e-12)


def test_work_is_divided_without_gaps_or_overlaps(cores):
    cores(3)
    ranges = parallel.over_ranges(parallel.SERIAL_BELOW + 1, lambda start, stop: (start, stop))
    assert len(ranges) == 3
    assert [start for start, _ in ranges] == [0, *[stop for _, stop in ranges[:-1]]]
    assert ranges[-1][1] == parallel.SERIAL_BELOW + 1


def test_small_work_stays_on_the_calling_thread(cores):
    cores(3)
    assert parallel.over_ranges(100, lambda start, stop: threading.get_ident()) == [threading.get_ident()]


def test_an_error_in_a_thread_reaches_the_caller(cores):
    cores(3)
    bad = LARGE.copy()
    bad[-1, -1] = np.nan
    with pytest.raises(qe.QuantError, match=r"at \(1024, 1030\)"):
        qe.quantize(bad, SPECS[0])


def test_threads_that_quantize_at_once_do_not_disturb_each_other(cores):
    cores(3)
    alone = [everything(spec) for spec in SPECS[:4]]
    found = [None] * len(alone)

    def work(i):
        found[i] = everything(SPECS[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(alone))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == alone


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_forked_child_quantizes_as_its_parent_did(cores):
    cores(3)
    spec = SPECS[0]
    expected = qe.quantize(LARGE, spec).codes.tobytes()  # the parent's pool has threads now
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        outcome = 1
        try:
            outcome = int(qe.quantize(LARGE, spec).codes.tobytes() != expected)
        finally:
            os._exit(outcome)  # whatever happened, the child runs no other test
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
