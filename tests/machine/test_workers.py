"""Workers compute in one thread each and stop at once when their block is interrupted."""

from __future__ import annotations

import os
import pickle
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from processes import children, count_to_three, raise_unpicklable

from lie_ref.machine.errors import InputError
from lie_ref.machine.files import read_npz
from lie_ref.machine.threads import threads
from lie_ref.machine.workers import executor_of, workers


def test_each_worker_is_a_process_of_its_own_that_computes_in_one_thread():
    with workers(3) as pool:
        at_work = [pool.submit(time.sleep, 0.1) for _ in range(3)]
        assert [pool.submit(threads).result() for _ in range(3)] == [1, 1, 1]
        assert len(children(os.getpid())) == 3
        assert all(future.result() is None for future in at_work)
    assert not children(os.getpid())
    assert threads() >= 1


def test_an_executor_is_named_by_a_function_that_returns_it_or_whose_block_has_it():
    for name in ("concurrent.futures:ThreadPoolExecutor", "lie_ref.machine.workers:workers"):
        with executor_of(name) as pool:
            assert (pool.submit(os.getpid).result() == os.getpid()) == ("Thread" in name)
        with pytest.raises(RuntimeError, match="shutdown"):
            pool.submit(os.getpid)


@pytest.mark.parametrize("error", ["ConnectionRefusedError", "RuntimeError"])
def test_whatever_a_users_factory_raises_is_one_line(error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / f"made_{error}.py").write_text(f"def pool():\n    raise {error}('no\\nluck')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"^--executor: expected MODULE:FACTORY, got made_{error}:pool \(no\)$"):
        executor_of(f"made_{error}:pool").__enter__()


def test_progress_is_shown_by_the_parent_alone(capfd: pytest.CaptureFixture[str]):
    with workers(1) as pool:
        pool.submit(count_to_three).result()
    assert capfd.readouterr().err == ""
    count_to_three()
    assert capfd.readouterr().err.startswith("counting  3/3")


def test_an_error_in_a_worker_reaches_the_caller_with_its_trace_and_the_worker_goes_on():
    with workers(1) as pool:
        with pytest.raises(InputError, match=r"^nowhere: no such file$") as caught:
            pool.submit(read_npz, Path("nowhere")).result()
        assert "in read_npz" in str(caught.value.__cause__)
        with pytest.raises(TypeError, match="pickle"):  # the result
            pool.submit(threading.Lock).result()
        with pytest.raises((AttributeError, pickle.PicklingError)):  # the work
            pool.submit(lambda: 0).result()
        with pytest.raises(RuntimeError, match=r"^Unpicklable: of a kind"):  # the error
            pool.submit(raise_unpicklable).result()
        assert pool.submit(int, "7", base=8).result() == 7


def test_a_worker_that_ends_is_an_error_of_what_it_was_given():
    with workers(1) as pool:
        for work, argument in ((os._exit, 0), (time.sleep, 0)):
            with pytest.raises(InputError, match=r"^a worker process ended: [^\n]*$"):
                pool.submit(work, argument).result()


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
    assert time.monotonic() - begun < 20
    assert not children(os.getpid())
