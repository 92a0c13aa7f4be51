"""The tables and figures of the READMEs are those of `data/results`, which say how they were made."""

from __future__ import annotations

import json
from typing import Any

import pytest
import readme_tables
from readme_tables import BLOCKS, RESULTS, ROOT, figures, results, written

NAMES = [path.stem for path in sorted(RESULTS.glob("*.json"))]


@pytest.mark.parametrize("readme", BLOCKS)
def test_the_tables_of_a_readme_are_in_step_with_the_results(readme: str) -> None:
    assert (ROOT / readme).read_text(encoding="utf-8") == written(readme)


def test_the_figures_are_in_step_with_the_results() -> None:
    for path, text in figures().items():
        assert path.read_text(encoding="utf-8") == text


def test_a_block_that_is_out_of_step_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(prefix: str) -> list[dict[str, Any]]:
        found = results(prefix)
        for result in found:
            for column in result.get("tasks", [result]):
                column["findings"][0]["value"] = 9.87
        return found

    monkeypatch.setattr(readme_tables, "results", changed)
    for readme in BLOCKS:
        assert (ROOT / readme).read_text(encoding="utf-8") != written(readme)


@pytest.mark.parametrize("name", NAMES)
def test_results_say_how_they_were_made_and_hold_no_path(name: str) -> None:
    text = (RESULTS / f"{name}.json").read_text(encoding="utf-8")
    record = json.loads(text)["record"]
    assert record["command"].startswith("lie-ref ")
    assert record["seconds"] > 0
    assert set(record["versions"]) == {"python", "lie-ref", "numpy", "autograd", "pillow"}
    assert not [word for word in text.split('"') if word.startswith(("/", "~", "..")) or ":\\" in word]


def test_the_results_take_less_than_a_megabyte() -> None:
    assert 0 < sum(path.stat().st_size for path in RESULTS.iterdir()) < 1_000_000
