"""Workers compute in one thread each and stop at once when their block is interrupted."""

from __future__ import annotations

import multiprocessing
import time

import numpy as np
import pytest

from lie_ref.machine.threads import threads
from lie_ref.machine.workers import workers


def test_a_worker_computes_in_one_thread():
    with workers() as pool:
        assert pool.submit(threads).result() == 1
    assert threads() >= 1


def test_an_interruption_ends_running_waiting_and_cancelled_work_at_once():
    def interrupted():
        with workers() as pool:
            busy = [pool.submit(time.sleep, 300) for _ in range(threads())]
            waiting = [pool.submit(np.sum, np.ones(100_000)) for _ in range(20)]  # more than a pipe holds
            while not all(future.running() for future in busy):
                time.sleep(0.01)
            for future in waiting:
                future.cancel()
            raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - begun < 60
    assert not multiprocessing.active_children()
