"""A sweep on a Dask cluster with a real scheduler and real worker processes, which are killed while they work."""

from __future__ import annotations

import os
import pathlib
import signal

import pytest
from distributed import Client, LocalCluster

from quant_engine.sweep import plan_sweep, sweep
from tools.sweep_faults import SPECS, check, found_in, make_model, table


def test_a_cluster_finds_the_same_bits_though_a_worker_is_killed_and_the_client_stopped(tmp_path: pathlib.Path) -> None:
    plan = plan_sweep(make_model(tmp_path / "model.safetensors", (64, 640)), SPECS)
    list(sweep(plan, out=tmp_path / "local"))
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "worker_dashboard_address": None}
    with LocalCluster(processes=True, host="127.0.0.1", **options) as cluster:
        with Client(cluster) as client:
            killed, *_ = client.run(os.getpid).values()
            running = sweep(plan, out=tmp_path / "out", map=client.map)
            for step in running:
                if step.done == 8:
                    os.kill(killed, signal.SIGKILL)
                if step.done >= plan.cells // 2:
                    break
            running.close()
        with Client(cluster) as client:
            first, *_, last = sweep(plan, out=tmp_path / "out", map=client.map)
    assert first.done >= plan.cells // 2
    assert (last.done, last.failed) == (plan.cells, 0)
    assert check(tmp_path / "out", found_in(tmp_path / "local"), plan) == (0, 0, True)


@pytest.mark.full
def test_whatever_is_killed_nothing_is_lost_and_nothing_is_there_twice(tmp_path: pathlib.Path) -> None:
    for told, _, lost, twice, same, _ in table(tmp_path, 19700 + os.getpid() % 1000):
        assert (lost, twice, same) == (0, 0, True), told
