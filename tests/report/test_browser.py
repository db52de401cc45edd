"""What is written for a person shows in a real browser: every picture, and nothing from elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from audits import header, image, output
from browsing import chromium
from outputs import settings
from predictors import FixedPredictor
from program import inside
from written import picture, write_dicom

from dicomsort.model.bundle import Bundle
from dicomsort.sorting.pipeline import sort

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Capture = pytest.CaptureFixture[str]
NAMES = [f"{number} #50%?.dcm" for number in range(6)]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, small_bundle: Bundle) -> Path:
    folder = tmp_path_factory.mktemp("seen")
    for number, name in enumerate(NAMES):
        write_dicom(folder / "in" / ("long name " * 20) / name, picture(number), BodyPartExamined="HAND")
    (folder / "in" / "torn.dcm").write_bytes(
        (folder / "in" / ("long name " * 20) / NAMES[0]).read_bytes()[:900]
    )
    sort(settings(folder / "in", folder / "out", review_below=1.0), FixedPredictor(small_bundle))
    return folder / "out"


def opened(browser: "Browser", file: Path, width: int = 1280) -> tuple["Page", list[str], list[str]]:
    """A page of a file, what it asked for, and what the browser complained of."""
    page = browser.new_page(viewport={"width": width, "height": 720})
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda line: said.append(line.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri(), wait_until="load")
    return page, asked, said


def check(page: "Page", pictures: int, width: int = 1280) -> None:
    """Every picture is there, and nothing is wider than the window."""
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    shown = "[...document.images].filter(one => one.complete && one.naturalWidth > 0).length"
    page.wait_for_function(f"{shown} === {pictures}")
    assert page.evaluate("document.images.length") == pictures
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width


def test_a_report_shows_in_a_browser_and_prints(out: Path, browser: "Browser", capfd: Capture) -> None:
    assert inside(capfd, "report", out, "--quiet").code == 0
    page, asked, said = opened(browser, out / "report.html")
    check(page, len(NAMES))
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [(out / "report.html").as_uri()]
    for link in page.locator("nav a").all():
        assert page.locator(link.get_attribute("href") or "").count() == 1
    assert page.pdf().startswith(b"%PDF")
    page.close()


@pytest.mark.parametrize("width", [1280, 400])
def test_an_audit_shows_in_a_browser(width: int, tmp_path: Path, browser: "Browser", capfd: Capture) -> None:
    rows = []
    for number in range(3):
        path = write_dicom(tmp_path / "in" / f"{number} #50%?.dcm", picture(number))
        told = header("CHEST", "AP", f"1.{number}")
        rows.append(image(str(path), header=told))
    made = output(tmp_path / ("long name " * 15), rows)
    assert inside(capfd, "audit", made, "--manifest-only", "--quiet").code == 0
    page, asked, said = opened(browser, made / "audit.html", width)
    check(page, 3, width)
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [(made / "audit.html").as_uri()]
    for link in page.locator("nav a").all():
        assert page.locator(link.get_attribute("href") or "").count() == 1
    assert page.pdf().startswith(b"%PDF")
    page.close()


def test_the_sheet_of_rendered_pictures_shows_in_a_browser(
    out: Path, tmp_path: Path, browser: "Browser", capfd: Capture
) -> None:
    shown = tmp_path / "shown #1"
    assert inside(capfd, "render", "--from", out, "--out", shown, "--quiet").code == 0
    page, asked, said = opened(browser, shown / "index.html")
    check(page, len(NAMES))
    assert said == []
    assert all(url.startswith(shown.as_uri()) for url in asked)
    page.close()
