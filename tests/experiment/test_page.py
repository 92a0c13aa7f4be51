"""The page of a run, drawn from a run that is made up from a fixed seed."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_run import ALL_STEPS, ATTRIBUTES, HOSTILE, PAIRS, TENSORS, edit_evaluation, edit_summary, make_run
from PIL import Image

from lie_ref.experiment.page import render, running_mean
from lie_ref.experiment.reading import read_run, views
from lie_ref.experiment.statistics import pair_rms_gradient, proportionality, rank_attributes
from lie_ref.images.labels import HAIR

VOID = {"meta", "br", "img", "link", "input", "hr"}
TYPES = {"change": "<i2", "targets": "u1"}  # others: little-endian float32


class Page(HTMLParser):
    """Parses a page; fails if tags are not balanced; keeps attributes and the texts of rows, scripts and style."""

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

    def table(self, *head: str) -> tuple[list[str], list[list[str]]]:
        """The texts of the table whose head begins with these: its head, and the rows of a run with two checkpoints."""
        k = next(k for k, row in enumerate(self.rows) if row[: len(head)] == list(head))
        return self.rows[k], self.rows[k + 1 : k + 3]

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.scripts[0])


def unpacked(holder: dict[str, Any], name: str, *shape: int) -> np.ndarray:
    """An array that the page's data have as base64."""
    return np.frombuffer(base64.b64decode(holder[name]), TYPES.get(name, "<f4")).reshape(shape)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "two")


@pytest.fixture(scope="module")
def text(run: Path) -> str:
    return render(run).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def drawn(run: Path) -> Page:
    return Page(render(run).read_text(encoding="utf-8"))


def test_tags_are_balanced_and_identifiers_are_unique_and_complete(page: Page) -> None:
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers) > 32
    named = {attributes[key] for _, attributes in page.tags for key in ("aria-labelledby", "for") if key in attributes}
    sought = set(re.findall(r'(?:byId|fillTable|makeChoice)\("([^"]+)"', page.scripts[1]))
    assert named | sought <= set(identifiers)


def test_nothing_is_loaded_and_links_select_a_step_or_lead_to_the_work_that_is_repeated(text: str, page: Page) -> None:
    assert not re.search(r"@import|\bsrc=\"(?!data:image/png;base64,)|url\(", text)
    post = "https://pbement.com/posts/lie_brackets"
    assert set(re.findall(r"https?://[^\"]*", text)) == {"http://www.w3.org/2000/svg", post}  # the first is a name
    links = [attributes["href"] for _, attributes in page.tags if "href" in attributes]
    assert set(links) == {"#step=0", "#step=100", post}
    assert all(face.startswith("data:image/png;base64,") for face in page.data["faces"])


def test_the_policy_allows_this_script_and_this_style_and_nothing_else(page: Page) -> None:
    (policy,) = [meta["content"] for meta in page.having("meta") if "http-equiv" in meta]
    rules = dict(rule.strip().split(" ", 1) for rule in str(policy).split(";"))
    digests = [hashlib.sha256(code.encode()).digest() for code in (page.scripts[1], page.style)]
    script, style = (f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    none = dict.fromkeys(("default-src", "base-uri", "form-action"), "'none'")
    assert rules == {**none, "img-src": "data:", "script-src": script, "style-src": style}
    assert not any(key == "style" or key.startswith("on") for _, attributes in page.tags for key in attributes)


def test_nothing_is_left_of_a_template(text: str, page: Page) -> None:
    for code in (*page.scripts, page.style):
        text = text.replace(code, "")
    assert not re.search(r"\$\{?[a-z_]", text)
    assert not re.search(r"\b(nan|inf|None|NaN|Infinity)\b", text + re.sub(r'"[^"]*"', "", page.scripts[0]))


def test_markup_in_names_and_settings_is_shown_and_not_run(text: str, page: Page) -> None:
    assert [attributes.get("type") for attributes in page.having("script")] == ["application/json", None]
    assert page.data["attributes"][4] == HOSTILE
    assert page.data["tensors"][:2] == ["</script><b>", "<!--<script>"]
    assert HOSTILE not in text
    assert ["out", json.dumps(HOSTILE)] in page.rows
    assert HOSTILE in [row[0] for row in page.rows]


@pytest.mark.parametrize("step", [0, 100])
def test_the_data_have_every_view_to_half_a_step_of_its_scale(run: Path, page: Page, step: int) -> None:
    (checkpoint,) = [checkpoint for checkpoint in page.data["checkpoints"] if checkpoint["step"] == step]
    evaluation = read_run(run).evaluations[step]
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
    for key, name in {
        "logits": "logits",
        "shuffled": "rms_shuffled",
        "corners": "square_corners",
        "gap": "square_gap",
    }.items():
        expected = evaluation[name]
        np.testing.assert_allclose(unpacked(checkpoint, key, *expected.shape), expected, rtol=1e-6)


def test_the_data_have_what_the_checkpoints_share(run: Path, page: Page) -> None:
    data, first = page.data, read_run(run).evaluations[0]
    assert (data["attributes"], data["pairs"]) == (ATTRIBUTES, [list(pair) for pair in PAIRS])
    assert [data["attributes"][a] for a in data["hair"]] == list(HAIR)
    assert data["tensors"] == first["tensor_names"].tolist()
    np.testing.assert_array_equal(unpacked(data, "targets", 32, 40), first["y"])
    faces = [Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) for uri in data["faces"]]
    pixels = np.rint((first["x"] + 1) * 127.5).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(np.stack([np.asarray(face) for face in faces]), pixels)


def test_the_data_have_the_columns_of_hair_colours_that_exclude_each_other(tmp_path: Path, page: Page) -> None:
    run = make_run(tmp_path / "run")
    (run / "config.json").write_text(json.dumps({"exclusive_hair": True, "lr": 0.5, "celeba": None}))
    assert drawn(run).data["exclusive"] == [ATTRIBUTES.index(name) for name in HAIR]
    assert page.data["exclusive"] == []


def test_the_norms_of_the_steps_come_from_the_sizes_of_their_tensors(run: Path, page: Page) -> None:
    evaluation = read_run(run).evaluations[100]
    for name, view in views(evaluation).items():
        squares = [
            sum(rms**2 * n for rms, n in zip(of, range(1, TENSORS + 1), strict=True)) for of in view["rms_gradient"]
        ]
        np.testing.assert_allclose(page.data["checkpoints"][1]["views"][name]["steps"], np.sqrt(squares), rtol=1e-12)


def test_passes_in_other_orders_have_a_row_for_each_network_and_number_of_mini_batches(page: Page) -> None:
    assert page.table("network")[0] == ["network", "k", "ε = 0.1", "ε = 1e-05"]
    for network in ("as trained", HOSTILE):
        for k, means in (("2", "0.50 · 2.00"), ("4", "0.62 · 2.00")):  # means over the orders
            assert [network, k, means, means] in page.rows


def test_the_table_of_statistics_has_a_row_for_each_checkpoint(run: Path, page: Page) -> None:
    head, rows = page.table("step", "train loss")
    for row, point in zip(rows, json.loads((run / "summary.json").read_text())["checkpoints"], strict=True):
        constants = [bracket["constant"] for bracket in point["brackets"]]
        assert row == [
            str(point["step"]),
            f"{point['train']['loss']:.4f}",
            f"{point['validation']['loss']:.4f}",
            "81.25\u00a0%",
            "80.25\u00a0%",
            "0.953",
            f"{min(constants):.3g} … {max(constants):.3g}",
            "1e-04",
            "30\u00a0%",
            *(str(point["hair_ranks"][name]) for name in HAIR),
            ", ".join(attribute["name"] for attribute in point["attributes"][:3]),
        ]
        assert len(row) == len(head)


def test_checks_have_a_table_with_a_dash_for_a_swap_that_was_not_made_and_a_sentence(text: str, page: Page) -> None:
    assert page.table("step", "finite differences")[1] == [
        ["0", "3.4e-10", "2.1e-15", "1.002", "–", "0.997", "0.997"],
        ["100", "3.4e-10", "2.1e-15", "1.002", "0.997", "0.997", "0.997"],
    ]
    assert (
        "The largest difference at any checkpoint is 3.4e-10; the orders of the swaps are from 0.997 to 1.002." in text
    )


def test_undefined_checks_are_counted(tmp_path: Path) -> None:
    undefined = {"richardson": None, "order_swap": {"observed_order": None}}
    run = make_run(tmp_path / "run")
    edit_summary(run, lambda summary: summary["checkpoints"][1]["checks"].update(undefined))
    text = render(run).read_text("utf-8")
    assert "0.997 to 1.002. 1 of 4 differences are undefined. 1 of 7 orders are undefined." in text


def test_a_section_without_content_is_hidden(page: Page, tmp_path: Path) -> None:
    run = edit_summary(make_run(tmp_path / "run"), lambda summary: summary.update(passes=[]))
    for found, hidden in ((page, False), (drawn(run), True)):
        sections = [tag for tag in found.having("section") if tag["aria-labelledby"] == "passes"]
        assert ["hidden" in tag for tag in sections] == [hidden]


def test_without_a_script_the_static_parts_are_there_and_the_rest_is_hidden(page: Page) -> None:
    assert page.having("noscript")
    hidden = {attributes.get("id") for _, attributes in page.tags if "hidden" in attributes}
    assert hidden >= {"bar", "explorer"}
    charts = ["Loss against training step", *(f"Cosine by ε, {network}" for network in ("as trained", HOSTILE))]
    assert [svg["aria-label"] for svg in page.having("svg") if "aria-label" in svg] == charts


def test_thirteen_checkpoints_of_noise_stay_below_8_mib(tmp_path: Path) -> None:
    noise = np.random.default_rng(11).uniform(-1, 1, (32, 3, 218, 178))  # the least compressible faces, at full size
    run = make_run(tmp_path / "run", ALL_STEPS, noise)
    assert render(run).stat().st_size <= 8 * 2**20


def test_rendering_again_gives_the_same_bytes_and_leaves_no_other_file(run: Path, text: str) -> None:
    assert render(run).read_text(encoding="utf-8") == text
    files = {"config.json", "evaluation", "log.csv", "report.html", "summary.json"}
    assert {path.name for path in run.iterdir()} == files


def test_undefined_values_are_shown_as_a_dash(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (0,))
    brackets = [{"pair": list(pair), "norm": 0.0, "correlation": None, "constant": None} for pair in PAIRS]
    undefined = {"mean_correlation": None, "brackets": brackets}
    edit_summary(run, lambda summary: summary["checkpoints"][0].update(undefined))
    zeros = {"rms_bracket": np.zeros((15, TENSORS)), "logit_delta": np.zeros((15, 32, 40))}
    edit_evaluation(run / "evaluation" / "step_000000.npz", **zeros)
    page = drawn(run)
    assert page.table("step", "train loss")[1][0][5:7] == ["–", "–"]
    plain = page.data["checkpoints"][0]["views"]["plain"]
    assert plain["fits"] == [{"constant": None, "correlation": None}] * 15
    assert not unpacked(plain, "change", 15, 32, 40).any()


def test_a_prediction_that_is_nowhere_finite_or_wrong_by_its_whole_size_tells_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (0,))
    for error, said in (([None, 0.3, None], "–"), ([1.5, 0.3, 1.2], "120 %")):
        edit_summary(run, lambda summary, e=error: summary["checkpoints"][0]["expansion"].update(error=e))
        answer = render(run).read_text(encoding="utf-8").split('<div class="answer">')[1].split("</p>")[0]
        assert "<b>Brackets cannot tell.</b>" in answer
        assert f"their error is {said}." in " ".join(answer.split())


def test_losses_that_are_not_finite_are_left_out_of_the_chart(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    lines = (run / "log.csv").read_text().splitlines()
    (run / "log.csv").write_text("\n".join([*lines[:-2], "99,nan", "100,inf"]))
    text = render(run).read_text(encoding="utf-8")
    assert "nan" not in text[: text.index("<script")]


def test_running_mean_is_the_mean_of_the_last_tenth_so_far() -> None:
    loss = np.random.default_rng(5).uniform(size=95)
    expected = [loss[k - -(-k // 10) : k].mean() for k in range(1, 96)]
    np.testing.assert_allclose(running_mean(loss), expected, rtol=1e-12)


@pytest.mark.parametrize("celeba", [None, "/somewhere/celeba"])
def test_the_footer_has_the_command_and_for_celeba_a_warning(run: Path, tmp_path: Path, celeba: str | None) -> None:
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(
        json.dumps(config | {"celeba": celeba, "lr": 5e-3, "seed": 3, "exclusive_hair": True})
    )
    footer = render(copied).read_text(encoding="utf-8").split("<footer>")[1].split("</footer>")[0]
    source = "--celeba DIR " if celeba else ""
    assert f"<code>lie-ref experiment {source}--seed 3 --exclusive-hair</code>" in footer
    assert re.search(
        r"drawn with python [\d.]+, lie-ref [\d.]+, numpy [\d.]+, autograd [\d.]+, pillow [\d.]+\.", footer
    )
    assert ("may be used for research and not passed on" in footer) == bool(celeba)
    assert "/somewhere" not in footer


@pytest.mark.parametrize("exclusive", [False, True])
def test_the_answer_is_the_largest_change_of_a_probability_at_the_learning_rate(
    run: Path, tmp_path: Path, exclusive: bool
) -> None:
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"lr": 0.1, "exclusive_hair": exclusive}))
    found = read_run(copied).evaluations[100]
    largest = (0.0,)
    for p, (i, j) in enumerate(PAIRS):
        for n in range(32):
            z = [found["logits"][n], found["logits"][n] + 0.1**2 * found["logit_delta"][p, n]]
            before, after = (1 / (1 + np.exp(-logits)) for logits in z)
            if exclusive:  # one softmax over hair and none of it
                for of, logits in ((before, z[0]), (after, z[1])):
                    of[:4] = np.exp(logits[:4]) / (1 + np.exp(logits[:4]).sum())
            k = int(np.argmax(abs(after - before)))
            largest = max(largest, (float(abs(after - before)[k]), i, j, n, ATTRIBUTES[k], before[k], after[k]))
    _, i, j, n, name, before, after = largest
    shown = " ".join(
        render(copied).read_text(encoding="utf-8").split('<div class="answer">')[1].split("</p>")[0].split()
    )
    assert f"{0.1:g}, training on example {i} and then on {j}, instead of {j} and then {i}, would move" in shown
    change = f"from {100 * before:.1f} % to {100 * after:.1f} %"
    assert f"the probability of {name.replace('_', ' ')} in picture {n} {change}." in shown
    assert "within 10 % up to ε = 0.0001; at ε = 0.1 their error is 30 %." in shown
