"""The study does the runs that are missing, judges all of them, and writes the findings to each set's first run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from small import SMALL

from lie_ref.experiment import seeds as study
from lie_ref.experiment.claims import CLAIMS
from lie_ref.experiment.reading import read_shares
from lie_ref.experiment.seeds import VARIANTS, run_compared, run_study, study_table
from lie_ref.experiment.settings import Settings
from lie_ref.images.labels import HAIR
from lie_ref.machine.errors import InputError
from lie_ref.machine.workers import workers

FEW = replace(SMALL, steps=2)
SHIPPED = {name: dict(variants) for name, variants in VARIANTS.items()}  # tests shorten the list


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Path]:
    """A study of one seed, two variants and few steps."""
    out = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, "faces", {name: VARIANTS["faces"][name] for name in ("plain", "exclusive")})
        run_study(FEW, 1, out, cache)
        yield out


def test_each_variant_is_a_run_with_its_own_settings(finished):
    for variant, changes in VARIANTS["faces"].items():
        run = finished / "faces" / variant / "seed-0"
        config = json.loads((run / "config.json").read_text())
        assert {key: config[key] for key in changes} == changes
        assert (config["seed"], config["steps"], config["celeba"]) == (0, 2, None)
        assert (run / "report.html").exists() == (variant == "plain")  # the others are only compared


def test_a_run_that_is_only_compared_is_the_beginning_of_an_experiment(small_run, tmp_path, cache, monkeypatch):
    monkeypatch.setattr(study, "COMPARED_STEPS", 10)
    monkeypatch.setattr(study, "LATE", 0)
    run_compared(SMALL, tmp_path / "run", cache, resume=False)
    summary, whole = (json.loads((run / "summary.json").read_text()) for run in (tmp_path / "run", small_run))
    expected = [{key: point[key] for key in ("step", "hair_shares")} for point in whole["checkpoints"]]
    assert [point["step"] for point in expected] == [0, 10, 12]
    assert summary["checkpoints"] == expected[:2]


def test_damaged_shares_are_named(tmp_path, cache):
    run_compared(FEW, tmp_path / "run", cache, resume=False)
    (tmp_path / "run" / "summary.json").write_text('{"checkpoints": [{"step": 400}]}')
    with pytest.raises(InputError, match=r"run/summary.json: checkpoints\[0\]"):
        read_shares(tmp_path / "run" / "summary.json")


def test_the_findings_are_written_to_the_summary_and_to_the_first_run(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert (summary["format"], summary["seeds"], list(summary["sets"])) == ("lie-ref-findings/1", [0], ["faces"])
    found = summary["sets"]["faces"]
    assert {finding["id"] for finding in found} == {claim.id for claim in CLAIMS} | {"3a"}
    first = finished / "faces/plain/seed-0"
    assert json.loads((first / "summary.json").read_text())["findings"] == found
    assert "Hair’s share of the changes falls" in (first / "report.html").read_text("utf-8")


def test_a_finished_study_is_not_run_again(finished, cache):
    before = {path: path.stat().st_mtime_ns for path in finished.glob("*/*/*/evaluation/*")}
    text = (finished / "summary.json").read_text()
    run_study(FEW, 1, finished, cache)
    assert before == {path: path.stat().st_mtime_ns for path in finished.glob("*/*/*/evaluation/*")}
    assert (finished / "summary.json").read_text() == text


def test_runs_in_worker_processes_have_the_same_findings_and_bits(finished, tmp_path, cache):
    with workers(2) as executor:
        run_study(FEW, 1, tmp_path, cache, executor)
    files = ["summary.json", *(str(path.relative_to(finished)) for path in finished.glob("*/*/*/*/*.npz"))]
    assert len(files) > 4
    assert {name: (tmp_path / name).read_bytes() for name in files} == {
        name: (finished / name).read_bytes() for name in files
    }


def test_the_table_has_a_line_per_finding_and_a_column_per_set(finished):
    summary = json.loads((finished / "summary.json").read_text())
    head, rule, *lines = study_table(summary | {"sets": {"celeba": [], **summary["sets"]}})
    assert head == "| | claim | statistic | CelebA | synthetic faces |"
    assert rule.count("---") == 5
    assert len(lines) == len(summary["sets"]["faces"])
    assert all(line.count("|") == 6 for line in lines)
    mini_batches = next(line for line in lines if line.startswith("| 4 |"))
    assert "**holds**" in mini_batches


def test_a_study_without_runs_is_refused(tmp_path, cache):
    with pytest.raises(InputError, match="--seeds: expected an integer >= 1, got 0"):
        run_study(SMALL, 0, tmp_path, cache)


def test_a_study_that_could_not_begin_fails_in_the_same_way_again(tmp_path, cache):
    for _ in range(2):
        with pytest.raises(InputError, match="nowhere: no such folder"):
            run_study(replace(SMALL, celeba="nowhere"), 1, tmp_path, cache)


def test_variants_are_compared_in_the_order_of_their_claims(tmp_path, cache, monkeypatch):
    """In made-up runs hair's share is 0.1, 0.2, … in the order of the variants, and depends on the seed, too."""

    def made_up(settings: Settings, out: Path, cache: Path, resume: bool) -> None:
        name, variant, seed = out.parts[-3:]
        source = "somewhere" if name == "celeba" else None
        assert settings == replace(SMALL, celeba=source, seed=int(seed[-1]), **every[name][variant])
        share = (1 + list(every[name]).index(variant) + settings.seed) / 40  # for each of four colours
        point = {"step": 400, "hair_shares": {"probabilities": dict.fromkeys(HAIR, share)}}
        out.mkdir(parents=True, exist_ok=True)
        (out / "summary.json").write_text(json.dumps({"checkpoints": [point]}))

    # fmt: off
    exclusive = {"exclusive_hair": True}
    every = {
        "celeba": {"plain": {}, "exclusive": exclusive},
        "faces": {"plain": {}, "exclusive": exclusive, "independent": {"independent_hair": True},
                  "clear": {"ambiguity": 0.0}, "ambiguous": {"ambiguity": 2.0}},
    }
    # fmt: on
    assert every == SHIPPED
    monkeypatch.setitem(VARIANTS, "faces", every["faces"])
    for run in ("run_experiment", "run_compared"):
        monkeypatch.setattr(study, run, made_up)
    monkeypatch.setattr(study, "render", lambda run: run)
    monkeypatch.setattr(Settings, "open_images", lambda *_: None)
    monkeypatch.setattr(study, "judge", lambda runs: [])
    found = run_study(replace(SMALL, celeba="somewhere"), 2, tmp_path, cache)["sets"]
    order = ["plain", "exclusive", "independent", "clear", "ambiguous"]
    pairs = {"3a": ("exclusive", "plain"), "3b": ("plain", "independent"), "3c": ("ambiguous", "clear")}
    expected = {key: pytest.approx((order.index(a) - order.index(b)) / 10) for key, (a, b) in pairs.items()}
    assert {entry["id"]: entry["value"] for entry in found["faces"]} == expected
    assert [(entry["id"], entry["runs"]) for entry in found["celeba"]] == [("3a", 2)]
