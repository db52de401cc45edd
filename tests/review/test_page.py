"""The review page in a real browser: a person decides by keys alone, and no decision is lost."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ports
import pytest
from browsing import Served, Watched, chromium, press, served, watch
from outputs import rows, settings
from predictors import ROUTER_LABELS, FixedPredictor
from written import picture, write_dicom

import dicomsort
from dicomsort.model.bundle import Bundle
from dicomsort.sorting.pipeline import sort
from dicomsort.system.escaping import unescape

if TYPE_CHECKING:
    from playwright.sync_api import APIResponse, Browser, Page, Route

PAGE = Path(dicomsort.__file__).parent / "review" / "page"
HOSTILE = "<img src=x onerror=alert(1)>.dcm"
IMAGES = 72


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def sorted_out(tmp_path_factory: pytest.TempPathFactory, small_bundle: Bundle) -> Path:
    """An output folder with all images in review/, three of each study; to be copied, not to be changed."""
    folder = tmp_path_factory.mktemp("review")
    write(folder / "in", IMAGES)
    sort(settings(folder / "in", folder / "out", review_below=1.0), FixedPredictor(small_bundle))
    assert sum(row["status"] == "review" for row in rows(folder / "out").values()) == IMAGES
    return folder / "out"


def write(folder: Path, count: int) -> None:
    for number in range(count):
        name = HOSTILE if number == 5 else f"{number:02}.dcm"
        elements = {"StudyInstanceUID": f"2.25.{number // 3 + 1}", "SOPInstanceUID": f"2.25.77{number}"}
        write_dicom(folder / f"s{number % 2}" / name, picture(number), **elements)


@pytest.fixture
def out(sorted_out: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sorted_out, tmp_path / "out"))


@dataclass(frozen=True)
class Sitting:
    """A page that several tests look at in turn, none of which leaves a decision behind."""

    out: Path
    server: Served
    page: "Page"
    seen: Watched

    def begin(self) -> "Page":
        """Open the page as if for the first time."""
        for noted in (self.seen.outside, self.seen.failed, self.seen.errors):
            noted.clear()
        self.page.goto(f"http://127.0.0.1:{self.server.port}/")
        shown(self.page)
        return self.page


@pytest.fixture(scope="module")
def sitting(
    browser: "Browser", sorted_out: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sitting]:
    out = Path(shutil.copytree(sorted_out, tmp_path_factory.mktemp("sitting") / "out"))
    [damaged] = [row["destination"] for path, row in rows(out).items() if path.endswith("/07.dcm")]
    (out / damaged).write_bytes((out / damaged).read_bytes()[:-900])
    with served(out) as server, opened(browser, server) as (page, seen):
        yield Sitting(out, server, page, seen)


def shown(page: "Page") -> None:
    page.wait_for_selector("body.ready")
    page.wait_for_selector(".tile.loaded")


@contextmanager
def opened(browser: "Browser", server: Served) -> Iterator[tuple["Page", Watched]]:
    """Open the page in a window of its own, with the images on screen."""
    with browser.new_context(viewport={"width": 1000, "height": 640}) as context:
        context.set_default_timeout(60_000)
        page = context.new_page()
        seen = watch(page, server.port)
        page.goto(server.address)
        shown(page)
        yield page, seen


def asked(page: "Page", path: str) -> Any:
    return page.evaluate("path => fetch(path).then(reply => reply.json())", path)


def listed(page: "Page", query: str = "status=review&undecided=1&sort=confidence&order=asc") -> list[int]:
    found: list[int] = asked(page, f"/api/ids?{query}")["ids"]
    return found


def paths(page: "Page", ids: list[int]) -> list[str]:
    return [item["path"] for item in asked(page, f"/api/items?ids={','.join(map(str, ids))}")["items"]]


def current(page: "Page") -> int:
    return int(page.locator(".tile.current").get_attribute("data-id") or -1)


def current_single(page: "Page") -> int:
    return int(page.locator(".strip .current").get_attribute("data-id") or -1)


def study_of(page: "Page", number: int) -> str:
    return str(asked(page, f"/api/items?ids={number}")["items"][0]["study"])


def says(page: "Page", where: str, text: str) -> None:
    """Wait until the page says something where it can be seen."""
    page.wait_for_function(
        """([where, text]) => {
            const found = document.querySelector(where);
            return found?.checkVisibility() && found.innerText.includes(text);
        }""",
        arg=[where, text],
    )


def are(page: "Page", where: str, count: int) -> None:
    """Wait until the page, which draws when the browser does, shows so many of these."""
    page.wait_for_function(
        "([where, count]) => document.querySelectorAll(where).length === count", arg=[where, count]
    )


def agree(out: Path, wanted: dict[str, str]) -> None:
    """The rows and the files say what was decided: {path: class}, and no other file was touched."""
    found = rows(out)
    assert {path: row["reviewed_label"] for path, row in found.items() if row["reviewed_label"]} == wanted
    for path, row in found.items():
        decided = wanted.get(path, "unsure")
        status = {"unsure": "review", "excluded": "excluded"}.get(decided, "sorted")
        assert row["status"] == status
        assert (
            row["destination"].split("/")[0] == {"unsure": "review"}.get(decided, decided)
            or status == "excluded"
        )
        if row["destination"]:
            assert (out / unescape(row["destination"])).read_bytes() == Path(unescape(path)).read_bytes()
    placed = {row["destination"] for row in found.values()} - {""}
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.dcm")} == set(map(unescape, placed))


def test_sixty_images_are_decided_by_keys_alone_and_every_decision_is_carried_out(
    browser: "Browser", out: Path
) -> None:
    models = {path: row["label"] for path, row in rows(out).items()}
    with served(out) as server, opened(browser, server) as (page, seen):
        ids = listed(page)
        order, following = paths(page, ids), ids[64]
        keys = ["1", "d", "Enter", "x", "q", "s", "3", "Enter", "p", "5"] * 6
        means = {"1": "abdominal", "d": "adult_chest", "x": "excluded", "q": "unsure", "s": "spine"}
        means |= {"3": "others", "p": "pediatric_chest", "5": "spine"}
        press(page, keys)
        wanted = {path: means.get(key, models[path]) for path, key in zip(order, keys, strict=False)}
        says(page, "#progress", "60 decided")
        press(page, ["u", "4"])  # the last one takes another class
        wanted[order[59]] = "pediatric_chest"
        press(page, ["Shift+ArrowRight"] * 3 + ["x"])
        says(page, "#message", "4 images: excluded; u takes it back")
        press(page, ["u", "2"])  # they are selected again
        wanted |= dict.fromkeys(order[60:64], "adult_chest")
        says(page, "#progress", "64 decided")
        page.wait_for_function(  # the page moves on once it has drawn the answer
            "id => document.querySelector('.tile.current')?.dataset.id === id", arg=str(following)
        )
        page.reload()
        shown(page)
        says(page, "#place", f"1 of {IMAGES - 64}")
        press(page, ["Control+a", "Enter", "f"])
        says(page, "#grid-empty", f"All {IMAGES} are decided. Ctrl-C in the terminal ends the program.")
        page.wait_for_selector("#facts", state="hidden")
        wanted |= {path: models[path] for path in order[64:]}
        assert server.close() == 0
        assert (seen.outside, seen.failed, seen.errors) == ([], [], [])
    agree(out, wanted)
    assert {row["reviewed_by"] for row in rows(out).values()} == {"Dr. A"}


def test_filter_sort_place_and_view_outlive_a_reload(sitting: Sitting) -> None:
    page = sitting.begin()
    page.keyboard.press("/")
    page.keyboard.type("s1")
    page.keyboard.press("Enter")
    says(page, "#place", f"1 of {IMAGES // 2}")
    image = current(page)
    page.locator("#filter-sort").select_option("path")
    page.locator("button.order").click()
    wanted = listed(page, "text=s1&sort=path&order=desc")
    says(page, "#place", f"{wanted.index(image) + 1} of")  # the image stays, its place in the list is another
    press(page, ["Home", "ArrowRight", "ArrowRight", "v"])
    says(page, "#single-where", f"3 of {len(wanted)}")
    page.wait_for_function("() => location.hash.includes('view=single')")
    page.reload()
    says(page, "#single-where", f"3 of {len(wanted)} · {Path(paths(page, wanted[2:3])[0]).name}")
    assert page.input_value("#search") == "s1"
    assert page.input_value("#filter-sort") == "path"
    assert (sitting.seen.outside, sitting.seen.errors) == ([], [])


def test_one_image_shows_its_pixels_and_its_study_and_answers_to_zoom_and_window(sitting: Sitting) -> None:
    page = sitting.begin()
    press(page, ["v"])
    full = page.wait_for_selector("#sheet img:not(.preview)")
    assert full is not None
    assert full.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [30, 40]
    says(page, "#strip-title", "Same study: 3 images")
    press(page, ["+", "+", "Shift+ArrowLeft"])
    says(page, "#single-window", "zoom 1.6 · center 128 width 246")
    page.mouse.move(400, 300)
    page.mouse.down(button="right")
    page.mouse.move(440, 300, steps=4)
    page.mouse.up(button="right")
    says(page, "#single-window", "width 286")
    press(page, ["r"])
    says(page, "#single-window", "zoom 1.0 · center 128 width 256")
    image = current_single(page)
    press(page, ["1"])
    says(page, "#single-where", "2 of")
    press(page, ["u"])
    says(page, "#single-where", "1 of")
    others = [button for button in listed(page, f"study={study_of(page, image)}") if button != image]
    page.locator(f".strip [data-id='{others[0]}']").click()
    page.wait_for_selector(f".strip .current[data-id='{others[0]}']")
    assert (sitting.seen.outside, sitting.seen.failed, sitting.seen.errors) == ([], [], [])


def test_the_help_names_every_key_and_escape_leads_back_from_the_filters(sitting: Sitting) -> None:
    page = sitting.begin()
    press(page, ["?"])
    for label in ROUTER_LABELS:
        says(page, "#help", label)
    keys = set(page.locator("#help kbd").all_inner_texts())
    assert keys >= {*"1a2d", *"xquvf/?r+", "Enter", "Space", "Esc"}
    press(page, ["?"])
    page.wait_for_selector("#help", state="hidden")
    page.keyboard.press("/")
    page.keyboard.type("1x")  # these are letters here, no decisions
    press(page, ["Escape", "Shift+Tab"])
    assert page.evaluate("() => document.activeElement.matches('button.refresh')")
    press(page, ["Escape", "ArrowRight"])
    assert page.evaluate("() => document.activeElement.id") == "grid"
    assert len(listed(page)) == IMAGES


def test_html_in_a_name_is_text_and_a_picture_that_cannot_be_drawn_says_why(sitting: Sitting) -> None:
    page = sitting.begin()
    page.locator("#search").fill("onerror")
    says(page, "#place", "1 of 1")
    says(page, ".facts", HOSTILE)
    press(page, ["Escape", "v"])
    says(page, "#single-where", HOSTILE)
    assert page.locator("img[src=x]").count() == 0
    assert sitting.seen.errors == []
    press(page, ["v"])
    page.locator("#search").fill("07.dcm")
    says(page, ".tile .fault", "pixel data is cut off")


def test_an_image_that_cannot_be_decided_says_why_on_its_tile(sitting: Sitting, sorted_out: Path) -> None:
    page = sitting.begin()
    [gone] = [row["destination"] for path, row in rows(sorted_out).items() if path.endswith("/09.dcm")]
    (sitting.out / gone).unlink()
    page.locator("#search").fill("09.dcm")
    says(page, "#place", "1 of 1")
    press(page, ["Escape", "1"])
    says(page, ".tile.refused .mark", "not decided: ")
    says(page, "#message", "1 image not decided: ")
    assert len(listed(page)) == IMAGES


def test_a_second_person_may_look_and_is_told_why_not_more(browser: "Browser", sitting: Sitting) -> None:
    with served(sitting.out) as second, opened(browser, second) as (page, seen):
        says(page, "#read-only", "Read-only: ")
        press(page, ["1", "Enter", "x", "u"])
        says(page, "#message", "Nothing can be decided here")
        are(page, "button.class:enabled, button.action:enabled", 0)
        assert (seen.errors, len(listed(page))) == ([], IMAGES)


def test_decisions_made_while_the_server_is_gone_are_sent_when_it_is_back(
    browser: "Browser", out: Path
) -> None:
    with (
        ports.reserved() as (port,),
        served(out, "--port", str(port)) as server,
        opened(browser, server) as (page, _),
    ):
        order = paths(page, listed(page))
        press(page, ["1"])
        says(page, "#progress", "1 decided")
        page.context.set_offline(True)  # a tunnel breaks, the program lives on
        press(page, ["5", "u", "5", "2"])
        says(page, "#banner", "4 decisions wait in this browser")
        page.context.set_offline(False)
        says(page, "#progress", "3 decided")
        server.kill()
        press(page, ["2", "3", "x"])
        says(page, "#banner", f"Run `dicomsort review {out} --port {port}` and open")
        are(page, ".tile.waiting", 3)
        with served(out, "--port", str(port)) as again:
            page.context.new_page().goto(again.address)  # the new program lets this browser in
            page.wait_for_selector("#banner", state="hidden")
            says(page, "#progress", "6 decided")
            are(page, ".tile.waiting", 0)
            assert again.close() == 0
    labels = ["abdominal", "spine", "adult_chest", "adult_chest", "others", "excluded"]
    agree(out, dict(zip(order, labels, strict=False)))


def test_a_spot_check_begins_with_what_was_drawn_and_says_how_much_was_right(
    browser: "Browser", tmp_path: Path, small_bundle: Bundle
) -> None:
    write(tmp_path / "in", 6)
    sort(settings(tmp_path / "in", tmp_path / "out", review_below=0.0), FixedPredictor(small_bundle))
    with served(tmp_path / "out", "--sample", "4") as server, opened(browser, server) as (page, _):
        says(page, "#place", "1 of 4")
        press(page, ["Enter", "Enter", "x"])
        says(page, "#sample", "Spot check: 3 of 4 answered, 2 right")
        press(page, ["f"])
        says(page, "#place", "1 of 1")
        assert page.locator("#progress-bar").evaluate("bar => [bar.value, bar.max]") == [3, 4]
        press(page, ["Enter", "f"])
        says(page, "#grid-empty", "All 4 of the spot check are answered")
        press(page, ["u"])
        says(page, "#place", "1 of 1")


def test_an_empty_list_says_nothing_is_left_only_where_it_is_true(browser: "Browser", out: Path) -> None:
    with served(out) as server, opened(browser, server) as (page, seen):
        everything = listed(page)
        press(page, ["Control+a", "x", "f"])
        says(page, "#grid-empty", f"All {IMAGES} are decided")
        press(page, ["u"])
        says(
            page, "#place", f"{IMAGES} selected · 1 of {IMAGES}"
        )  # back in the list, to be decided otherwise
        press(page, ["q", "f"])
        says(page, "#grid-empty", "All")
        page.locator("#filter-show").select_option("decided")
        says(page, "#place", f"of {IMAGES}")
        page.locator("#filter-reviewed").select_option("unsure")
        says(page, "#place", f"of {IMAGES}")
        assert sorted(listed(page, "decided=1&reviewed=unsure")) == sorted(everything)
        assert listed(page, "reviewed=excluded") == []
        page.context.set_offline(True)
        page.locator("#filter-reviewed").select_option("")
        says(page, "#message", "The list stays as it was until the server is back")
        says(page, "#place", f"of {IMAGES}")
        page.context.set_offline(False)
        page.wait_for_selector("#banner", state="hidden")
        page.wait_for_function("() => document.querySelector('#message').innerText === ''")
        assert seen.errors == []


def test_what_is_taken_back_stays_though_a_list_from_before_comes_late(browser: "Browser", out: Path) -> None:
    held: list[tuple[Route, APIResponse]] = []

    def hold_the_first(route: "Route") -> None:
        held.append((route, route.fetch())) if not held else route.continue_()

    with served(out) as server, opened(browser, server) as (page, seen):
        press(page, ["Control+a", "x"])
        says(page, "#progress", f"{IMAGES} decided")
        page.route("**/api/ids?*", hold_the_first)
        press(page, ["f"])
        while not held:
            page.wait_for_timeout(20)
        press(page, ["u"])
        says(page, "#progress", "0 decided")
        [(route, answer)] = held
        route.fulfill(response=answer)
        page.wait_for_timeout(200)  # for it to do harm
        says(page, "#place", f"{IMAGES} selected · 1 of {IMAGES}")
        press(page, ["q"])
        says(page, "#progress", f"{IMAGES} decided")
        assert seen.errors == []


def test_filters_that_hide_all_there_is_to_do_can_be_left(sitting: Sitting) -> None:
    page = sitting.begin()
    page.locator("#search").fill("nowhere")
    says(page, "#grid-empty", "No image to decide under these filters.")
    page.get_by_text("Show all to do").click()
    says(page, "#place", f"1 of {IMAGES}")
    assert page.input_value("#search") == ""
    page.get_by_text("Only this study").click()
    says(page, "#place", "1 of 3")
    says(page, ".chips", study_of(page, current(page)))
    press(page, ["Space", "7", "Escape"])
    says(page, "#message", "No class has the key 7")
    says(page, "#place", "1 of 3")
    press(page, ["Escape"])
    says(page, "#place", f"of {IMAGES}")
    assert page.locator(".chips").is_hidden()
    says(page, "#message", "")


def test_every_class_gets_a_key_while_there_are_any(sitting: Sitting) -> None:
    keys = page_keys(sitting.begin(), [f"a{number}" for number in range(30)])
    assert [key["digit"] for key in keys[:10]] == [*"123456789", ""]
    letters = [key["letter"] for key in keys if key["letter"]]
    assert sorted(letters) == sorted(set("abcdefghijklmnopqrstuvwxyz") - set("xqufvr"))
    assert [bool(key["digit"] or key["letter"]) for key in keys] == [True] * 29 + [False]


def page_keys(page: "Page", labels: list[str]) -> list[dict[str, str]]:
    """Ask the page which keys it gives to classes."""
    found: list[dict[str, str]] = page.evaluate(
        "async labels => (await import('/page/classes.js')).classKeys(labels)", labels
    )
    return found


@pytest.mark.parametrize("file", sorted(path.name for path in PAGE.iterdir()))
def test_nothing_of_the_page_comes_from_outside_or_writes_html(file: str) -> None:
    text = (PAGE / file).read_text(encoding="utf-8")
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)\S+", text) == []
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
        == []
    )
    assert re.findall(r"<script(?! type=\"module\" src=\"/page/)|<style| style=| on\w+=\"", text) == []
    if file.endswith(".js"):
        assert re.match(r"// [A-Z].*\.\n", text), "a sentence on top"
