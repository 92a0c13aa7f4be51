"""The page of a run, drawn from a run that is made up from a fixed seed."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_run import ALL_STEPS, ATTRIBUTES, HOSTILE, PAIRS, TENSORS, edit_evaluation, edited, make_run
from PIL import Image

from lie_ref.experiment.page import LogAxis, render, running_mean
from lie_ref.experiment.reading import read_run, views
from lie_ref.experiment.statistics import pair_rms_gradient, proportionality, rank_attributes
from lie_ref.images.labels import HAIR
from lie_ref.machine.errors import InputError

VOID = {"meta", "br", "img", "link", "input", "hr"}
TYPES = {"change": "<i2", "bracket": "<f4", "gradient": "<f4", "probabilities": "<f4", "targets": "u1"}


class Page(HTMLParser):
    """Parses a page, failing at a tag that is closed out of turn; keeps attributes and the text of rows and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.scripts: list[str] = []
        self.style = ""
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
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts[-1] += data
        if self.open[-1:] == ["style"]:
            self.style += data
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data

    def having(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.scripts[0])


def unpacked(holder: dict[str, Any], name: str, *shape: int) -> np.ndarray:
    """An array that the page's data hold as base64."""
    return np.frombuffer(base64.b64decode(holder[name]), TYPES[name]).reshape(shape)


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


def test_every_label_and_every_element_of_the_script_is_in_the_page(page: Page) -> None:
    identifiers = {attributes.get("id") for _, attributes in page.tags}
    named = {attributes[key] for _, attributes in page.tags for key in ("aria-labelledby", "for") if key in attributes}
    assert named <= identifiers
    assert set(re.findall(r'(?:byId|fillTable|makeChoice)\("([^"]+)"', page.scripts[1])) <= identifiers


def test_nothing_is_loaded_and_links_only_choose_a_step(text: str, page: Page) -> None:
    assert not re.search(r"@import|\bsrc=|url\(", text)
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]  # a name, not an address
    links = [attributes["href"] for _, attributes in page.tags if "href" in attributes]
    assert set(links) == {"#step=0", "#step=100"}
    assert all(face.startswith("data:image/png;base64,") for face in page.data["faces"])


def test_the_policy_allows_this_script_and_this_style_and_nothing_else(page: Page) -> None:
    (policy,) = [meta["content"] for meta in page.having("meta") if "http-equiv" in meta]
    rules = dict(rule.strip().split(" ", 1) for rule in str(policy).split(";"))
    script, style = (
        f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
        for code in (page.scripts[1], page.style)
    )
    none = dict.fromkeys(("default-src", "base-uri", "form-action"), "'none'")
    assert rules == {**none, "img-src": "data:", "script-src": script, "style-src": style}
    assert not any(key == "style" or key.startswith("on") for _, attributes in page.tags for key in attributes)


def test_nothing_is_left_of_a_template(text: str, page: Page) -> None:
    for code in (*page.scripts, page.style):
        text = text.replace(code, "")
    assert not re.search(r"\$\{?[a-z_]", text)
    assert not re.search(r"\b(nan|inf|None|NaN|Infinity)\b", text + re.sub(r'"[^"]*"', "", page.scripts[0]))


def test_markup_in_names_and_settings_is_shown_not_run(text: str, page: Page) -> None:
    assert [attributes.get("type") for attributes in page.having("script")] == ["application/json", None]
    assert page.data["attributes"][4] == HOSTILE
    assert HOSTILE not in text
    assert ["out", json.dumps(HOSTILE)] in page.rows
    assert [f"Brackets follow gradients {HOSTILE}"] in [row[1:2] for row in page.rows]


def test_no_name_can_close_the_data(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (0,))
    for path in (run / "evaluation").iterdir():
        edit_evaluation(path, tensor_names=np.array(["</script><b>", "<!--<script>", *map(str, range(TENSORS - 2))]))
    page = Page(render(run).read_text(encoding="utf-8"))
    assert len(page.scripts) == 2
    assert page.data["tensors"][:2] == ["</script><b>", "<!--<script>"]


@pytest.mark.parametrize("k", [0, 1])
def test_the_data_hold_every_view_to_half_a_step_of_its_scale(run: Path, page: Page, k: int) -> None:
    checkpoint, evaluation = page.data["checkpoints"][k], read_run(run).evaluations[k]
    assert list(checkpoint["views"]) == list(views(evaluation))
    for name, view in views(evaluation).items():
        found = checkpoint["views"][name]
        scale = np.array(found["scale"])[:, None, None]
        change = unpacked(found, "change", 15, 32, 40) * scale
        assert (np.abs(change - view["logit_delta"]) <= 0.5001 * scale).all()
        np.testing.assert_allclose(scale.ravel() * 32767, np.abs(view["logit_delta"]).max(axis=(1, 2)), rtol=1e-12)
        assert found["norm"] == view["norm"].tolist()
        np.testing.assert_allclose(unpacked(found, "bracket", 15, TENSORS), view["rms_bracket"], rtol=1e-7)
        for p, (i, j) in enumerate(PAIRS):
            gradient = pair_rms_gradient(view["rms_gradient"], i, j)
            np.testing.assert_allclose(unpacked(found, "gradient", 15, TENSORS)[p], gradient, rtol=1e-7)
            assert proportionality(view["rms_bracket"][p], gradient).items() >= found["fits"][p].items()
        for entry in rank_attributes(view["logit_delta"], ATTRIBUTES):
            a = ATTRIBUTES.index(entry["name"])
            assert (found["ranks"][a], found["means"][a]) == (entry["rank"], entry["mean_abs_logit_change"])


def test_the_data_hold_what_is_common_to_the_views(run: Path, page: Page) -> None:
    data, evaluations = page.data, read_run(run).evaluations
    assert (data["attributes"], data["pairs"]) == (ATTRIBUTES, [list(pair) for pair in PAIRS])
    assert [data["attributes"][a] for a in data["hair"]] == list(HAIR)
    assert data["tensors"] == evaluations[0]["tensor_names"].tolist()
    np.testing.assert_array_equal(unpacked(data, "targets", 32, 40), evaluations[0]["y"])
    for checkpoint, evaluation, step in zip(data["checkpoints"], evaluations, (0, 100), strict=True):
        assert checkpoint["step"] == step
        p = 1 / (1 + np.exp(-evaluation["logits"]))
        np.testing.assert_allclose(unpacked(checkpoint, "probabilities", 32, 40), p, rtol=1e-6)


def test_probabilities_of_exclusive_hair_colours_are_those_of_their_softmax(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "config.json").write_text(json.dumps({"exclusive_hair": True}))
    checkpoint = Page(render(run).read_text("utf-8")).data["checkpoints"][0]
    z = read_run(run).evaluations[0]["logits"][:, [ATTRIBUTES.index(name) for name in HAIR]]
    found = unpacked(checkpoint, "probabilities", 32, 40)[:, [ATTRIBUTES.index(name) for name in HAIR]]
    np.testing.assert_allclose(found, np.exp(z) / (1 + np.exp(z).sum(axis=1, keepdims=True)), rtol=1e-6)


def test_faces_are_those_of_the_first_evaluation(run: Path, page: Page) -> None:
    pictures = [Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) for uri in page.data["faces"]]
    expected = np.rint((read_run(run).evaluations[0]["x"] + 1) * 127.5).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(np.stack([np.asarray(picture) for picture in pictures]), expected)


def test_passes_in_other_orders_have_a_row_for_each_network_and_number_of_mini_batches(page: Page) -> None:
    header = next(k for k, row in enumerate(page.rows) if row[:1] == ["network"])
    assert page.rows[header] == ["network", "k", "ε = 0.1", "ε = 1e-05"]
    assert page.rows[header + 1 : header + 5] == [
        ["as trained", "2", "0.50 · 2.00", "0.50 · 2.00"],
        ["as trained", "4", "0.62 · 2.00", "0.62 · 2.00"],  # means over the orders
        [HOSTILE, "2", "0.50 · 2.00", "0.50 · 2.00"],
        [HOSTILE, "4", "0.62 · 2.00", "0.62 · 2.00"],
    ]


def test_findings_table_has_one_row_a_checkpoint_with_its_figures(run: Path, page: Page) -> None:
    summary = json.loads((run / "summary.json").read_text())
    header = next(k for k, row in enumerate(page.rows) if row[:2] == ["step", "train loss"])
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
        ]
        assert len(row) == len(page.rows[header])


def test_checks_table_has_a_dash_for_a_swap_that_was_not_made(page: Page) -> None:
    header = next(k for k, row in enumerate(page.rows) if row[1:2] == ["finite differences"])
    assert page.rows[header + 1] == ["0", "3.4e-10", "2.1e-15", "1.002", "–", "0.997", "0.997"]
    assert page.rows[header + 2] == ["100", "3.4e-10", "2.1e-15", "1.002", "0.997", "0.997", "0.997"]


def test_what_the_checks_come_to_is_said_in_words(text: str) -> None:
    assert "The largest difference at any checkpoint is 3.4e-10; the orders of all swaps are 0.997 to 1.002." in text


def test_a_check_that_came_to_nothing_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (0, 100))
    summary = json.loads((run / "summary.json").read_text())
    checks = summary["checkpoints"][1]["checks"]
    checks["richardson"] = checks["order_swap"]["observed_order"] = None
    (run / "summary.json").write_text(json.dumps(summary))
    text = render(run).read_text("utf-8")
    assert "0.997 to 1.002. 1 of the 4 differences are undefined. 1 of the 7 orders are undefined." in text


def test_claims_have_their_figure_interval_and_verdict(page: Page) -> None:
    header = next(k for k, row in enumerate(page.rows) if row[1:2] == ["claim"])
    first, second = page.rows[header + 1 : header + 3]
    assert page.rows[header] == ["no.", "claim", "verdict", "value", "interval", "statistic", "runs", "note"]
    assert first[2:] == ["holds", "0.975", "0.96 … 0.99", "correlation", "5", "from step 100"]
    assert ["hidden" in section for section in page.having("section") if section["aria-labelledby"] == "claims"] == [
        False
    ]
    assert second == ["2", "Hair colours are moved most", "undecided", "–", "–", "mean rank", "1", ""]


def test_without_claims_there_is_no_table_of_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "findings": []}))
    sections = Page(render(run).read_text("utf-8")).having("section")
    assert ["hidden" in section for section in sections if section["aria-labelledby"] == "claims"] == [True]


def test_without_a_script_the_static_parts_are_there_and_the_rest_is_hidden(page: Page) -> None:
    assert page.having("noscript")
    hidden = {attributes.get("id") for _, attributes in page.tags if "hidden" in attributes}
    assert hidden >= {"bar", "explorer"}
    assert [svg["aria-label"] for svg in page.having("svg") if "aria-label" in svg] == ["Loss against training step"]


def test_thirteen_checkpoints_of_noise_stay_below_8_mib(tmp_path: Path) -> None:
    noise = np.random.default_rng(11).uniform(-1, 1, (32, 3, 218, 178))  # the least compressible faces, at full size
    run = make_run(tmp_path / "run", ALL_STEPS, noise)
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
    row = next(row for row in page.rows if row[:1] == ["0"] and len(row) > 10)
    assert row[5:7] == ["–", "–"]
    plain = page.data["checkpoints"][0]["views"]["plain"]
    assert plain["fits"] == [{"constant": None, "correlation": None}] * 15
    assert not unpacked(plain, "change", 15, 32, 40).any()


def test_losses_that_are_not_finite_are_left_out_of_the_chart(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    lines = (run / "log.csv").read_text().splitlines()
    (run / "log.csv").write_text("\n".join([*lines[:-2], "99,nan", "100,inf"]))
    text = render(run).read_text(encoding="utf-8")
    assert "nan" not in text[: text.index("<script")]


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
