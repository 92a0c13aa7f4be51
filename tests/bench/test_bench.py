"""`make bench`: operation counts equal those by hand and by PyTorch, and the report follows from the measurements."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lie_ref
from bench.flops import Product, evaluation_flops, products
from bench.race import Result, Worker, disagreement, run_all
from bench.scale import Cost, blocks, computed, planned
from bench.table import Line, norms_lines, ratio_lines, remarks, score_lines, share_lines, table

ROOT = Path(__file__).parents[2]
SMALL = {"stem": (2, 3, 4), "widths": (4, 5), "layers": (1, 1), "n_out": 7}


def result(*seconds: float, **others: float) -> Result:
    return Result(seconds={"all": {"": list(seconds)}}, **others)


def test_the_products_of_a_small_network_counted_by_hand():
    found = [(p.rows, p.inner, p.columns) for p in products(lie_ref.mxresnet(**SMALL), side=7)]
    stem = [(16, 27, 2), (16, 18, 3), (16, 27, 4)]  # 7 × 7 pixels become 4 × 4, 2 × 2 and 1 × 1
    assert found == [*stem, (4, 36, 4), (4, 36, 4), (1, 36, 5), (1, 45, 5), (1, 4, 5), (1, 5, 7)]


def test_the_operations_of_an_evaluation_counted_by_hand():
    # Two examples, three inputs and one bracket take three forward passes, two backward passes, two Hessian-vector
    # products (two products of a layer forward and four backward), and two products forward for each of three inputs.
    for first, two, four in ((False, 2, 4), (True, 1, 1)):
        operations = 60 * (3 + 2 * two + 2 * (two + four) + 3 * two)
        assert evaluation_flops(Product(5, 3, 2, first), examples=2, inputs=3) == operations


def test_all_pairs_on_many_machines_are_planned_as_by_hand():
    assert (blocks(150), computed(16), computed(9)) == (33, 16 * 8 + 8 * 8, 9 * 8 + 1)
    assert blocks(10_000) == sum(len(range(column, 10_000, 64)) for column in range(0, 10_000, 8)) == 98_282
    cost = Cost(bracket=0.1, worker=0, weights=10**6, example=10**5)
    seconds, reading, handing, each = planned(cost, rate=1000, machines=50)
    assert each == -(-98_282 // 100) == 983
    assert reading == pytest.approx(100 * (10**6 + 10**9) / 1e9)
    assert handing == pytest.approx(98.282)
    assert seconds == pytest.approx(983 * 51.2 + reading)
    assert planned(cost, rate=1, machines=10**6)[0] > 98_282  # the parent hands one piece over each second


@pytest.mark.torch
def test_pytorch_counts_the_same_operations():
    torch = pytest.importorskip("torch")
    from peers.mxresnet_torch import MXResNet, hvp, load_weights, parameters, push_forward
    from torch.utils.flop_counter import FlopCounterMode

    model = lie_ref.mxresnet(**SMALL)
    net = load_weights(MXResNet(**SMALL), *model.init(seed=0))
    x, y, d = torch.ones(1, 3, 16, 16, dtype=torch.float64), torch.ones(1, 7, dtype=torch.float64), parameters(net)

    def counted(function, *arguments):
        with FlopCounterMode(display=False) as counter:
            function(*arguments)
        return counter.get_total_flops()

    layers = products(model, side=16)
    once, first = sum(p.flops for p in layers), sum(p.flops for p in layers if p.first)
    # PyTorch also multiplies by the tangent of the picture, which is 0: once forward and once backward.
    forward, push = counted(net, x), counted(push_forward, net, x, d) - first
    product = counted(hvp, net, x, y, "bce", d) - 2 * first
    assert (forward, push - forward) == (once, 2 * once - first)
    backward = 2 * once - first
    tangents = product - forward - backward
    assert tangents == 6 * once - 4 * first
    total = sum(evaluation_flops(p, examples=4, inputs=9) for p in layers)
    assert total == 9 * forward + 4 * backward + 12 * tangents + 9 * 6 * (push - forward)


def test_the_fastest_variant_that_ran_in_every_round_counts():
    a = {"x": [1.0, 4.0, 2.0], "y": [3.0, 3.0, 3.0], "z": [1.5]}
    found = Result(seconds={"a": a, "b": {"": [10.0, 20.0, 30.0]}})
    assert found.best == {"a": "x", "b": ""}
    assert found.totals == [11.0, 24.0, 32.0]


def test_a_variant_that_takes_twice_the_time_of_another_runs_once(monkeypatch):
    worker = object.__new__(Worker)
    worker.parts, worker.timed, worker.memory, worker.peak = {"a": ["fast", "slow"], "check": [""]}, ["a"], 1.0, 2.0
    monkeypatch.setattr(Worker, "run", lambda self, part, variant: ({"fast": 1.0, "slow": 2.1}[variant], {}))
    found = Result()
    for _ in range(3):
        run_all(worker, found)
    assert found.seconds == {"a": {"fast": [1.0] * 3, "slow": [2.1]}}
    assert found.memory == (1.0, 2.0)


def test_disagreement_is_relative_and_detects_shapes_and_nan():
    a = np.array([3.0, 4.0])
    assert disagreement(a, np.array([3.0, 4.005])) == pytest.approx(1e-3)
    assert disagreement(a, a[:1]) == np.inf
    assert np.isnan(disagreement(a, a * np.nan))
    assert np.isnan(disagreement(0 * a, 0 * a))
    assert disagreement(0 * a, a) == np.inf


@pytest.mark.parametrize(
    ("peers", "met", "cells"),
    [
        ({"torch": result(4.0), "jax": result(5.0)}, True, ("4 [4 … 4], ×0.50", "5 [5 … 5], ×0.40")),
        ({"torch": result(4.0), "jax": result(3.9)}, False, ("4 [4 … 4], ×0.50", "3.9 [3.9 … 3.9], ×0.51")),
        ({"torch": Result(missing="none"), "jax": result(5.0)}, None, ("skipped", "5 [5 … 5], ×0.40")),
        ({"torch": Result(missing="none"), "jax": result(3.0)}, False, ("skipped", "3 [3 … 3], ×0.67")),
        ({"torch": result(9.0, disagreement=1e-8), "jax": result(9.0)}, False, ("9 [9 … 9], ×0.22",) * 2),
        ({"torch": result(9.0, disagreement=np.nan), "jax": result(9.0)}, False, ("9 [9 … 9], ×0.22",) * 2),
    ],
)
def test_a_goal_is_met_if_no_peer_is_missing_disagrees_or_is_too_fast(peers, met, cells):
    (line,) = ratio_lines({"lie_ref": result(1.0, 2.0, 3.0), **peers}, "work", {"torch": 0.5, "jax": 0.5})
    assert (line.met, line.torch, line.jax) == (met, *cells)
    assert (line.lie_ref, line.goal) == ("2 [1 … 3]", "≤ 0.5 × torch, ≤ 0.5 × jax")


def test_peak_memory_has_its_own_goal():
    results = {"lie_ref": result(1.0, memory=(50.0, 300.0)), "torch": result(4.0, memory=(60.0, 100.0))}
    _, line = ratio_lines(results, "work", {"torch": 0.5}, memory=256)
    assert line == Line("work: peak memory", "300 MiB", "100 MiB", goal="≤ 256 MiB", met=False)


def test_the_goals_of_norms_are_equal_seconds_and_bounded_memory_for_every_n():
    results = {"n = 8": result(2.0, memory=(50.0, 55.0)), "n = 16": result(2.8, memory=(50.0, 60.0))}
    *_, seconds, memory = norms_lines(results, "norms", flat=1.3, bounded=1.5)
    assert (seconds.lie_ref, seconds.met, memory.lie_ref, memory.goal) == ("1.40", False, "2.00", "")
    results["n = 32"] = result(2.4, memory=(50.0, 64.0))
    *_, memory = norms_lines(results, "norms", flat=1.3, bounded=1.5)
    assert (memory.lie_ref, memory.met) == ("1.40", True)


def test_the_goals_of_scores_are_seconds_and_bounded_memory():
    results = {"n = 15": result(2.0, memory=(50.0, 150.0)), "n = 60": result(7.0, 8.0, 9.0, memory=(50.0, 155.0))}
    first, last, memory = score_lines(results, "score", seconds=8, bounded=1.1)
    assert (first.lie_ref, first.goal, first.met) == ("2 [2 … 2], 100 MiB", "", None)
    assert (last.lie_ref, last.goal, last.met) == ("8 [7 … 9], 105 MiB", "≤ 8 s", True)
    assert (memory.lie_ref, memory.met) == ("1.05", True)
    results["n = 60"].memory = (50.0, 170.0)
    _, last, memory = score_lines(results, "score", seconds=7.9, bounded=1.1)
    assert (last.met, memory.met) == (False, False)


def test_shares_are_computed_per_round():
    products = {"by matmul": {"": [0.5, 1.2, 3.2]}, "in pieces": {"": [0.4, 1.0, 2.4]}}
    results = {"lie_ref": Result(seconds={"evaluate": {"": [1.0, 2.0, 4.0]}, **products})}
    line, own = share_lines(results, "share", flops=10**9, goal=0.6)
    assert (line.lie_ref, line.met) == ("0.6 [0.5 … 0.8]", True)
    assert (own.lie_ref, own.met) == ("0.5 [0.4 … 0.6]", None)


def test_columns_are_aligned_with_their_headings():
    lines = [Line("a", "1 [1 … 1]", goal="≤ 2", met=True), Line("longer", "2", "3", "4", "≤ 1", None), Line("c", "5")]
    assert table(lines).splitlines() == [
        "work    lie_ref    torch  jax  goal",
        "a       1 [1 … 1]              ≤ 2   met",
        "longer  2          3      4    ≤ 1   not measured",
        "c       5",
    ]


def test_remarks_name_variants_compilation_and_disagreement():
    seconds = {"a": {"loop": [2.0], "vmap": [1.0]}}
    jax = Result(first={"a": {"loop": 30.0, "vmap": 20.0}}, seconds=seconds, disagreement=1e-3)
    assert remarks("row", {"lie_ref": result(1.0), "jax": jax}) == [
        "row: jax: results DISAGREE (1e-03); a vmap 1 s, loop 2 s; first calls 20.0 s, including compilation"
    ]


def test_a_peer_that_is_not_installed_is_reported_as_skipped(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")")
    out = tmp_path / "folder" / "bench.json"
    command = [sys.executable, "-m", "tests.bench", "--only", "step-tiny", "--rounds", "1", "--out", out]
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert "step-tiny: torch: skipped: No module named 'torch'" in printed
    (line,) = [line for line in printed if line.startswith("training step, mxresnet-tiny")]
    assert "skipped" in line
    assert line.endswith("not measured")
    written = json.loads(out.read_text(encoding="utf-8"))
    assert len(written["rows"]["step-tiny"]["lie_ref"]["seconds"]["float32"][""]) == 1
    assert written["rows"]["step-tiny"]["torch"]["missing"] == "No module named 'torch'"
