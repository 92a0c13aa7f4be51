"""The page of a run, drawn from a run that is made up from a fixed seed."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_up_run import ALL_STEPS, HOSTILE, PAIRS, TENSORS, edit_evaluation, edited, make_run
from PIL import Image

from lie_ref.errors import InputError
from lie_ref.findings import HAIR
from lie_ref.page import LogAxis, render, running_mean

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Parses a page, failing at a tag that is closed out of turn; keeps attributes and the text of table rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data

    def having(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "two")


@pytest.fixture(scope="module")
def text(run: Path) -> str:
    return render(run).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_tags_are_balanced_and_identifiers_are_unique(page: Page) -> None:
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers) > 32


def test_every_reference_stays_inside_the_page(text: str, page: Page) -> None:
    identifiers = {attributes.get("id") for _, attributes in page.tags}
    assert not re.search(r"https?://|@import|\bsrc=", text)
    targets = [attributes["href"] or "" for _, attributes in page.tags if "href" in attributes]
    targets += re.findall(r"url\((.*?)\)", text)
    assert targets
    for target in targets:
        assert target.startswith("data:image/png;base64,") or target[1:] in identifiers, target[:60]


def test_nothing_is_left_of_a_template(text: str) -> None:
    assert not re.search(r"\$\{?[a-z_]", text)
    assert not re.search(r"\b(nan|inf|None)\b", re.sub(r"data:[^\"]*", "", text))


def test_markup_in_names_and_settings_is_shown_not_run(text: str, page: Page) -> None:
    assert not page.having("script")
    assert text.count("&lt;script&gt;alert(") >= 3  # a column in each heat map, and the settings
    assert ["out", json.dumps(HOSTILE)] in page.rows


def test_findings_table_has_one_row_a_checkpoint_with_its_figures(run: Path, page: Page) -> None:
    summary = json.loads((run / "summary.json").read_text())
    header = next(k for k, row in enumerate(page.rows) if row[:1] == ["step"])
    for row, point in zip(page.rows[header + 1 : header + 3], summary["checkpoints"], strict=True):
        constants = [bracket["constant"] for bracket in point["brackets"]]
        assert row == [
            str(point["step"]),
            f"{point['train']['loss']:.4f}",
            f"{point['validation']['loss']:.4f}",
            "81.25%",
            "80.25%",
            "0.953",
            f"{min(constants):.3g} … {max(constants):.3g}",
            *(str(point["hair_ranks"][name]) for name in HAIR),
            ", ".join(attribute["name"] for attribute in point["attributes"][:3]),
            "3.4e-10",
            "2.1e-15",
            "1.002",
        ]
        assert len(row) == len(page.rows[header])


def test_matrix_shows_every_norm_twice_and_zero_on_the_diagonal(run: Path, page: Page) -> None:
    point = json.loads((run / "summary.json").read_text())["checkpoints"][0]
    start = next(k for k, row in enumerate(page.rows) if row[1:2] == ["example 0"]) + 1
    shown = [row[1:] for row in page.rows[start : start + 6]]
    for bracket in point["brackets"]:
        i, j = bracket["pair"]
        assert shown[i][j] == shown[j][i] == f"{bracket['norm']:.2g}"
    assert [shown[k][k] for k in range(6)] == ["0"] * 6


def test_only_the_last_checkpoint_is_open(page: Page) -> None:
    assert ["open" in details for details in page.having("details")] == [False, True]


def test_heat_map_holds_the_changes_of_the_largest_bracket(run: Path, page: Page) -> None:
    point = json.loads((run / "summary.json").read_text())["checkpoints"][-1]
    largest = int(np.argmax([bracket["norm"] for bracket in point["brackets"]]))
    with np.load(run / "evaluation" / "step_000100.npz") as file:
        change = file["logit_delta"][largest]
    uri = page.having("image")[-1]["href"] or ""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))).astype(int)
    assert pixels.shape == (32, 40, 4)
    np.testing.assert_array_equal(pixels[..., 3], np.rint(255 * np.abs(change) / np.abs(change).max()))
    np.testing.assert_array_equal(pixels[..., 0] > pixels[..., 2], change > 0)  # red where the logit is raised


def test_the_same_faces_are_stored_once(page: Page) -> None:
    assert len(page.having("symbol")) == 32


def test_pictures_have_a_text_for_those_who_cannot_see_them(page: Page) -> None:
    for attributes in page.having("use"):
        assert (attributes["aria-label"] or "").startswith("example ")
    charts = [attributes for attributes in page.having("svg") if attributes.get("class") in ("chart", "heat")]
    assert len(charts) == 1 + 2 * 2
    assert all(attributes["aria-label"] for attributes in charts)


def test_thirteen_checkpoints_of_different_faces_stay_below_8_mib(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ALL_STEPS)
    rng = np.random.default_rng(11)
    for path in (run / "evaluation").iterdir():
        edit_evaluation(path, x=rng.uniform(-1, 1, (32, 3, 64, 64)))  # noise: the least compressible faces
    assert render(run).stat().st_size <= 8 * 2**20


def test_rendering_again_gives_the_same_bytes_and_leaves_no_other_file(run: Path, text: str) -> None:
    before = sorted(path.name for path in run.iterdir())
    assert render(run) == run / "report.html"
    assert (run / "report.html").read_text(encoding="utf-8") == text
    assert sorted(path.name for path in run.iterdir()) == before


def test_what_is_undefined_is_shown_as_a_dash(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (0,))
    brackets = [{"pair": list(pair), "norm": 0.0, "correlation": None, "constant": None} for pair in PAIRS]
    edited(run, mean_correlation=None, brackets=brackets)
    zeros = {"rms_bracket": np.zeros((15, TENSORS)), "logit_delta": np.zeros((15, 32, 40))}
    edit_evaluation(run / "evaluation" / "step_000000.npz", **zeros)
    page = Page(render(run).read_text(encoding="utf-8"))
    row = next(row for row in page.rows if row[:1] == ["0"])
    assert row[5:7] == ["–", "–"]


def test_losses_that_are_not_finite_are_left_out_of_the_chart(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    lines = (run / "log.csv").read_text().splitlines()
    (run / "log.csv").write_text("\n".join([*lines[:-2], "99,nan", "100,inf"]))
    assert "nan" not in re.sub(r"data:[^\"]*", "", render(run).read_text(encoding="utf-8"))


def test_no_page_is_left_of_a_damaged_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "log.csv").unlink()
    with pytest.raises(InputError, match=r"log\.csv"):
        render(run)
    assert not list(run.glob("report*"))


def test_logarithmic_axis_ticks_lie_on_it_and_have_short_labels() -> None:
    axis = LogAxis(0.15, 1.2, 100)
    assert [value for value, _ in axis.ticks()] == pytest.approx([0.2, 0.3, 0.5, 0.7, 1])
    assert [label for _, label in axis.ticks()] == ["0.2", "0.3", "0.5", "0.7", "1"]
    assert [label for _, label in LogAxis(0.15, 12, 100).ticks()] == ["0.2", "0.5", "1", "2", "5", "10"]
    assert [label for _, label in LogAxis(2e-6, 30, 100).ticks()] == ["1e-5", "1e-4", "0.001", "0.01", "0.1", "1", "10"]


def test_logarithmic_axis_runs_upwards_when_its_length_is_negative() -> None:
    assert LogAxis(0.1, 10, -300).place([0.1, 1, 10]).tolist() == pytest.approx([300, 150, 0])


def test_running_mean_is_the_mean_of_the_last_tenth_so_far() -> None:
    loss = np.random.default_rng(5).uniform(size=95)
    expected = [loss[k - -(-k // 10) : k].mean() for k in range(1, 96)]
    np.testing.assert_allclose(running_mean(loss), expected, rtol=1e-12)
