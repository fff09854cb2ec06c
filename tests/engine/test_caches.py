"""The cache: at most once for a key, at most so many bytes, and nobody waits for ever."""

from __future__ import annotations

import pathlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from quant_engine import IntFormat, QuantizerSpec, fit
from quant_engine.caches import OVERHEAD, ByteCache, size_of


def test_the_bytes_of_results_stay_within_the_limit_and_the_least_recently_used_goes() -> None:
    cache, computed = ByteCache(10 * (OVERHEAD + 4000)), []

    def array(number: int) -> np.ndarray:
        return cache.get(str(number), lambda: computed.append(number) or np.zeros(1000, np.float32))

    for number in range(10):
        array(number)
    array(0)
    array(10)
    assert cache.usage().size_bytes == cache.usage().max_bytes
    for number in (0, 2, 10):
        array(number)
    assert computed == [*range(11)]
    array(1)
    assert computed[-1] == 1


def test_what_is_larger_than_the_limit_is_returned_and_not_kept() -> None:
    cache = ByteCache(1000)
    assert cache.get("large", lambda: np.zeros(1000)).size == 1000
    assert (cache.usage().results, cache.usage().size_bytes) == (0, 0)


def test_a_key_asked_for_by_many_is_computed_once() -> None:
    cache, entered, go = ByteCache(1 << 20), threading.Event(), threading.Event()
    calls: list[int] = []

    def slow() -> str:
        calls.append(1)
        entered.set()
        assert go.wait(10)
        return "done"

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(cache.get, "key", slow)
        assert entered.wait(10)
        others = [pool.submit(cache.get, "key", slow) for _ in range(7)]
        go.set()
        assert [future.result(10) for future in (first, *others)] == ["done"] * 8
    assert len(calls) == 1


def test_a_failure_is_not_kept_and_those_who_wait_for_it_try_for_themselves() -> None:
    cache, entered, go = ByteCache(1 << 20), threading.Event(), threading.Event()

    def stopped() -> str:
        entered.set()
        assert go.wait(10)
        raise KeyboardInterrupt  # as Streamlit stops a script: no Exception

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, "key", stopped)
        assert entered.wait(10)
        second = pool.submit(cache.get, "key", lambda: "done")
        go.set()
        assert second.result(10) == "done"
        with pytest.raises(KeyboardInterrupt):
            first.result(10)


def test_a_result_counts_with_every_buffer_that_it_reaches_once() -> None:
    values = np.arange(1000, dtype=np.float32).reshape(10, 100)
    assert size_of({"rows": list(values), "again": values, "bytes": b"12345"}) == values.nbytes + 5
    quantizer = fit(values, QuantizerSpec(IntFormat(4)))
    assert size_of((quantizer, quantizer)) == quantizer.scale.nbytes + quantizer.zero_point.nbytes


def test_a_buffer_of_several_results_counts_once_and_goes_with_the_last_of_them() -> None:
    cache, values = ByteCache(1 << 20), np.zeros(1000)
    for number in range(3):
        cache.get(number, lambda: values[:10])
    assert cache.usage().size_bytes == 3 * OVERHEAD + values.nbytes
    for number in range(200):
        cache.get(("other", number), lambda: np.zeros(1000))
    assert cache.usage().size_bytes == cache.usage().results * (OVERHEAD + 8000) <= 1 << 20


def test_where_the_largest_buffer_is_spared_a_large_tensor_stays_with_what_stands_on_it_until_a_larger_one_comes() -> (
    None
):
    cache, computed = ByteCache(20 * OVERHEAD, spares_largest=True), []

    def large(name: str, size: int) -> np.ndarray:
        return cache.get(name, lambda: computed.append(name) or np.zeros(size))

    for _ in range(3):
        part = cache.get("part", lambda: large("first", 100_000)[:5])
    assert np.shares_memory(part, large("first", 100_000))
    assert computed == ["first"]
    large("second", 200_000)
    large("first", 100_000)
    assert computed == ["first", "second", "first"]


def test_what_is_mapped_from_a_file_counts_nothing(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(1000))
    assert size_of(np.load(tmp_path / "x.npy", mmap_mode="r")[10:]) == 0
