"""The page of a diet in a real browser: it is readable on both widths and in both colour schemes, and loads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lie_ref.diet.run import run_diet
from lie_ref.diet.settings import DietSettings

pytest.importorskip("selenium")
from opened import CONTRASTS, Page
from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

pytestmark = pytest.mark.browser

# fmt: off
SETTINGS = DietSettings(
    faces=400, size=16, tasks=("hair",), runs=2, retrainings=2, steps=7, early=3, fractions=(0.8, 0.4), spawns=(0, 3),
    points=3,
)
# fmt: on


@pytest.fixture(scope="module")
def diet(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished diet."""
    out = tmp_path_factory.mktemp("diets") / "page"
    run_diet(SETTINGS, out, cache)
    return out


@pytest.fixture
def page(driver: webdriver.Chrome, diet: Path) -> Iterator[Page]:
    with Page(driver, (diet / "report.html").as_uri()).watched() as page:
        yield page


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_does_not_scroll_sideways(page: Page, width: int) -> None:
    page.resize(width)
    page.open()
    assert page.run("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(page: Page, scheme: str) -> None:
    page.emulate(scheme=scheme)
    page.run("for (const details of document.querySelectorAll('details')) details.open = true")
    found = page.run(CONTRASTS)
    assert len(found) > 100
    assert [text for contrast, text in found if contrast < 4.5] == []


def test_charts_and_images_have_names_and_charts_fit_into_their_frames(page: Page) -> None:
    charts = page.run("return [...document.querySelectorAll('svg')].map((s) => s.getAttribute('aria-label'))")
    assert len(charts) == 6 + 3  # the scores that select; windows, velocities, barriers
    assert all(charts)
    assert all(page.run("return [...document.querySelectorAll('img')].map((i) => i.alt)"))
    outside = """
      return [...document.querySelectorAll("svg")].filter((svg) => {
        const frame = svg.getBoundingClientRect();
        return [...svg.querySelectorAll("path, text")].some((part) => {
          const box = part.getBoundingClientRect();
          return box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 ||
            box.bottom > frame.bottom + 1;
        });
      }).length;
    """
    assert page.run(outside) == 0


def test_scrolling_tables_are_named_regions_that_the_keyboard_reaches(page: Page) -> None:
    boxes = "[...document.querySelectorAll('.scroll')]"
    found = page.run(f"return {boxes}.map((box) => [box.tabIndex, box.getAttribute('role')])")
    assert found == [[0, "region"]] * (7 + 1)  # seven of the task, and the settings
    assert all(page.run(f"return {boxes}.map((box) => box.ariaLabel || box.getAttribute('aria-labelledby'))"))


def test_tables_hold_every_number_of_the_charts(page: Page) -> None:
    script = "return [...document.querySelectorAll('details')].map((d) => d.querySelectorAll('tbody tr').length)"
    rows = page.run(script)
    pruning = 1 + 2 * (1 + 6)  # all; two fractions of random ones, and of the highest of six scores
    gains = 2 * (2 * 6 + 2 * 2)  # over all and random; two bracket scores over two rivals
    curves = 2 * 4 + 3 * 2 + 2 * 4  # windows; three bands over two intervals; three bands and all at two steps
    assert rows == [pruning, gains, curves]


def test_the_charts_of_the_subsets_have_named_axes_and_one_range(page: Page) -> None:
    charts = page.each(
        '[data-figure="subsets-hair"] svg', "[...node.querySelectorAll('text')].map((t) => t.textContent)"
    )
    assert len(charts) == 6
    assert all({"examples kept", "accuracy"} <= set(texts) for texts in charts)
    ticks = page.each(
        '[data-figure="subsets-hair"] svg', "[...node.querySelectorAll('text.end')].map((t) => t.textContent)"
    )
    assert all(of == ticks[0] for of in ticks)


def test_the_answer_and_a_figure_come_first_and_each_figure_has_a_sentence_with_a_number(page: Page) -> None:
    order = page.each("#hair ~ *", "node.className || node.dataset.figure || node.tagName")
    assert order[:2] == ["answer", "subsets-hair"]
    sentences = page.each(".says")
    assert len(sentences) == 1 + 3 + 1 + 1
    assert all(any(letter.isdigit() for letter in text) for text in sentences)


def test_figures_and_their_numbers_can_be_saved(page: Page) -> None:
    page.run("window.saved = []; save = (name, type, parts) => saved.push([name, type])")
    page.each(".downloads button", "node.click()")
    WebDriverWait(page.driver, 10).until(lambda _: page.run("return saved.length") == 2 * 3 + 2)
    names = {name for name, _ in page.run("return saved")}
    assert names == {f"{name}-hair.{kind}" for name in ("subsets", "windows") for kind in ("svg", "png", "csv")} | {
        "noise-hair.csv",
        "correlations-hair.csv",
    }


@pytest.mark.parametrize(("width", "says"), [(1280, False), (390, True)])
def test_a_table_that_scrolls_says_so_and_none_does_on_a_wide_screen(page: Page, width: int, says: bool) -> None:
    page.resize(width)
    page.open()
    script = "getComputedStyle(node, '::before').content"
    WebDriverWait(page.driver, 5).until(
        lambda _: any("scroll" in text for text in page.each("main > section .scroll", script)) == says
    )
    hidden = page.each(".scroll", "node.checkVisibility() && node.scrollWidth > node.clientWidth + 1")
    assert any(hidden) == says


def test_nothing_is_cut_off_in_print(page: Page) -> None:
    page.resize(700)  # the text width of a sheet
    page.emulate(media="print")
    assert not any(page.each(".scroll", "node.checkVisibility() && node.scrollWidth > node.clientWidth + 1"))
    assert page.run("return document.documentElement.scrollWidth") <= 700
