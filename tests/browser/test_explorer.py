"""The explorer in a real browser: what it shows, what drives it, and that it stays readable and within its file."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_up_run import ALL_STEPS, ATTRIBUTES, HOSTILE, PAIRS, TENSORS, edit_evaluation, make_run

from lie_ref.experiment.page import render
from lie_ref.experiment.reading import RunFiles, read_run, views
from lie_ref.experiment.statistics import pair_rms_gradient, proportionality, rank_attributes

pytest.importorskip("selenium")
from opened import CONTRASTS, Page
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

pytestmark = pytest.mark.browser

LAST = ALL_STEPS[-1]


class Explorer(Page):
    """The page of a run, by what a reader does with it."""

    def choose(self, name: str, value: str) -> None:
        self.find(f'#{name} [value="{value}"]').click()

    def go_to(self, step: int) -> None:
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        self.run(script, self.find("#step"), ALL_STEPS.index(step))

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
        return self.run("return [...document.querySelectorAll('.heat tbody img')].map((face) => face.alt)")

    @property
    def fragment(self) -> dict[str, str]:
        return dict(part.split("=") for part in self.run("return location.hash")[1:].split("&"))


def number(text: str) -> float:
    return float(text.replace("−", "-"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up run of the full size."""
    noise = np.random.default_rng(11).uniform(-1, 1, (32, 3, 64, 64))
    run = make_run(tmp_path_factory.mktemp("runs") / "full", ALL_STEPS, noise)
    render(run)
    return run


@pytest.fixture(scope="module")
def files(run: Path) -> RunFiles:
    return read_run(run)


@pytest.fixture
def page(driver: webdriver.Chrome, run: Path) -> Iterator[Explorer]:
    """The page, just opened; no test may leave an error in the console or have sent a request."""
    with Explorer(driver, (run / "report.html").as_uri()).watched() as page:
        yield page


def delta(files: RunFiles, step: int = LAST, view: str = "plain") -> np.ndarray:
    return views(files.evaluations[ALL_STEPS.index(step)])[view]["logit_delta"]


# What drives the page


def test_it_opens_on_the_largest_bracket_of_the_last_step(page: Explorer, files: RunFiles) -> None:
    i, j = PAIRS[int(files.evaluations[-1]["norm"].argmax())]
    assert page.text("#selection").startswith(f"Step {LAST}, plain: example {i}, then {j}, ")
    assert page.run("return location.hash") == ""  # nothing has been changed


def test_arrow_keys_and_mouse_move_the_slider_and_it_drives_everything(page: Explorer) -> None:
    pictures = ("#matrix", "#scatter", "#rank-readout", "#multiples [aria-current=true]", "#selection")
    page.hover(page.find(".bump .hair text"))
    before = [page.text(selector) for selector in pictures], page.colour(3, 3), page.run("return now.getAttribute('d')")
    slider = page.find("#step")
    page.run("arguments[0].focus()", slider)
    page.keys(Keys.ARROW_LEFT)
    assert page.text("#step-name") == "4000"
    assert slider.get_attribute("aria-valuetext").startswith("step 4000, validation loss 0.22")
    after = [page.text(selector) for selector in pictures], page.colour(3, 3), page.run("return now.getAttribute('d')")
    changed = [a != b for a, b in zip(before[0], after[0], strict=True)]
    assert changed == [True, False, True, True, True]  # the axes of the scatter plot stay, its points move
    assert before[1:] != after[1:]
    page.keys(Keys.HOME)
    assert page.text("#step-name") == "0"
    page.hover(page.find("h1"))
    ActionChains(page.driver).move_to_element(slider).click().perform()
    assert page.text("#step-name") == str(ALL_STEPS[6])


def test_the_points_of_the_scatter_plot_move_with_the_step(page: Explorer) -> None:
    place = "return [...document.querySelectorAll('#scatter circle')].map((circle) => circle.style.transform)"
    before = page.run(place)
    page.go_to(100)
    assert len(before) == TENSORS
    assert all(a != b for a, b in zip(before, page.run(place), strict=True))


@pytest.mark.parametrize("how", ["click", "Enter", "Space"])
def test_a_cell_of_the_matrix_selects_its_pair(page: Explorer, files: RunFiles, how: str) -> None:
    if how == "click":
        page.pair(1, 3).click()
    else:
        page.run("document.querySelector('#matrix [tabindex=\"0\"]').focus()")
        page.keys(Keys.HOME, *[Keys.ARROW_UP] * 6, Keys.ARROW_DOWN, *[Keys.ARROW_RIGHT] * 3)
        page.keys(Keys.ENTER if how == "Enter" else Keys.SPACE)
    norm = files.evaluations[-1]["norm"][PAIRS.index((1, 3))]
    assert page.text("#selection") == f"Step {LAST}, plain: example 1, then 3, size {norm:.3g}"
    assert page.pair(1, 3).get_attribute("aria-selected") == "true"
    assert page.run("return document.querySelectorAll('#matrix [aria-selected=true]').length") == 1
    expected = delta(files)[PAIRS.index((1, 3))]
    for row, column in ((0, 0), (7, 12), (31, 39)):
        assert page.change(row, column) == pytest.approx(
            expected[row, column], rel=6e-3, abs=np.abs(expected).max() / 3e4
        )


def test_the_other_way_round_is_the_negative(page: Explorer) -> None:
    page.pair(2, 4).click()
    forward, colours = page.change(5, 6), [page.colour(row, row) for row in range(8)]
    page.pair(4, 2).click()
    assert page.change(5, 6) == -forward != 0
    assert "negative of 2, then 4" in page.text("#pair-words")
    swapped = [page.colour(row, row) for row in range(8)]
    assert all(a != b for a, b in zip(colours, swapped, strict=True))
    assert page.pair(2, 4).text == page.pair(4, 2).text
    assert page.pair(4, 2).get_attribute("aria-label").endswith(", the negative")


def test_an_example_with_itself_selects_nothing(page: Explorer) -> None:
    before = page.text("#selection")
    page.pair(2, 2).click()
    assert page.text("#selection") == before


def test_hovering_gives_value_target_and_probability(page: Explorer, files: RunFiles) -> None:
    page.pair(0, 1).click()
    last = files.evaluations[-1]
    for row, column in ((3, 0), (9, 21)):
        value = page.change(row, column)
        assert value == pytest.approx(delta(files)[0][row, column], rel=6e-3, abs=1e-4)
        text = page.text("#change-readout")
        assert text.startswith(f"{ATTRIBUTES[column]} of example {row}: ")
        assert f"target {'yes' if last['y'][row, column] else 'no'}" in text
        shown = float(re.search(r"predicted ([\d.]+)\u00a0%", text)[1])
        assert shown == pytest.approx(100 / (1 + np.exp(-last["logits"][row, column])), abs=0.51)


def test_rows_and_columns_are_sorted_by_effect_and_back(page: Explorer, files: RunFiles) -> None:
    page.pair(0, 1).click()
    size = np.abs(delta(files)[0])
    columns = [ATTRIBUTES[a] for a in np.argsort(-size.mean(axis=0), kind="stable")]
    rows = [f"example {n}" for n in np.argsort(-size.mean(axis=1), kind="stable")]
    plain = [f"example {n}" for n in range(32)]
    for sort, expected in {
        "columns": (plain, columns),
        "rows": (rows, ATTRIBUTES),
        "both": (rows, columns),
        "none": (plain, ATTRIBUTES),
    }.items():
        page.choose("sort", sort)
        assert (page.rows(), page.texts(".heat thead span")) == expected, sort
    page.choose("sort", "both")
    largest = page.change(0, 0)
    n, a = int(rows[0].split()[1]), ATTRIBUTES.index(columns[0])
    assert largest == pytest.approx(delta(files)[0][n, a], rel=6e-3)


def test_the_colour_scale_is_of_one_step_or_of_all(page: Explorer, files: RunFiles) -> None:
    page.pair(0, 1).click()
    limits = [np.abs(delta(files, step)[0]).max() for step in ALL_STEPS]
    page.go_to(ALL_STEPS[int(np.argmin(limits))])
    n, a = np.unravel_index(np.abs(delta(files, ALL_STEPS[int(np.argmin(limits))])[0]).argmax(), (32, 40))
    for scale, limit in {"step": min(limits), "all": max(limits)}.items():
        page.choose("scale", scale)
        low, high = page.texts("#colours span")
        assert number(high) == -number(low) == pytest.approx(limit, rel=6e-3)
        alpha = re.search(r"rgba\(.*, ([\d.]+)\)|rgb", page.colour(n, a))[1] or 1
        assert float(alpha) == pytest.approx(min(limits) / limit, abs=0.01)


def test_a_view_drives_matrix_heat_map_scatter_plot_and_ranks(page: Explorer, files: RunFiles) -> None:
    page.pair(0, 1).click()
    page.hover(page.find(".bump .hair text"))
    for name, view in views(files.evaluations[-1]).items():
        page.choose("views", name)
        assert number(page.pair(0, 1).text) == pytest.approx(view["norm"][0], rel=0.06)
        assert page.change(4, 4) == pytest.approx(view["logit_delta"][0, 4, 4], rel=6e-3, abs=1e-4)
        page.hover(page.find(".bump .hair text"))
        named, rank = re.match(r"(.*): rank (\d+),", page.text("#rank-readout")).groups()
        ranks = {entry["name"]: entry["rank"] for entry in rank_attributes(view["logit_delta"], ATTRIBUTES)}
        assert int(rank) == ranks[named]
        fit = proportionality(view["rms_bracket"][0], pair_rms_gradient(view["rms_gradient"], 0, 1))
        assert f" is {fit['constant']:.3g} times the second" in page.text("#law-words")
        assert f"logarithms’ correlation is {fit['correlation']:.3g}".rstrip("0") in page.text("#law-words")
    assert "learning rate" in page.text("#changes-words")
    assert "squared" not in page.text("#changes-words")  # the last view is momentum


def test_a_checkpoint_that_lacks_a_view_says_so(page: Explorer) -> None:
    page.choose("views", "preconditioned")
    assert not page.find("#missing").is_displayed()
    page.go_to(0)
    assert page.find("#missing").text == (
        "Step 0 has no preconditioned view. Adam has no preconditioner before its first step."
    )
    assert set(page.texts("#matrix td:not(.same, .corner)")) == {"–"}
    page.hover(page.cell(1, 1))
    assert "no change to show" in page.text("#change-readout")
    page.choose("views", "momentum")
    assert not page.find("#missing").is_displayed()
    assert "–" not in page.texts("#matrix td:not(.same, .corner)")


def test_a_run_without_further_views_says_so_at_every_step(page: Explorer, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for path in (run / "evaluation").iterdir():
        edit_evaluation(path, views=np.array([], str))
    page.driver.get(render(run).as_uri())
    for view in ("momentum", "preconditioned"):
        page.choose("views", view)
        assert page.find("#missing").text == f"Step 100 has no {view} view."
    page.choose("views", "plain")
    assert not page.find("#missing").is_displayed()


def test_pointing_names_a_tensor_and_gives_its_sizes(page: Explorer, files: RunFiles) -> None:
    page.pair(0, 1).click()
    last = files.evaluations[-1]
    circles = page.driver.find_elements(By.CSS_SELECTOR, "#scatter circle")
    page.run(
        "document.querySelectorAll('#scatter circle').forEach((c, k) => k === 6 || c.remove())"
    )  # none is above it
    time.sleep(0.3)  # points glide to their places
    page.hover(circles[6])
    name, _, sizes = page.text("#tensor-readout").partition(": ")
    assert name == last["tensor_names"][6]
    bracket, gradient = map(number, re.findall(r"[\d.]+(?:e[−\d]+)?", sizes))
    assert bracket == pytest.approx(last["rms_bracket"][0, 6], rel=6e-3)
    assert gradient == pytest.approx(pair_rms_gradient(last["rms_gradient"], 0, 1)[6], rel=6e-3)


def test_a_small_multiple_goes_to_its_step(page: Explorer) -> None:
    buttons = page.driver.find_elements(By.CSS_SELECTOR, "#multiples button")
    assert [button.text.split("\n")[0] for button in buttons] == [f"step {step}" for step in ALL_STEPS]
    buttons[4].click()
    assert page.text("#step-name") == str(ALL_STEPS[4])


def test_a_run_of_one_step_in_which_nothing_moves_is_shown(page: Explorer, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (0,))
    sizes = {"norm": (15,), "logit_delta": (15, 32, 40), "rms_bracket": (15, TENSORS)}
    edit_evaluation(run / "evaluation" / "step_000000.npz", **{name: np.zeros(shape) for name, shape in sizes.items()})
    page.driver.get(render(run).as_uri())
    assert page.text("#selection") == "Step 0, plain: example 0, then 1, size 0"
    assert "no line could be fitted" in page.text("#law-words")
    assert page.change(2, 2) == 0
    stops = "return document.querySelectorAll('#scatter [tabindex=\"0\"]').length"
    assert page.run(stops) == 0
    page.choose("views", "momentum")
    assert page.change(2, 2) != 0
    assert page.run(stops) == 1


# The permalink


def test_the_fragment_is_written_and_restores_everything(page: Explorer) -> None:
    page.go_to(600)
    page.pair(5, 2).click()
    for name, value in (("views", "momentum"), ("scale", "all"), ("sort", "both")):
        page.choose(name, value)
    assert page.fragment == {"step": "600", "pair": "5-2", "view": "momentum", "scale": "all", "sort": "both"}
    parts = ("#selection", "#matrix", "#colours", "#law-words")
    shown, rows = [page.text(part) for part in parts], page.rows()
    page.open(page.run("return location.hash"))
    assert ([page.text(part) for part in parts], page.rows()) == (shown, rows)
    checked = page.run("return [...document.querySelectorAll('input:checked')].map((input) => input.value)")
    assert checked == ["momentum", "all", "both"]


def test_changes_replace_the_address_and_do_not_fill_the_history(page: Explorer) -> None:
    before = page.run("return history.length")
    for step in ALL_STEPS:
        page.go_to(step)
    assert page.run("return history.length") == before


def test_bad_parts_of_a_fragment_are_left_out(page: Explorer) -> None:
    before = page.text("#selection")
    page.open("#step=7&pair=9-9&view=constructor&scale=<b>&sort=rows&other=1&&=")
    assert page.text("#selection") == before
    assert page.run("return [...document.querySelectorAll('input:checked')].map((input) => input.value)") == [
        "plain",
        "step",
        "rows",
    ]
    for fragment in ("#%", "#=", "#step", "#step=600;pair=1", "#pair=1-1", "#step=-1", "#step=6e2"):
        page.open(fragment)
        assert page.text("#selection") == before, fragment


def test_a_change_of_the_fragment_and_a_link_of_a_table_are_followed(page: Explorer) -> None:
    page.run("location.hash = '#step=30&pair=3-1'")
    page.wait_for("#selection", "Step 30, plain: example 3, then 1,")  # the browser tells of the change a little later
    page.find('.wide [href="#step=1000"]').click()
    page.wait_for("#selection", "Step 1000, plain: example 3, then 1,")
    assert page.fragment["pair"] == "3-1"
    assert page.run("return document.querySelector('.wide tr.now').dataset.step") == "1000"


# By keyboard, and for those who cannot see


def test_every_control_and_picture_is_one_tab_stop_with_a_visible_focus(page: Explorer) -> None:
    stops = []
    for _ in range(60):
        page.keys(Keys.TAB)
        stop = page.run("""
          const node = document.activeElement;
          const ring = getComputedStyle(node.matches("[type=radio]") ? node.parentElement : node);
          const box = node.closest("#step, #matrix, #heat, #scatter, #multiples, #bump, #views, #scale, #sort");
          const seen = ring.outlineStyle !== "none" || node.matches("svg .on");
          return node === document.body ? null : [box?.id ?? node.tagName, seen];
        """)
        if stop is None:
            break
        stops.append(stop)
    names = [name for name, _ in stops if name not in ("SUMMARY", "A", "DIV")]
    assert names == ["step", "views", "matrix", "scale", "sort", "heat", "scatter", "multiples", "bump"]
    assert len([name for name, _ in stops if name == "SUMMARY"]) == 6
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
    assert page.run(f"return document.querySelectorAll('#{box} [tabindex=\"0\"]').length") == 1
    page.keys(Keys.TAB)
    assert not page.run(f"return document.getElementById('{box}').contains(document.activeElement)")
    page.driver.switch_to.active_element.send_keys(Keys.SHIFT, Keys.TAB)
    assert page.run(focused) == seen[2]  # it is remembered


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


def test_each_picture_has_its_table(page: Explorer, files: RunFiles) -> None:
    page.pair(0, 1).click()
    sizes = {"matrix-table": 15, "heat-table": 32, "scatter-table": TENSORS, "multiples-table": 13, "bump-table": 40}
    assert set(page.run("return [...document.querySelectorAll('#explorer details')].map((d) => d.id)")) == set(sizes)
    for name, rows in sizes.items():
        page.run(f"document.querySelector('#{name} summary').focus()")
        page.keys(Keys.ENTER)
        page.driver.implicitly_wait(2)  # a details element tells that it was opened a moment later
        page.find(f"#{name} tbody tr")
        page.driver.implicitly_wait(0)
        assert len(page.texts(f"#{name} tbody tr")) == rows, name
    cells = [number(text) for text in page.texts("#heat-table tbody tr:first-child td")]
    np.testing.assert_allclose(cells, delta(files)[0][0], rtol=6e-3, atol=1e-4)
    page.go_to(10)
    cells = [number(text) for text in page.texts("#heat-table tbody tr:first-child td")]
    np.testing.assert_allclose(cells, delta(files, 10)[0][0], rtol=6e-3, atol=1e-4)


def test_pictures_and_controls_have_names(page: Explorer) -> None:
    tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = {"grid", "slider", "radio", "button", "image", "img", "gridcell", "group", "DisclosureTriangle"}
    for node in tree:
        role = node.get("role", {}).get("value")
        # the cells of the heat map are given their texts as they are reached
        if role in named and not node.get("ignored") and role not in ("gridcell", "group"):
            assert node.get("name", {}).get("value"), (role, node)
    assert page.find("#selection").get_attribute("aria-live") == "polite"


# Looks


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_itself_does_not_scroll_sideways(page: Explorer, width: int) -> None:
    page.resize(width)
    page.run("for (const details of document.querySelectorAll('details')) details.open = true")
    assert page.run("return document.documentElement.scrollWidth") <= width
    page.run("scrollBy(50, 0)")
    assert page.run("return scrollX") == 0


@pytest.mark.parametrize(("width", "share"), [(390, 0.13), (1280, 0.1)])
def test_slider_and_views_stay_in_reach_and_leave_the_screen_to_the_rest(
    page: Explorer, width: int, share: float
) -> None:
    page.resize(width)
    page.run("document.getElementById('ranks').scrollIntoView()")
    top, height = page.run(
        "const box = document.getElementById('bar').getBoundingClientRect(); return [box.top, box.height]"
    )
    assert top == 0
    assert height <= share * 844
    assert page.run("return document.getElementById('ranks').getBoundingClientRect().top") >= height


def test_matrix_and_heat_map_are_seen_together_with_the_slider(page: Explorer) -> None:
    page.run("document.getElementById('sizes').scrollIntoView()")
    bottoms = page.run(
        "return ['matrix', 'heat'].map((id) => document.getElementById(id).getBoundingClientRect().bottom)"
    )
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


def test_print_is_black_on_white_unclipped_and_of_the_present_state(page: Explorer) -> None:
    page.choose("views", "momentum")
    page.resize(700)  # the text width of a sheet
    page.emulate(media="print", scheme="dark")
    body = page.find("body")
    assert body.value_of_css_property("color") == "rgba(0, 0, 0, 1)"
    assert body.value_of_css_property("background-color") == "rgba(255, 255, 255, 1)"
    assert page.find("#bar").value_of_css_property("position") == "static"
    assert min(page.run(CONTRASTS))[0] >= 4.5
    clipped = """return [...document.querySelectorAll(".scroll")].filter((box) => box.checkVisibility()
      && box.scrollWidth > box.clientWidth + 1).map((box) => box.textContent.slice(0, 40))"""
    assert page.run(clipped) == []
    assert page.run("return document.documentElement.scrollWidth") <= 700
    assert page.find("#views").text.split() == ["Steps", "momentum"]
    assert "momentum" in page.find("#selection").text
    assert page.colour(1, 1) not in ("rgba(0, 0, 0, 0)", "rgba(255, 255, 255, 1)")
    assert page.cell(1, 1).value_of_css_property("print-color-adjust") == "exact"


# Safety and speed


def test_a_hostile_name_is_shown_and_not_run(page: Explorer) -> None:
    column = ATTRIBUTES.index(HOSTILE)
    assert page.texts(".heat thead span")[column] == HOSTILE
    page.hover(page.cell(0, column))
    assert HOSTILE in page.text("#change-readout")
    assert HOSTILE in page.texts(".bump text")
    assert page.run("return document.scripts.length") == 2


def test_the_policy_refuses_other_scripts_and_every_request(page: Explorer) -> None:
    run = "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    assert page.run(f"{run}; return window.ran") is None
    script = "fetch('https://example.org').then(() => arguments[0]('sent'), () => arguments[0]('refused'))"
    assert page.driver.execute_async_script(script) == "refused"
    refusals = [entry["message"] for entry in page.driver.get_log("browser")]
    assert refusals
    assert all("Content Security Policy" in message for message in refusals)


def test_without_scripts_the_static_parts_are_there(page: Explorer) -> None:
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.open()
        tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    finally:
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    names = " ".join(node.get("name", {}).get("value", "") for node in tree if not node.get("ignored"))
    assert "Without JavaScript" in names
    assert "Loss against training step" in names
    assert "What was checked" in names
    assert "Which attributes are moved most" not in names


def test_the_first_paint_comes_within_a_second(page: Explorer) -> None:
    page.open()
    script = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    deadline = time.monotonic() + 10
    while (painted := page.run(script)) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert painted is not None
    assert painted <= 1000
