"""The report in a browser: sorting, filtering, enlarging, by mouse and keyboard, on paper, in the dark, on a phone."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import imdl_bench
from imdl_bench.leaderboard import Line, lines_of
from imdl_bench.report import write_report
from imdl_bench.runs import Run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip  # noqa: E501
Opened = Callable[..., "Page"]


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        _missing(f"no browser: none of {', '.join(BROWSERS)} is installed (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models on 24 pictures of the sample, and at nine levels of distortion on six."""
    out = tmp_path_factory.mktemp("results")
    imdl_bench.run("quickstart", ["ela", "noi1"], out=out, limit=24)
    imdl_bench.run("robustness-quick", ["ela", "noi1"], out=out, limit=6)
    return write_report([out / "runs"], out / "report.html").path


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """Open a report; afterwards, whatever it was used for, it must have asked for nothing and complained of nothing."""
    told: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})

    def open_page(path: Path, **media: str) -> Page:
        page = context.new_page()
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        own = ("data:", path.as_uri())
        page.on("request", lambda request: None if request.url.startswith(own) else told.append(request.url))
        page.emulate_media(**media)  # type: ignore[arg-type]
        page.goto(path.as_uri())
        return page

    yield open_page
    context.close()
    assert told == []


def _column(page: Page, section: str, name: str) -> list[str]:
    return page.evaluate(
        """([section, name]) => {
            const table = document.querySelector(`#${section} table`);
            const at = [...table.tHead.rows[0].cells].findIndex((head) => head.dataset.column === name);
            return [...table.tBodies[0].rows].map((row) => row.cells[at].textContent);
        }""",
        [section, name],
    )


def _numbers(page: Page, section: str, name: str) -> list[float]:
    return [float(text.split()[0]) for text in _column(page, section, name)]


def _head(page: Page, section: str, name: str) -> tuple[str | None, Callable[[], None]]:
    head = page.locator(f'#{section} th[data-column="{name}"]')
    return head.get_attribute("aria-sort"), lambda: head.locator("button").click()


def test_columns_sort_by_number_and_by_word_and_say_so(opened: Opened, report: Path) -> None:
    page = opened(report)
    before = _numbers(page, "leaderboard", "value")
    assert before != sorted(before) and _head(page, "leaderboard", "value")[0] is None
    _head(page, "leaderboard", "value")[1]()
    assert _numbers(page, "leaderboard", "value") == sorted(before, reverse=True)
    assert _head(page, "leaderboard", "value")[0] == "descending"
    _head(page, "leaderboard", "value")[1]()
    assert _numbers(page, "leaderboard", "value") == sorted(before)
    assert _head(page, "leaderboard", "value")[0] == "ascending"
    _head(page, "leaderboard", "model")[1]()
    models = _column(page, "leaderboard", "model")
    assert models == sorted(models) and _head(page, "leaderboard", "value")[0] is None


def test_filters_combine_and_the_count_is_announced(opened: Opened, report: Path) -> None:
    page = opened(report)
    status = page.locator("#leaderboard [data-status]")
    assert status.get_attribute("aria-live") == "polite"
    total = len(_column(page, "leaderboard", "model"))
    assert status.inner_text() == f"{total} of {total} rows"
    page.select_option('#leaderboard [data-select="metric"]', "pixel_auc/per-image")
    page.select_option('#leaderboard [data-select="model"]', "noi1")
    page.fill("#leaderboard [data-filter]", "JPEG 70")
    assert status.inner_text() == f"1 of {total} rows"
    assert _column(page, "leaderboard", "distortion") == ["jpeg(quality=70)"]
    page.fill("#leaderboard [data-filter]", "no such thing")
    assert status.inner_text() == f"0 of {total} rows" and _column(page, "leaderboard", "model") == []


def test_every_image_is_a_page_away(opened: Opened, report: Path) -> None:
    page = opened(report)
    page.select_option("#image-groups", index=0)
    assert len(_column(page, "images", "image")) == 24
    page.select_option('#images [data-select="forged"]', "pristine")
    assert set(_column(page, "images", "forged")) == {"pristine"}
    page.select_option('#images [data-select="forged"]', "")
    _head(page, "images", "noi1")[1]()
    values = _column(page, "images", "noi1")
    known = [float(value) for value in values if value != "–"]
    assert known == sorted(known, reverse=True) and values[len(known) :] == ["–"] * (24 - len(known))
    page.select_option("#image-groups", index=1)
    assert len(_column(page, "images", "image")) == 6


def test_a_picture_is_enlarged_and_let_go_by_mouse(opened: Opened, report: Path) -> None:
    page = opened(report)
    viewer, pictures = page.locator("#viewer"), page.locator(".picture")
    small = pictures.nth(2).locator("svg").bounding_box()
    pictures.nth(2).click()
    large = viewer.locator("#stage svg").bounding_box()
    assert small is not None and large is not None and large["height"] > 2 * small["height"]
    assert page.locator("#viewer-title").inner_text() == pictures.nth(2).locator("svg").get_attribute("aria-label")
    viewer.get_by_role("button", name="Next").click()
    assert page.locator("#viewer-place").inner_text() == f"4 of {pictures.count()}"
    viewer.get_by_role("button", name="Close").click()
    assert not viewer.is_visible()


def test_the_keyboard_alone_is_enough(opened: Opened, report: Path) -> None:
    page = opened(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the numbers"
    page.locator('#leaderboard th[data-column="value"] button').focus()
    page.keyboard.press("Enter")
    assert _head(page, "leaderboard", "value")[0] == "descending"
    page.keyboard.press("Space")
    assert _head(page, "leaderboard", "value")[0] == "ascending"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.locator(".picture").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    place = page.locator("#viewer-place")
    total = page.locator(".picture").count()
    assert place.inner_text() == f"2 of {total}"
    page.keyboard.press("ArrowRight")
    assert place.inner_text() == f"3 of {total}"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert place.inner_text() == f"{total} of {total}", "past the first lies the last"
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()
    # A dialog tells that it was closed a moment after it is gone.
    page.wait_for_function(
        f"[...document.querySelectorAll('.picture')].indexOf(document.activeElement) === {total - 1}", timeout=5000
    )
    inside = page.evaluate("document.querySelectorAll('.strip:first-of-type .picture[tabindex=\"0\"]').length")
    assert inside == page.locator(".strip").count(), "one picture of each image is in the tab order"


def test_a_link_to_a_run_opens_it(opened: Opened, report: Path) -> None:
    page = opened(report)
    assert page.locator("details.run[open]").count() == 0
    page.locator("#leaderboard tbody th a").first.click()
    page.locator("details.run[open] pre").wait_for()  # the page hears of its new address after the click
    assert page.locator("details.run[open]").count() == 1


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_width_scrolls_the_page_sideways(opened: Opened, report: Path, width: int) -> None:
    page = opened(report)
    page.set_viewport_size({"width": width, "height": 740})
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") == width


def _contrast(page: Page, selector: str) -> float:
    """Of a text with the page's background, as WCAG 2 defines it."""
    return page.evaluate(
        """(selector) => {
            const light = (colour) => {
                const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
                const [r, g, b] = parts.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const text = light(getComputedStyle(document.querySelector(selector)).color);
            const paper = light(getComputedStyle(document.body).backgroundColor);
            return (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05);
        }""",
        selector,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_reader_and_text_stands_out(opened: Opened, report: Path, scheme: str) -> None:
    page = opened(report, color_scheme=scheme)

    def brightness() -> int:
        return page.evaluate("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")

    for _ in range(2):
        assert (brightness() > 128) == (scheme == "light")
        for selector in ("p", "td", "td strong", ".small", ".status", "figcaption", "a", "dt", "thead button", "h4"):
            assert _contrast(page, selector) >= 4.5, selector
        page.locator("#theme").click()
        scheme = {"light": "dark", "dark": "light"}[scheme]
    page.reload()
    assert (brightness() > 128) == (scheme == "light"), "nothing is remembered"


def test_paper_is_white_and_holds_how_each_number_was_made(opened: Opened, report: Path) -> None:
    page = opened(report, color_scheme="dark")
    assert page.pdf().startswith(b"%PDF")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#leaderboard .tools").is_visible() and page.locator("#leaderboard table").is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    runs = page.locator("details.run")
    assert page.locator("details.run[open]").count() == runs.count() > 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details.run[open]").count() == 0


def test_without_scripts_the_numbers_and_pictures_are_there(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("#leaderboard tbody tr").count() > 50 and page.locator(".drawing svg").first.is_visible()
    assert page.locator(".picture").first.is_visible() and page.locator("noscript").first.is_visible()
    assert not page.locator("#leaderboard .tools").is_visible()
    context.close()


def test_thousands_of_rows_stay_light(
    opened: Opened, report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def many(run: Run) -> list[Line]:
        return [replace(line, distortion=f"level({n})", value=(n * 37 % 101) / 101) for line in lines_of(run)[:10] for n in range(112)]  # fmt: skip  # noqa: E501

    monkeypatch.setattr(sys.modules[lines_of.__module__], "lines_of", many)
    for name in ("plots", "compared"):
        monkeypatch.setattr(f"imdl_bench.report.page.{name}", lambda *_: [])
    quickstart = report.parent / "runs/quickstart"
    page = opened(write_report([quickstart], tmp_path / "many.html", gallery=0).path)
    assert page.locator("#leaderboard [data-status]").inner_text() == "2240 of 2240 rows, 1 to 250 shown"
    seconds = page.evaluate("""() => {
        const started = performance.now();
        document.querySelector('#leaderboard th[data-column="value"] button').click();
        document.body.offsetHeight;
        return (performance.now() - started) / 1000;
    }""")
    assert _numbers(page, "leaderboard", "value") == sorted(_numbers(page, "leaderboard", "value"), reverse=True)
    assert seconds < 2
    page.locator("#leaderboard").get_by_role("button", name="Next").click()
    assert page.locator("#leaderboard [data-status]").inner_text().endswith("251 to 500 shown")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#leaderboard tbody tr").count() == 2240
