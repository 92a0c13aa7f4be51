"""The explorer in a real browser: it shows the data, follows every control, stays readable, and sends no request."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from made_up_run import ALL_STEPS, ATTRIBUTES, EPSILONS, HOSTILE, PAIRS, TENSORS, edit_evaluation, make_run

from lie_ref.experiment.page import render
from lie_ref.experiment.reading import RunFiles, read_run, views
from lie_ref.experiment.statistics import pair_rms_gradient, proportionality, rank_attributes

pytest.importorskip("selenium")
from opened import CONTRASTS, Page
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

pytestmark = pytest.mark.browser

LAST = ALL_STEPS[-1]
LR = 0.5  # the learning rate of the made-up run, at which the page opens
ORDERS = {"plain": 2, "preconditioned": 2, "momentum": 1}  # of what a swap changes, in ε
BOX = "node.getBoundingClientRect()"
MARK = "path.now:not([hidden])"  # the line of the selected step in the chart of the loss


class Explorer(Page):
    """The page of a run, with the actions of a reader."""

    def choose(self, name: str, value: str) -> None:
        self.find(f'#{name} [value="{value}"]').click()

    def go_to(self, step: int) -> None:
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        self.run(script, self.find("#step"), ALL_STEPS.index(step))

    def rate(self, epsilon: float) -> None:
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        self.run(script, self.find("#epsilon"), EPSILONS.tolist().index(epsilon))

    def pair(self, i: int, j: int) -> WebElement:
        return self.find(f'#matrix [data-i="{i}"][data-j="{j}"]')

    def cell(self, row: int, column: int) -> WebElement:
        return self.find(f".heat tbody tr:nth-child({row + 1}) td:nth-child({column + 2})")

    def change(self, row: int, column: int) -> float:
        """The change that the readout gives for a cell of the heat map."""
        self.hover(self.cell(row, column))
        return number(re.search(r"change (\S+)", self.text("#change-readout"))[1])

    def colour(self, row: int, column: int) -> str:
        return self.cell(row, column).value_of_css_property("background-color")

    def rows(self) -> list[str]:
        return self.each(".heat tbody img", "node.alt")

    def checked(self) -> list[str]:
        return self.each("input:checked", "node.value")

    @property
    def fragment(self) -> dict[str, str]:
        return dict(part.split("=") for part in self.run("return location.hash")[1:].split("&"))


def number(text: str) -> float:
    return float(text.replace("−", "-").removesuffix("%").removesuffix(" logits"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up run of the full size."""
    noise = np.random.default_rng(11).uniform(-1, 1, (32, 3, 64, 64))
    return render(make_run(tmp_path_factory.mktemp("runs") / "full", ALL_STEPS, noise)).parent


@pytest.fixture(scope="module")
def files(run: Path) -> RunFiles:
    return read_run(run)


@pytest.fixture
def page(driver: webdriver.Chrome, run: Path) -> Iterator[Explorer]:
    """The page, just opened; no test may leave an error in the console or have sent a request."""
    with Explorer(driver, (run / "report.html").as_uri()).watched() as page:
        yield page


def delta(files: RunFiles, step: int = LAST, view: str = "plain", epsilon: float = LR) -> np.ndarray:
    """What swaps do to the logits at this learning rate: (p, n, k)."""
    return views(files.evaluations[step])[view]["logit_delta"] * epsilon ** ORDERS[view]


def gap(files: RunFiles, pair: int, view: str = "plain", epsilon: float = LR) -> float:
    """How far apart the two orders of a pair end at the last step, in lengths of a step."""
    found, squares = views(files.evaluations[LAST])[view], 0.0
    for example in PAIRS[pair]:
        squares += sum(rms**2 * size for size, rms in enumerate(found["rms_gradient"][example], start=1)) / 2
    return float(epsilon ** ORDERS[view] * found["norm"][pair] / (epsilon * np.sqrt(squares)))


# What drives the page


def test_it_opens_on_the_largest_bracket_of_the_last_step(page: Explorer, files: RunFiles) -> None:
    i, j = PAIRS[int(files.evaluations[LAST]["norm"].argmax())]
    assert page.text("#selection").startswith(f"Step {LAST}, plain, ε = {LR}: example {i}, then {j}: ")
    assert page.run("return location.hash") == ""  # nothing has been changed


def test_arrow_keys_and_mouse_move_the_slider_and_it_drives_everything(page: Explorer) -> None:
    def state() -> list[str]:
        texts = map(page.text, ("#matrix", "#rank-readout", "#multiples [aria-current=true]", "#selection"))
        points, mark = page.each("#scatter circle", "node.style.transform"), page.each(MARK, "node.dataset.step")
        return [*texts, ",".join(points), *mark, page.colour(3, 3)]

    page.hover(page.find(".bump .hair text"))
    before, slider = state(), page.find("#step")
    page.run("arguments[0].focus()", slider)
    page.keys(Keys.ARROW_LEFT)
    assert page.text("#step-name") == "4000"
    assert slider.get_attribute("aria-valuetext").startswith("step 4000, validation loss 0.22")
    assert [(a, b) for a, b in zip(before, state(), strict=True) if a == b] == []
    assert len(before) == 4 + 1 + 1 + 1
    page.keys(Keys.HOME)
    assert page.text("#step-name") == "0"
    page.hover(page.find("h1"))
    ActionChains(page.driver).move_to_element(slider).click().perform()
    assert page.text("#step-name") == str(ALL_STEPS[6])


@pytest.mark.parametrize("how", ["click", "Enter", "Space"])
def test_a_cell_of_the_matrix_selects_its_pair(page: Explorer, files: RunFiles, how: str) -> None:
    if how == "click":
        page.pair(1, 3).click()
    else:
        page.run("document.querySelector('#matrix [tabindex=\"0\"]').focus()")
        page.keys(Keys.HOME, *[Keys.ARROW_UP] * 6, Keys.ARROW_DOWN, *[Keys.ARROW_RIGHT] * 3)
        page.keys(Keys.ENTER if how == "Enter" else Keys.SPACE)
    size = re.search(r": ([\d.]+)\u00a0% of a step apart$", page.text("#selection"))[1]
    assert float(size) == pytest.approx(100 * gap(files, PAIRS.index((1, 3))), rel=0.06)
    assert page.text("#selection").startswith(f"Step {LAST}, plain, ε = {LR}: example 1, then 3: ")
    assert page.each("#matrix [aria-selected=true]", "[node.dataset.i, node.dataset.j]") == [["1", "3"]]
    expected = delta(files)[PAIRS.index((1, 3))]
    step = np.abs(expected).max() / 3e4  # of the integers that hold the changes
    for at in ((0, 0), (7, 12), (31, 39)):
        assert page.change(*at) == pytest.approx(expected[at], rel=6e-3, abs=step)


def test_the_opposite_order_is_the_negative(page: Explorer) -> None:
    page.rate(0.01)  # where the expansion holds, so that colours show the sign
    page.pair(2, 4).click()
    forward, colours = page.change(5, 6), [page.colour(row, row) for row in range(8)]
    page.pair(4, 2).click()
    assert page.change(5, 6) == -forward != 0
    assert "negative of 2, then 4" in page.text("#pair-words")
    swapped = [page.colour(row, row) for row in range(8)]
    assert all(a != b for a, b in zip(colours, swapped, strict=True))
    assert page.pair(2, 4).text == page.pair(4, 2).text
    assert page.pair(4, 2).get_attribute("aria-label").endswith(", the negative")
    before = page.text("#selection")
    page.pair(2, 2).click()  # an example with itself is no pair
    assert page.text("#selection") == before


def test_hovering_gives_value_target_and_probability(page: Explorer, files: RunFiles) -> None:
    page.pair(0, 1).click()
    last = files.evaluations[LAST]
    for row, column in ((3, 0), (9, 21)):
        assert page.change(row, column) == pytest.approx(delta(files)[0][row, column], rel=6e-3, abs=1e-4)
        text = page.text("#change-readout")
        assert text.startswith(f"{ATTRIBUTES[column]} of picture {row}: ")
        assert f"label {'yes' if last['y'][row, column] else 'no'}" in text
        shown = float(re.search(r"predicted ([\d.]+)\u00a0%", text)[1])
        assert shown == pytest.approx(100 / (1 + np.exp(-last["logits"][row, column])), abs=0.051)


def test_rows_and_columns_are_sorted_by_effect_and_back(page: Explorer, files: RunFiles) -> None:
    page.pair(0, 1).click()
    size = np.abs(delta(files)[0])
    columns = [ATTRIBUTES[a] for a in np.argsort(-size.mean(axis=0), kind="stable")]
    rows = [f"picture {n}" for n in np.argsort(-size.mean(axis=1), kind="stable")]
    plain, names = [f"picture {n}" for n in range(32)], ATTRIBUTES
    orders = {"columns": (plain, columns), "rows": (rows, names), "none": (plain, names), "both": (rows, columns)}
    for sort, expected in orders.items():
        page.choose("sort", sort)
        assert (page.rows(), page.each(".heat thead span")) == expected, sort
    largest = int(rows[0].split()[1]), ATTRIBUTES.index(columns[0])
    assert page.change(0, 0) == pytest.approx(delta(files)[0][largest], rel=6e-3)


def test_the_colour_scale_covers_one_step_or_all_steps(page: Explorer, files: RunFiles) -> None:
    page.pair(0, 1).click()
    limits = {step: np.abs(delta(files, step)[0]).max() for step in ALL_STEPS}
    step = min(limits, key=limits.__getitem__)
    page.go_to(step)
    n, a = np.unravel_index(np.abs(delta(files, step)[0]).argmax(), (32, 40))
    for scale, limit in {"step": limits[step], "all": max(limits.values())}.items():
        page.choose("scale", scale)
        low, high = page.each("#colours span")
        assert number(high) == -number(low) == pytest.approx(limit, rel=6e-3)
        alpha = re.search(r"rgba\(.*, ([\d.]+)\)|rgb", page.colour(n, a))[1] or 1
        assert float(alpha) == pytest.approx(limits[step] / limit, abs=0.01)


def test_a_view_drives_matrix_heat_map_scatter_plot_and_ranks(page: Explorer, files: RunFiles) -> None:
    page.pair(0, 1).click()
    page.hover(page.find(".bump .hair text"))
    for name, view in views(files.evaluations[LAST]).items():
        page.choose("views", name)
        assert number(page.pair(0, 1).text) == pytest.approx(100 * gap(files, 0, name), rel=0.06)
        assert page.change(4, 4) == pytest.approx(delta(files, view=name)[0, 4, 4], rel=6e-3, abs=1e-4)
        page.hover(page.find(".bump .hair text"))
        named, rank = re.match(r"(.*): rank (\d+),", page.text("#rank-readout")).groups()
        ranks = {entry["name"]: entry["rank"] for entry in rank_attributes(view["logit_delta"], ATTRIBUTES)}
        assert int(rank) == ranks[named]
        fit = proportionality(view["rms_bracket"][0], pair_rms_gradient(view["rms_gradient"], 0, 1))
        assert f" is {fit['constant']:.3g} times its gradient" in page.text("#law-says")
        assert f"a correlation of {fit['correlation']:.3f}" in page.text("#law-says")
    assert "What a swap changes is ε times" in page.text("#view-words")  # the last view is momentum


def test_a_checkpoint_or_run_that_lacks_a_view_says_so(page: Explorer, tmp_path: Path) -> None:
    page.choose("views", "preconditioned")
    assert not page.find("#missing").is_displayed()
    page.go_to(0)
    reason = "Adam has no scales before its first step."
    assert page.find("#missing").text == f"Step 0 has no view “Adam’s scales”. {reason}"
    assert set(page.each("#matrix td:not(.same, .corner)")) == {"–"}
    page.hover(page.cell(1, 1))
    assert "change not available" in page.text("#change-readout")
    page.choose("views", "momentum")
    assert not page.find("#missing").is_displayed()
    assert "–" not in page.each("#matrix td:not(.same, .corner)")
    run = make_run(tmp_path / "run")
    for path in (run / "evaluation").iterdir():
        edit_evaluation(path, views=np.array([], str))
    page.driver.get(render(run).as_uri())
    for view, words in (("momentum", "Step 100 has no view “Adam with its memory”."), ("plain", "")):
        page.choose("views", view)
        assert page.find("#missing").text == words


def test_pointing_names_a_tensor_and_gives_its_sizes(page: Explorer, files: RunFiles) -> None:
    page.pair(0, 1).click()
    last = files.evaluations[LAST]
    page.run("document.querySelectorAll('#scatter circle').forEach((c, k) => k === 6 || c.remove())")  # none above it
    time.sleep(0.3)  # points glide to their places
    page.hover(page.find("#scatter circle"))
    name, _, sizes = page.text("#tensor-readout").partition(": ")
    assert name == last["tensor_names"][6]
    bracket, gradient = map(number, re.findall(r"[\d.]+(?:e[−\d]+)?", sizes))
    assert bracket == pytest.approx(last["rms_bracket"][0, 6], rel=6e-3)
    assert gradient == pytest.approx(pair_rms_gradient(last["rms_gradient"], 0, 1)[6], rel=6e-3)


def test_a_run_of_one_step_in_which_nothing_moves_is_shown(page: Explorer, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (0,))
    sizes = {"norm": (15,), "logit_delta": (15, 32, 40), "rms_bracket": (15, TENSORS)}
    edit_evaluation(run / "evaluation" / "step_000000.npz", **{name: np.zeros(shape) for name, shape in sizes.items()})
    page.driver.get(render(run).as_uri())
    assert page.text("#selection") == f"Step 0, plain, ε = {LR}: example 0, then 1: 0\u00a0% of a step apart"
    assert "no line could be fitted" in page.text("#law-says")
    assert page.change(2, 2) == 0
    stops = '#scatter [tabindex="0"]'
    assert page.each("#agreement circle") == []
    assert page.each(stops) == []
    page.choose("views", "momentum")
    assert page.change(2, 2) != 0
    assert len(page.each(stops)) == 1


# The permalink


def test_the_fragment_is_written_without_filling_the_history_and_restores_everything(page: Explorer) -> None:
    length = page.run("return history.length")
    page.go_to(600)
    page.pair(5, 2).click()
    for name, value in (("views", "momentum"), ("scale", "all"), ("sort", "both")):
        page.choose(name, value)
    page.rate(0.01)
    expected = {"step": "600", "pair": "5-2", "view": "momentum", "eps": "0.01", "scale": "all", "sort": "both"}
    assert page.fragment == expected
    assert page.run("return history.length") == length
    parts = ("#selection", "#matrix", "#colours", "#law-says", "#square-says")
    shown, rows = [page.text(part) for part in parts], page.rows()
    page.open(page.run("return location.hash"))
    assert ([page.text(part) for part in parts], page.rows()) == (shown, rows)
    assert page.checked() == ["momentum", "all", "both"]


def test_bad_parts_of_a_fragment_are_left_out(page: Explorer) -> None:
    before = page.text("#selection")
    page.open("#step=7&pair=9-9&view=constructor&scale=<b>&eps=0.02&sort=rows&other=1&&=")
    assert page.text("#selection") == before
    assert page.checked() == ["plain", "step", "rows"]
    for fragment in ("#%", "#=", "#step", "#step=600;pair=1", "#pair=1-1", "#step=-1", "#step=6e2"):
        page.open(fragment)
        assert page.text("#selection") == before, fragment


def test_a_change_of_the_fragment_and_a_link_of_a_table_are_followed(page: Explorer) -> None:
    page.run("location.hash = '#step=30&pair=3-1'")
    page.wait_for(
        "#selection", f"Step 30, plain, ε = {LR}: example 3, then 1:"
    )  # the browser reports the change a little later
    page.find('.wide [href="#step=1000"]').click()
    page.wait_for("#selection", f"Step 1000, plain, ε = {LR}: example 3, then 1:")
    assert page.fragment["pair"] == "3-1"
    assert set(page.each("tr.now", "node.dataset.step")) == {"1000"}


# Keyboard and screen readers


def test_every_control_and_picture_is_one_tab_stop_with_a_visible_focus(page: Explorer) -> None:
    stops = []
    for _ in range(90):
        page.keys(Keys.TAB)
        stop = page.run("""
          const node = document.activeElement;
          const ring = getComputedStyle(node.matches("[type=radio]") ? node.parentElement : node);
          const boxes = ["step", "epsilon", "matrix", "heat", "scatter", "multiples", "bump", "views", "scale", "sort"];
          const box = node.closest(boxes.map((id) => `#${id}`).join());
          const name = box?.id ?? (node.closest(".downloads") ? "save" : node.id || node.tagName);
          const seen = ring.outlineStyle !== "none" || node.matches("svg .on");
          return node === document.body ? null : [name, seen];
        """)
        if stop is None:
            break
        stops.append(stop)
    names = [name for name, _ in stops if name not in ("SUMMARY", "A", "DIV", "save")]
    controls = ["tour", "play", "step", "epsilon", "views"]
    assert names == [*controls, "matrix", "scale", "sort", "heat", "scatter", "multiples", "bump"]
    assert len([name for name, _ in stops if name == "SUMMARY"]) == 8
    assert len([name for name, _ in stops if name == "save"]) == 3 * 10
    assert all(visible for _, visible in stops)


@pytest.mark.parametrize("box", ["matrix", "heat", "scatter", "multiples", "bump"])
def test_arrow_keys_move_inside_a_picture_and_the_text_is_announced(page: Explorer, box: str) -> None:
    focused = "return document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
    page.run(f"document.querySelector('#{box} [tabindex=\"0\"]').focus()")
    forward, back = (Keys.ARROW_DOWN, Keys.ARROW_UP) if box == "bump" else (Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    seen = [page.run(focused)]
    for _ in range(3):
        page.keys(forward)
        seen.append(page.run(focused))
    assert len(set(seen)) == 4
    assert all(re.search(r"\d", text) for text in seen)
    page.keys(back)
    assert page.run(focused) == seen[2]
    assert len(page.each(f'#{box} [tabindex="0"]')) == 1
    page.keys(Keys.TAB)
    assert page.each(f"#{box}", "node.contains(document.activeElement)") == [False]
    page.driver.switch_to.active_element.send_keys(Keys.SHIFT, Keys.TAB)
    assert page.run(focused) == seen[2]  # the place is remembered


def test_the_keyboard_alone_chooses_all(page: Explorer) -> None:
    for box, keys in (
        ("#step", [Keys.HOME, Keys.ARROW_RIGHT]),
        ("#views :checked", [Keys.ARROW_RIGHT]),
        ("#scale :checked", [Keys.ARROW_RIGHT]),
        ("#sort :checked", [Keys.ARROW_RIGHT, Keys.ARROW_RIGHT]),
    ):
        page.run("document.querySelector(arguments[0]).focus()", box)
        page.keys(*keys)
    assert page.fragment.items() >= {"step": "10", "view": "preconditioned", "scale": "all", "sort": "rows"}.items()
    page.run("document.querySelector('#multiples [tabindex=\"0\"]').focus()")
    page.keys(Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ENTER)
    assert page.fragment["step"] == "30"
    assert page.each("#multiples b") == [f"step {step}" for step in ALL_STEPS]


def test_each_picture_has_its_table(page: Explorer, files: RunFiles) -> None:
    page.pair(0, 1).click()
    sizes = {"matrix-table": 15, "heat-table": 32, "test-table": 5, "scatter-table": TENSORS, "multiples-table": 13}
    sizes |= {"bump-table": 40, "agreement-table": 40}
    assert set(page.each("#explorer details", "node.id")) == set(sizes)
    for name, rows in sizes.items():
        page.run(f"document.querySelector('#{name} summary').focus()")
        page.keys(Keys.ENTER)
        # a details element reports a moment later that it was opened
        found = WebDriverWait(page.driver, 2).until(lambda _, name=name: page.each(f"#{name} tbody tr"))
        assert len(found) == rows, name
    for step in (LAST, 10):
        page.go_to(step)
        cells = [number(text) for text in page.each("#heat-table tbody tr:first-child td")]
        np.testing.assert_allclose(cells, delta(files, step)[0][0], rtol=6e-3, atol=1e-4)


# What is new at each ε


def test_the_rate_scales_the_changes_and_the_sizes_as_the_expansion_says(page: Explorer, files: RunFiles) -> None:
    page.pair(0, 1).click()
    for view in ORDERS:
        page.choose("views", view)
        for epsilon in (1e-3, LR):
            page.rate(epsilon)
            assert page.change(4, 4) == pytest.approx(
                delta(files, view=view, epsilon=epsilon)[0, 4, 4], rel=6e-3, abs=1e-9
            )
            assert number(page.pair(0, 1).text) == pytest.approx(100 * gap(files, 0, view, epsilon), rel=0.06)


def test_where_the_expansion_was_seen_to_fail_the_figures_are_grey(page: Explorer) -> None:
    """The median errors of the made-up run: 1 %, 8 %, 30 %, 200 % and more."""
    seen = {}
    for epsilon in EPSILONS.tolist():
        page.rate(epsilon)
        channels = re.findall(r"[\d.]+", page.pair(0, 1).value_of_css_property("background-color"))
        grey = len(set(channels[:3])) == 1
        seen[epsilon] = page.find("#validity").get_attribute("class"), grey
    kinds = {1e-4: "holds", 1e-3: "holds", 1e-2: "rough", 0.1: "fails", 0.5: "fails", 1.0: "untested"}
    assert seen == {epsilon: (kind, kind == "fails") for epsilon, kind in kinds.items()}
    page.rate(1e-2)
    assert page.text("#validity") == "≈ rough, error 30\u00a0%"
    assert "within 10 % up to ε = 0.001; at ε = 0.01, error 30\u00a0%." in page.text("#test-says")
    page.choose("views", "momentum")
    assert page.text("#validity") == "not tested for these steps"
    shares = page.driver.execute_script("return [0.0123, 0.284, 0.996, 1.04].map(smallPercent)")
    assert shares == ["1.2\u00a0%", "28\u00a0%", "99.6\u00a0%", "104\u00a0%"]  # more than 100 % does not look like it


def test_the_square_has_the_corners_of_the_real_steps(page: Explorer, files: RunFiles) -> None:
    """Its picture keeps all ratios of lengths, for a pair in either order."""
    p, e = PAIRS.index((2, 4)), 2
    corners = files.evaluations[LAST]["square_corners"][p, e]
    page.rate(EPSILONS[e])
    for (i, j), order in (((2, 4), [0, 1, 2, 3]), ((4, 2), [2, 3, 0, 1])):
        page.pair(i, j).click()
        drawn = {}
        for kind in ("first", "then"):
            (path,) = page.each(f"#square > svg > path.{kind}", "node.getAttribute('d')")
            drawn[kind] = np.array([point.split() for point in path[1:].split("L")], float)
        found = np.concatenate([(points - points[0])[1:] for points in drawn.values()]) * [1, -1]
        expected = corners[order]
        np.testing.assert_allclose(found / found[0, 0] * expected[0, 0], expected, atol=2e-3)
        apart = files.evaluations[LAST]["square_gap"][p, e]
        step = np.sqrt((expected[[0, 2]] ** 2).sum() / 2)
        assert f"end {100 * apart / step:.2g}".rstrip("0") in page.text("#square-says")
    page.rate(EPSILONS[-1])
    assert "no finite numbers" in page.text("#square-says")
    assert page.text("#square-words") == ""
    assert page.each("#square svg") == []


def test_play_goes_through_all_checkpoints_and_stops(page: Explorer) -> None:
    page.go_to(3000)
    page.find("#play").click()
    assert page.find("#play").get_attribute("aria-label") == "Stop"
    page.wait_for("#step-name", "5000")
    assert page.find("#play").get_attribute("aria-label") == "Play all checkpoints"
    page.find("#play").click()  # from the last it begins anew
    assert page.text("#step-name") == "0"
    page.find("#play").click()
    time.sleep(1)
    assert page.text("#step-name") == "0"


def test_the_tour_leads_through_six_places_and_ends_with_the_answer(page: Explorer) -> None:
    page.choose("views", "momentum")
    page.find("#tour").click()
    assert page.fragment.items() >= {"step": "0", "view": "plain", "eps": str(LR)}.items()
    for place in range(6):
        assert page.text("#tour-place") == f"{place + 1} of 6"
        words = page.text("#tour-words")
        assert re.search(r"\d", words)
        page.find("#tour-next").click()
    assert page.text("#answer").strip() in words
    assert not page.find("#tour-panel").is_displayed()
    page.find("#tour").click()
    page.keys(Keys.ESCAPE)  # it can be left at any place
    assert not page.find("#tour-panel").is_displayed()


def test_agreement_has_the_shares_of_pairs_that_disagree_and_agree(page: Explorer, files: RunFiles) -> None:
    moved = np.abs(delta(files)).sum(axis=1)
    share = moved / moved.sum(axis=1, keepdims=True)
    y = files.evaluations[LAST]["y"] > 0.5
    differ = np.array([y[i] != y[j] for i, j in PAIRS])
    page.run("document.querySelector('#agreement-table').open = true")
    rows = WebDriverWait(page.driver, 2).until(lambda _: page.each("#agreement-table tbody tr", "node.innerText"))
    both = 0
    for a, row in enumerate(rows):
        name, *cells = row.split("\t")
        assert name == ATTRIBUTES[a]
        for cell, chosen in zip(cells, (differ[:, a], ~differ[:, a]), strict=True):
            assert cell == "–" if not chosen.any() else number(cell) == pytest.approx(share[chosen, a].mean(), rel=6e-3)
        both += "–" not in cells
    assert len(page.each("#agreement circle.apart")) == both > 20
    assert page.text("#agreement-says").split(" attributes")[0].endswith(f" of {both}")


def test_shuffled_gradients_are_crosses_in_the_scatter_of_plain_steps(page: Explorer) -> None:
    crosses = page.each(".plot .shuffled", "node.getAttribute('d').split('M').length - 1")
    assert crosses == [TENSORS]
    page.choose("views", "momentum")
    assert page.each(".plot .shuffled", "node.getAttribute('d')") == [""]
    hues = page.each("#scatter circle", "node.style.getPropertyValue('--hue')")
    assert len(set(hues)) > 10  # a colour for each layer


def test_a_click_on_a_face_shows_it_large_with_labels_and_probabilities(page: Explorer, files: RunFiles) -> None:
    page.pair(0, 1).click()
    page.run("document.querySelectorAll('.heat tbody th img')[2].click()")
    assert page.text("#picture-name") == f"Picture 2 at step {LAST}, ε = {LR}"
    assert page.each("#picture-face img", f"{BOX}.width") == [224]
    z, change = files.evaluations[LAST]["logits"][2], delta(files)[0, 2]
    rows = page.each("#picture-table tbody tr", "[...node.cells].map((cell) => cell.textContent)")
    order = [[name.replace("_", " ") for name in ATTRIBUTES].index(row[0]) for row in rows]
    assert order[:5] == np.argsort(-np.abs(change), kind="stable")[:5].tolist()
    assert sorted(order) == list(range(40))
    p = 1 / (1 + np.exp(-np.array([z, z + change])))
    for row, a in zip(rows, order, strict=True):
        assert row[1] == ("yes" if files.evaluations[LAST]["y"][2, a] else "no")
        assert [float(text.split("\u00a0")[0]) for text in row[2:4]] == pytest.approx(100 * p[:, a], abs=0.051)
    page.keys(Keys.ESCAPE)
    assert not page.find("#picture").is_displayed()
    page.run("document.querySelector('#heat [tabindex=\"0\"]').focus()")
    page.keys(Keys.ENTER)
    assert page.text("#picture-name").startswith("Picture 0 ")


def test_exclusive_hair_colours_have_the_probabilities_of_their_softmax(page: Explorer, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    config = {"exclusive_hair": True, "lr": LR, "celeba": None}
    (run / "config.json").write_text(json.dumps(config))
    page.driver.get(render(run).as_uri())
    z = read_run(run).evaluations[100]["logits"][:, :4]  # hair comes first
    expected = np.exp(z) / (1 + np.exp(z).sum(axis=1, keepdims=True))
    shown = page.run("return PICTURES.map((n) => [0, 1, 2, 3].map((a) => probability(n, a)))")
    np.testing.assert_allclose(shown, expected, rtol=1e-6)


def test_every_figure_can_be_saved_as_svg_png_and_csv(page: Explorer, files: RunFiles) -> None:
    """What the buttons would save: pictures that need no style sheet, and numbers that programs read."""
    page.pair(0, 1).click()
    page.run("window.saved = []; save = (name, type, parts) => saved.push([name, type, parts])")
    buttons = page.each(".downloads button", "(node.click(), node.getAttribute('aria-label'))")
    assert len(buttons) == len(set(buttons)) == 3 * 10
    WebDriverWait(page.driver, 10).until(lambda _: page.run("return saved.length") == 30)
    assert page.run("return saved.filter(([, type, [part]]) => type === 'image/png' && part.size > 1000).length") == 10
    texts = {name: part for name, kind, (part,) in page.run("return saved") if kind != "image/png"}
    for name, text in texts.items():
        if name.endswith(".svg"):
            assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg", name
            assert "fill" in text
    assert all(f">step {step}</text>" in texts["multiples.svg"] for step in ALL_STEPS)
    rows = list(csv.reader(io.StringIO(texts["heat.csv"])))
    assert rows[0] == ["picture", *ATTRIBUTES]
    np.testing.assert_allclose(np.array(rows[1][1:], float), delta(files)[0][0], rtol=6e-3, atol=1e-4)


def test_pictures_and_controls_have_names(page: Explorer) -> None:
    tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = {"grid", "slider", "radio", "button", "image", "DisclosureTriangle"}
    for node in tree:
        if node.get("role", {}).get("value") in named and not node.get("ignored"):
            assert node.get("name", {}).get("value"), node
    assert page.find("#selection").get_attribute("aria-live") == "polite"


# Looks


@pytest.mark.parametrize(("width", "share"), [(390, 0.13), (1280, 0.1)])
def test_the_page_scrolls_only_up_and_down_below_a_low_bar(page: Explorer, width: int, share: float) -> None:
    page.resize(width)
    page.each("#ranks", "node.scrollIntoView()")
    (bar,) = page.each("#bar", BOX)
    assert bar["top"] == 0
    assert bar["height"] <= share * 844
    assert page.each("#ranks", BOX)[0]["top"] >= bar["height"]
    page.each("details", "node.open = true")
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.run("scrollBy(50, 0); return scrollX") == 0


def test_slider_matrix_and_heat_map_fit_on_one_screen(page: Explorer) -> None:
    page.each("#sizes", "node.scrollIntoView()")
    bottoms = [box["bottom"] for box in page.each("#matrix, #heat", BOX)]
    assert max(bottoms) <= page.run("return innerHeight") == 844


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(page: Explorer, scheme: str) -> None:
    page.emulate(scheme=scheme)
    page.hover(page.cell(2, 2))
    paper = page.find("body").value_of_css_property("background-color")
    assert (paper == "rgba(255, 255, 255, 1)") == (scheme == "light")
    contrasts = page.run(CONTRASTS)
    assert len(contrasts) > 300
    assert min(contrasts)[0] >= 4.5, min(contrasts)


def test_print_is_black_on_white_and_shows_the_current_state_without_clipping(page: Explorer) -> None:
    page.choose("views", "momentum")
    page.resize(700)  # the text width of a sheet
    page.emulate(media="print", scheme="dark")
    for name, value in (("color", "rgba(0, 0, 0, 1)"), ("background-color", "rgba(255, 255, 255, 1)")):
        assert page.find("body").value_of_css_property(name) == value
    assert page.find("#bar").value_of_css_property("position") == "static"
    assert min(page.run(CONTRASTS))[0] >= 4.5
    assert not any(page.each(".scroll", "node.checkVisibility() && node.scrollWidth > node.clientWidth + 1"))
    assert page.run("return document.documentElement.scrollWidth") <= 700
    assert page.find("#views").text.split(None, 1) == ["Steps", "Adam with its memory"]
    assert "Adam with its memory" in page.find("#selection").text
    assert page.colour(1, 1) not in ("rgba(0, 0, 0, 0)", "rgba(255, 255, 255, 1)")
    assert page.cell(1, 1).value_of_css_property("print-color-adjust") == "exact"


# Safety and speed


def test_a_hostile_name_is_shown_and_not_run(page: Explorer) -> None:
    column = ATTRIBUTES.index(HOSTILE)
    assert page.each(".heat thead span")[column] == HOSTILE
    page.hover(page.cell(0, column))
    assert HOSTILE in page.text("#change-readout")
    assert HOSTILE in page.each(".bump text")
    assert len(page.each("script")) == 2


def test_the_policy_refuses_other_scripts_and_every_request(page: Explorer) -> None:
    run = "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    assert page.run(f"{run}; return window.ran") is None
    script = "fetch('https://example.org').then(() => arguments[0]('sent'), () => arguments[0]('refused'))"
    assert page.driver.execute_async_script(script) == "refused"
    refusals = ["Content Security Policy" in entry["message"] for entry in page.driver.get_log("browser")]
    assert refusals
    assert all(refusals)


def test_without_scripts_the_static_parts_are_there(page: Explorer) -> None:
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page.open()
    tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    names = " ".join(node.get("name", {}).get("value", "") for node in tree if not node.get("ignored"))
    assert all(name in names for name in ("Without JavaScript", "Loss against training step", "What was checked"))
    assert "Which attributes move most" not in names


def test_a_saved_picture_has_the_points_where_they_glide_to(page: Explorer) -> None:
    saved, drawn = page.run("""
      update({ k: 2 });
      const picture = document.querySelector("#scatter > svg");
      const places = (of) => [...of.querySelectorAll("circle")].map((circle) => circle.style.transform);
      return [standalone(picture), picture].map(places);
    """)
    assert saved == drawn
    assert len(set(saved)) == TENSORS


def test_a_step_is_drawn_within_a_tenth_of_a_second(page: Explorer) -> None:
    """The median over all steps, each with its layout."""
    script = """
      return checkpoints.map((_, k) => {
        const began = performance.now();
        update({ k });
        document.body.offsetHeight;
        return performance.now() - began;
      });
    """
    times = page.run(script)
    assert len(times) == len(ALL_STEPS)
    assert float(np.median(page.run(script))) <= 100


def test_the_first_paint_comes_within_a_second(page: Explorer) -> None:
    page.open()
    script = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    assert 0 < WebDriverWait(page.driver, 10).until(lambda _: page.run(script)) <= 1000
