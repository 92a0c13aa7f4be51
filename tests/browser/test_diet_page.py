"""The page of a diet in a real browser: readable at both widths and in both schemes, named, and silent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lie_ref.diet.run import run_diet
from lie_ref.diet.settings import DietSettings

pytest.importorskip("selenium")
from opened import CONTRASTS, Page
from selenium import webdriver

pytestmark = pytest.mark.browser

SETTINGS = DietSettings(
    faces=400,
    size=16,
    tasks=("hair",),
    runs=2,
    retrainings=2,
    steps=7,
    early=3,
    partners=2,
    fractions=(0.8, 0.4),
    spawns=(0, 3),
    points=3,
)


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
def test_the_page_itself_does_not_scroll_sideways(page: Page, width: int) -> None:
    page.resize(width)
    page.open()
    assert page.run("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(page: Page, scheme: str) -> None:
    page.emulate(scheme=scheme)
    page.run("for (const details of document.querySelectorAll('details')) details.open = true")
    found = page.run(CONTRASTS)
    assert len(found) > 100
    assert [text for contrast, text in found if contrast < 4.5] == []


def test_charts_and_pictures_have_names_and_curves_lie_in_their_frames(page: Page) -> None:
    charts = page.run("return [...document.querySelectorAll('svg')].map((s) => s.getAttribute('aria-label'))")
    assert len(charts) == 7 + 3  # the scores that choose; windows, velocities, barriers
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


def test_whatever_scrolls_is_reached_by_the_keyboard_and_has_a_name(page: Page) -> None:
    script = "return [...document.querySelectorAll('.scroll')].map((box) => [box.tabIndex, box.getAttribute('role')])"
    found = page.run(script)
    assert found == [[0, "region"]] * (7 + 1)  # seven of the task, and the settings


def test_every_figure_of_the_charts_stands_in_a_table(page: Page) -> None:
    for details in page.run("return [...document.querySelectorAll('details')]"):
        page.run("arguments[0].open = true", details)
    rows = page.run(
        "return [...document.querySelectorAll('details')].map((d) => d.querySelectorAll('tbody tr').length)"
    )
    pruning = 1 + 2 * (1 + 2 + 5 * 2)  # all; for two fractions random, two scores at the start, five's two ends
    gains = 2 * (2 * (2 + 5 * 2) + 2 * 2)  # of those over all and random ones, of two scores' highest over two rivals
    curves = 2 * 4 + 3 * 2 + 2 * 4  # windows; three bands over two intervals; three bands and all at two steps
    assert rows == [pruning, gains, curves]
