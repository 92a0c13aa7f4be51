"""The study does the runs that are missing, samples their checkpoints, and judges all claims together."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small import SMALL

import lie_ref
from lie_ref.experiment import sample as sampling
from lie_ref.experiment import seeds as study
from lie_ref.experiment.claims import CLAIMS
from lie_ref.experiment.run import read_trained
from lie_ref.experiment.seeds import VARIANTS, judge, read_study_run, run_study, study_run, study_table
from lie_ref.experiment.settings import Settings
from lie_ref.images.dataset import Dataset
from lie_ref.machine.errors import InputError
from lie_ref.machine.files import read_npz
from lie_ref.machine.workers import workers

FEW = replace(SMALL, steps=2, batch=8)
# Two sixes are sampled from step 1 on, and few orders of few mini-batches are tried at step 2.
HURRIED = [
    *(("seeds", name, value) for name, value in (("SETTLED", 1), ("LATE", 1), ("SAMPLED", (1, 2)), ("TRIED", (2,)))),
    ("seeds", "OF_FACES", {}),
    *(("orders", name, value) for name, value in (("PAIRS", 1), ("BATCHES", 2), ("RANDOM", 2), ("HELD_OUT", 8))),
    ("orders", "EPSILONS", (1e-5,)),
    ("expansion", "EPSILONS", (1e-5, 1e-3)),
    ("examination", "MINI_BATCHES", 2),
    ("examination", "EPSILONS", (1e-1, 1e-3, 1e-7)),
]
HURRY = f"""
from importlib import import_module
for module, name, value in {HURRIED}:
    setattr(import_module("lie_ref.experiment." + module), name, value)
import_module("lie_ref.experiment.sample").draw.__defaults__ = (2,)
"""  # for worker processes, which do not see what a test has changed


def hurry(patch: pytest.MonkeyPatch) -> None:
    """What `HURRIED` says, such as two variants only."""
    for module, name, value in HURRIED:
        patch.setattr(f"lie_ref.experiment.{module}.{name}", value)
    patch.setattr(sampling.draw, "__defaults__", (2,))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A study of one seed, two variants and few steps."""
    out = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        run_study(FEW, 1, out, cache)
    return out


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a run or of a study: name → bytes."""
    others = (".lock", "record.json")  # the record has the time that the study took
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.name not in others}


def test_each_variant_is_a_run_with_its_own_settings(finished: Path) -> None:
    for variant in ("plain", "exclusive"):
        changes, run = VARIANTS[variant], finished / variant / "seed-0"
        config = json.loads((run / "config.json").read_text())
        assert {key: config[key] for key in changes} == changes
        assert (config["seed"], config["steps"], config["celeba"]) == (0, 2, None)
        assert (run / "passes.json").exists() == (variant == "plain")  # the others are only compared
        assert [path.name for path in sorted(run.glob("samples/*"))] == ["step_000002.npz"]
        assert not (run / "state.npz").exists()


def test_only_plain_runs_are_sampled_under_adam_and_try_orders(finished: Path) -> None:
    plain, exclusive = (finished / variant / "seed-0" for variant in ("plain", "exclusive"))
    views = [
        {name.split("/")[1] for name in read_npz(run / "samples/step_000002.npz") if name.startswith("moved/")}
        for run in (plain, exclusive)
    ]
    assert views == [{"plain", "preconditioned", "momentum"}, {"plain"}]
    assert [path.name for path in plain.glob("orders/*")] == ["step_000002.json"]
    assert not list(exclusive.glob("orders/*"))
    run = read_study_run(plain)
    assert [point["step"] for point in run["checkpoints"]] == [2]
    assert set(run["checkpoints"][0]["expansion"]) == {"as trained", "average pool", "relu", "average pool and relu"}
    assert {of["kind"] for of in run["orders"]} == {"examples", "mini-batches", "passes"}


def test_the_checks_are_about_the_examples_of_the_first_six(finished: Path, faces: Dataset) -> None:
    """At the learning rate, the error of the bracket of its first two examples, from real steps in float64."""
    run, model = finished / "plain/seed-0", lie_ref.preset("mxresnet-tiny")
    arrays, state = read_npz(run / "samples/step_000002.npz"), read_trained(run, model, 2)
    params, buffers = ({name: a.astype(float) for name, a in of.items()} for of in (state.params, state.buffers))
    x, y = faces.batch(arrays["examples"][0], np.float64)
    seen, _ = faces.batch(arrays["watched"][0], np.float64)

    def logits(order: tuple[int, int]) -> np.ndarray:
        theta = params
        for i in order:
            g = lie_ref.gradients(model, theta, buffers, x[i : i + 1], y[i : i + 1])
            theta = {name: t - FEW.lr * g[name][0] for name, t in theta.items()}
        return model.apply(theta, buffers, seen)

    bracket = lie_ref.brackets(model, params, buffers, x, y, [(0, 1)])
    predicted = lie_ref.push_forward(model, params, buffers, seen, bracket)
    real = (logits((0, 1)) - logits((1, 0))) / FEW.lr**2
    checks = json.loads(str(arrays["checks"]))
    found = checks["expansion"]["as trained"]["error"][0]
    assert found == pytest.approx(np.linalg.norm(real - predicted[0]) / np.linalg.norm(predicted), rel=1e-6)
    assert 0 < checks["mini_batches"] < 1e-12


def test_a_run_that_is_only_compared_takes_fewer_steps(
    quick: None, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "COMPARED_STEPS", 1)
    study_run(FEW, tmp_path / "run", cache, plain=False)
    assert (tmp_path / "run" / "log.csv").read_text().count("\n") == 2
    assert [point["step"] for point in read_study_run(tmp_path / "run")["checkpoints"]] == [1]


def test_the_findings_are_written_to_the_summary(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert (summary["format"], summary["seeds"], summary["steps"]) == ("lie-ref-findings/3", [0], 2)
    assert (summary["images"], summary["preset"]) == ("synthetic faces", "mxresnet-tiny")
    found = summary["findings"]
    assert [entry["id"] for entry in found] == sorted([*(claim.id for claim in CLAIMS), "3a", "3d", "3e", "3f"])
    assert {entry["verdict"] for entry in found} == {"undecided"}  # one run decides nothing
    # Claims about checkpoints from step 100 on have no number here, those about passes and orders have.
    assert {entry["id"][0] for entry in found if entry["value"] is not None} == {"5", "6"}
    value = {entry["id"]: entry["value"] for entry in found}
    cosines = {
        (of["network"], of["epsilon"]): of["cosine"]
        for of in json.loads((finished / "plain/seed-0/passes.json").read_text())
    }
    assert value["5a"] == pytest.approx(np.mean(cosines["as trained", 1e-1]))
    assert value["5d"] == pytest.approx(np.mean(cosines["average pool", 1e-3]))
    for of in json.loads((finished / "plain/seed-0/orders/step_000002.json").read_text()):
        if (of["kind"], of["optimizer"]) == ("passes", "adam"):
            assert value["6i"] == pytest.approx(of["best"] - of["reverse"])
    assert len(summary["agreement"]) == 40
    assert {key: len(curve) for key, curve in summary["curves"].items()} == {"orders": 10, "hair": 0, "reach": 0}


def test_a_finished_study_is_not_run_again(finished: Path, quick: None, cache: Path) -> None:
    def times() -> dict[Path, int]:
        return {
            path: path.stat().st_mtime_ns for part in ("samples", "orders") for path in finished.glob(f"*/*/{part}/*")
        }

    before, text = times(), (finished / "summary.json").read_text()
    run_study(FEW, 1, finished, cache)
    assert before == times()
    assert len(before) == 3
    assert (finished / "summary.json").read_text() == text


@pytest.mark.parametrize("at", ["sample", "try_orders", "compare_orders"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(
    finished: Path, quick: None, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(study, at, stop)
        with pytest.raises(KeyboardInterrupt):
            study_run(FEW, tmp_path, cache, plain=True)
    kept = {path: path.stat().st_mtime_ns for part in ("samples", "orders") for path in tmp_path.glob(f"{part}/*")}
    assert len(kept) == ["sample", "try_orders", "compare_orders"].index(at)
    study_run(FEW, tmp_path, cache, plain=True)
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert contents(tmp_path) == contents(finished / "plain/seed-0")


def test_a_run_whose_last_checkpoint_is_missing_trains_on_to_the_same_bytes(
    finished: Path, quick: None, tmp_path: Path, cache: Path
) -> None:
    whole = finished / "exclusive/seed-0"
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    for name in ("checkpoints/step_000002.npz", "samples/step_000002.npz"):
        (run / name).unlink()
    study_run(replace(FEW, exclusive_hair=True), run, cache, plain=False)
    assert contents(run) == contents(whole)


def test_a_run_with_other_settings_is_not_continued(finished: Path, quick: None, cache: Path) -> None:
    run = finished / "plain/seed-0"
    with pytest.raises(InputError, match=r"the run has lr 0\.005, not 0\.1; give the same options"):
        study_run(replace(FEW, lr=0.1), run, cache, plain=True)


def test_a_run_without_files_has_nothing_to_judge(tmp_path: Path) -> None:
    assert read_study_run(tmp_path) == {"checkpoints": [], "passes": [], "orders": []}


def test_a_damaged_sample_is_named(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished / "plain/seed-0", tmp_path / "run"))
    arrays = read_npz(run / "samples/step_000002.npz")
    np.savez(run / "samples/step_000002.npz", **{name: a for name, a in arrays.items() if name != "targets"})
    with pytest.raises(InputError, match=r"run/samples/step_000002.npz: cannot be read \('targets' is missing\)"):
        read_study_run(run)


def test_runs_in_worker_processes_have_the_same_findings_and_bits(
    finished: Path, quick: None, tmp_path: Path, cache: Path
) -> None:
    with workers(2) as executor:
        for _ in range(2):  # each time the child that has waited longest
            executor.submit(exec, HURRY, {}).result()
        run_study(FEW, 1, tmp_path, cache, executor)
    assert contents(tmp_path) == contents(finished)


def test_the_table_has_a_line_per_finding(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    head, rule, *lines = study_table(summary)
    assert head == "| | claim | statistic | holds if | synthetic faces (seeds: 1) |"
    assert rule.count("---") == 5
    lines = lines[: len(summary["findings"])]
    assert all(line.startswith("| ") and line.count("|") == 6 for line in lines)


def test_the_record_has_the_command_the_versions_and_the_time_of_all_starts(finished: Path, tmp_path: Path) -> None:
    record = json.loads((finished / "record.json").read_text())
    assert record["command"] == "lie-ref findings --faces 400 --size 16 --steps 2 --batch 8 --seeds 1"
    assert set(record["versions"]) == {"python", "lie-ref", "numpy", "autograd", "pillow"}
    assert 0 < record["seconds"] < 3600


@pytest.mark.parametrize(
    ("seeds", "message"), [(0, "expected an integer >= 1, got 0"), (1001, "expected at most 1000, got 1001")]
)
def test_a_study_without_runs_or_of_too_many_is_refused(tmp_path: Path, cache: Path, seeds: int, message: str) -> None:
    with pytest.raises(InputError, match=f"--seeds: {message}"):
        run_study(SMALL, seeds, tmp_path, cache)


def test_each_seed_has_a_run_of_every_variant_with_its_settings(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On synthetic faces five variants, on CelebA two, and all of the first seed before the second."""
    done: list[tuple[str, Settings, bool]] = []

    def record(settings: Settings, out: Path, cache: Path, plain: bool) -> None:
        done.append((str(out.relative_to(tmp_path.resolve())), settings, plain))

    monkeypatch.setattr(study, "study_run", record)
    monkeypatch.setattr(study, "judge", lambda *_: {})
    monkeypatch.setattr(Settings, "open_images", lambda *_: None)
    monkeypatch.setattr(study, "seconds_per_step", lambda *_: 0.1)
    for celeba in ("somewhere", None):
        given, expected = replace(SMALL, celeba=celeba, seed=77), []
        done.clear()
        run_study(given, 2, tmp_path, cache)
        for seed in range(2):
            plain = replace(given, seed=seed)
            runs = {"plain": plain, "exclusive": replace(plain, exclusive_hair=True)}
            if not celeba:
                runs |= {
                    "independent": replace(plain, independent_hair=True),
                    "clear": replace(plain, ambiguity=0.0),
                    "ambiguous": replace(plain, ambiguity=2.0),
                }
            expected += [(f"{name}/seed-{seed}", of, name == "plain") for name, of in runs.items()]
        assert done == expected


def test_a_study_that_could_not_begin_fails_in_the_same_way_again(tmp_path: Path, cache: Path) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match="nowhere: no such folder"):
            run_study(replace(SMALL, celeba="nowhere"), 1, tmp_path, cache)


def test_the_study_says_about_how_long_it_takes_before_it_begins(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study, "_run", lambda *_: None)
    monkeypatch.setattr(study, "judge", lambda *_: {})
    monkeypatch.setattr(study, "seconds_per_step", lambda *_: 0.1)
    run_study(replace(SMALL, steps=5000), 2, tmp_path, cache)
    # A plain run: 5,000 steps, 8 samples, orders at two steps, passes; four others: 2,000 steps and 5 smaller samples.
    # A sample costs 500 steps, and one more for every 9,000 of the 83,280 parameters.
    steps = 2 * (5000 + 8 * 509 + 2 * 2100 + 700) + 2 * 4 * (2000 + 5 * 169)
    assert steps == 50704
    assert capsys.readouterr().out.startswith(
        "seeds: 2; runs: 10, 1 at a time; about 1:24:30 and 0.2 GiB of disk if nothing is done yet\n"
    )


def test_without_a_number_there_are_as_many_seeds_as_an_hour_allows_and_later_as_many_as_before(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    monkeypatch.setattr(study, "_run", lambda *_: None)
    monkeypatch.setattr(study, "judge", lambda settings, seeds, out: used.append(seeds) or {})
    given = replace(SMALL, steps=5000)  # 25,352 steps a seed, as counted above
    for number, a_step in enumerate((0.0001, 0.02, 0.03, 0.5)):
        monkeypatch.setattr(study, "seconds_per_step", lambda *_, a_step=a_step: a_step)
        run_study(given, None, tmp_path / str(number), cache)
    assert used == [10, 6, 4, 3]  # 3,300 s / 507 s = 6.5, / 761 s = 4.3
    run_study(given, None, tmp_path / "1", cache)
    assert used[-1] == 6
    run_study(given, 2, tmp_path / "1", cache)
    assert used[-1] == 2


def test_variants_are_compared_in_the_order_of_their_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In made-up runs hair's share is 0.1, 0.2, … in the order of the variants, and depends on the seed, too."""
    order = ["plain", "exclusive", "independent", "clear", "ambiguous"]

    def made_up(out: Path) -> dict[str, object]:
        share = (1 + order.index(out.parent.name) + int(out.name[-1])) / 10
        point = {"step": 400, "probability_share": share, "probability_share_apart": 2 * share, "agreement": {}}
        return {"checkpoints": [point], "passes": [], "orders": []}

    monkeypatch.setattr(study, "read_study_run", made_up)
    for name in ("found_in", "curves"):
        monkeypatch.setattr(study, name, lambda runs: [])
    faces, celeba = (judge(Settings(celeba=given), 2, tmp_path)["findings"] for given in (None, "somewhere"))
    pairs = {"3a": ("exclusive", "plain"), "3b": ("plain", "independent"), "3c": ("ambiguous", "clear")}
    expected = {key: (order.index(a) - order.index(b)) / 10 for key, (a, b) in pairs.items()}
    expected |= {"3d": 0.2, "3e": 0.1, "3f": 0.2}
    assert {entry["id"]: entry["value"] for entry in faces} == pytest.approx(expected)
    assert [(entry["id"], entry["runs"]) for entry in celeba] == [(key, 2) for key in ("3a", "3d", "3e", "3f")]
