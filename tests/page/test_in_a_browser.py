"""The page in Chromium: a tiny run's and a hostile one's, on light and dark paper, wide and narrow.

Tests skip where there is no Chromium or no playwright, that of axe-core's rules also where $AXE_CORE does not name its
axe.min.js; `.ci/run` fetches all three where it can.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from making import TOML, picture, write_table
from pipeline import report
from pipeline.__main__ import main
from pipeline.page.blocks import Cell, Section, Table
from pipeline.page.render import render
from running import CONFIG

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = Path(os.environ.get("AXE_CORE") or "no axe-core")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

SCHEMES, WIDTHS, PAGES = ("light", "dark"), (400, 1200), ("tiny", "hostile", "tables", "compared")
# No test waits for so long: without it a browser that hangs would hang them all.
_PATIENCE = 600_000

LABELS = [
    "<script>alert(1)</script> & {{ 7 * 7 }}",
    "\"'><img src=x onerror=alert(1)>",
    "\uac15\uc544\uc9c0 \uace0\uc591\uc774",
    "x" * 300,
]
ID, LABEL = '"><b onclick="alert(1)">', "\ub77c\ubca8 $x^2$ " + "y" * 300
HOSTILE_TOML = f"""
[data]
root = "input/tiny"
id = '{ID}'
labels = ['{LABEL}']
image = "train/{{file}}.png"
test = "test.csv"
test_image = "test/{{file}}.png"
sample_submission = "sample_submission.csv"
{TOML.partition("[folds]")[1]}{TOML.partition("[folds]")[2]}
"""
# The tables that are wider than what is seen of them.
CUT = "[...document.querySelectorAll('.table')].filter(t => t.scrollWidth > t.clientWidth).map(t => t.ariaLabel)"
NUMBERS: list[Cell] = [10, 9.5, None, -3, 1000, 2, None, 1e-7, 1_234_567.5]


def hostile_name(number: int) -> str:
    """An id that is markup, quoted, long or Korean."""
    return f"{LABELS[number % 4]} {number}"


def hostile_competition(place: Path) -> None:
    """Write a tiny competition whose names are meant to harm a page."""
    root = place / "input" / "tiny"
    for part, count in (("train", 24), ("test", 8)):
        for number in range(count):
            (root / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(number % 4, number + 1000 * (part == "test"))).save(root / part / f"{number}.png")
        rows: list[list[object]] = [[hostile_name(n), str(n), LABELS[n * 7 % 4]] for n in range(count)]
        write_table(root / f"{part}.csv", [ID, "file", LABEL], rows)
    write_table(root / "sample_submission.csv", [ID, LABEL], [[hostile_name(n), LABELS[0]] for n in range(8)])
    (place / "configs").mkdir()
    (place / "configs" / "tiny.toml").write_text(HOSTILE_TOML, encoding="utf-8")


@pytest.fixture(scope="module")
def pages(trained_place: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of a tiny run and of a hostile one, of a table alone, and of two runs that are compared."""
    tiny, hostile, tables = (tmp_path_factory.mktemp(name) for name in PAGES[:3])
    shutil.copytree(trained_place, tiny, dirs_exist_ok=True)
    hostile_competition(hostile)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny)
        assert main(["prepare", "report", *CONFIG]) == 0
        shutil.copytree("output/tiny", "output/other")
        shutil.copy("configs/tiny.toml", "configs/other.toml")
        assert report.main(["--config", "configs/other.toml"]) == report.main(["tiny", "other"]) == 0
        patch.chdir(hostile)
        assert main(["prepare", "folds", "train", "infer", "ensemble", "report", *CONFIG]) == 0
    rows = list(zip(NUMBERS, ["b", "a", None, "C", "10", "9", "\uac15", "\u00e4", "B"], strict=True))
    text = render("tables", [], [Section("a", "a", [Table("numbers", ("number", "name"), rows)])])
    (tables / "report.html").write_text(text, encoding="utf-8")
    found = {"tiny": tiny / "output/tiny", "hostile": hostile / "output/tiny", "tables": tables}
    return {name: folder / "report.html" for name, folder in found.items()} | {"compared": tiny / "output/compare.html"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window and without what a sandbox needs."""
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=_PATIENCE)
        yield chromium
        chromium.close()


@dataclass
class Shown:
    """A page as it is shown: what it asked for, and what it complained of."""

    page: Any
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def show(browser: Any, path: Path, width: int = 1200, scheme: str = "light", **options: Any) -> Shown:
    """Open a page in a context of its own."""
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, locale="en-US", **options
    )
    context.set_default_timeout(_PATIENCE)
    shown = Shown(context.new_page())
    shown.page.on("request", lambda request: shown.asked.append(request.url))
    shown.page.on("console", lambda message: shown.said.append(message.text))
    shown.page.on("pageerror", lambda error: shown.said.append(str(error)))
    shown.page.on("dialog", lambda dialog: (shown.said.append(dialog.message), dialog.dismiss()))
    shown.page.goto(path.as_uri())
    return shown


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_it_shows_all_and_asks_nobody(browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    shown = show(browser, pages[name], width, scheme)
    assert shown.said == []
    assert [url for url in shown.asked if not url.startswith("data:")] == [pages[name].as_uri()]
    images = shown.page.eval_on_selector_all("img", "all => all.map(image => [image.alt, image.naturalWidth])")
    assert all(alt and loaded for alt, loaded in images) and bool(images) == (name in ("tiny", "hostile"))
    wide = shown.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width, "nothing makes the page wider than the window"
    shown.page.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1200, "light")])
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.skipif(not AXE.is_file(), reason="$AXE_CORE names no axe.min.js, which the npm package axe-core holds")
def test_it_passes_the_rules_of_axe(browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    shown = show(browser, pages[name], width, scheme, bypass_csp=True)
    shown.page.add_script_tag(path=AXE)
    found = shown.page.evaluate("axe.run()")
    broken = [(rule["id"], node["html"][:300]) for rule in found["violations"] for node in rule["nodes"]]
    assert not broken
    assert "color-contrast" in {rule["id"] for rule in found["passes"]}
    shown.page.context.close()


def column(table: Any, index: int) -> list[str]:
    """The texts of a column, from above."""
    return table.locator(f"tbody td:nth-child({index + 1})").all_inner_texts()


@pytest.mark.parametrize(
    ("clicks", "numbers", "names"),
    [
        (1, sorted(filter(None, NUMBERS), key=float), ["10", "9", "a", "\u00e4", "b", "B", "C", "\uac15"]),
        (
            2,
            sorted(filter(None, NUMBERS), key=float, reverse=True),
            ["\uac15", "C", "B", "b", "\u00e4", "a", "9", "10"],
        ),
    ],
)
def test_a_click_sorts(
    browser: Any, pages: dict[str, Path], clicks: int, numbers: list[Cell], names: list[str]
) -> None:
    """Numbers as numbers, names as people sort them, what is not there last, whichever way."""
    shown = show(browser, pages["tables"])
    table = shown.page.locator("table")
    for _ in range(clicks):
        table.get_by_role("button", name="number").click()
    said = {1e-7: "0.0", 9.5: "9.5", 1000: "1,000", 1_234_567.5: "1,234,567.5"}
    dashes = ["\u2013", "\u2013"]
    assert column(table, 0) == [said.get(number, str(number)) for number in numbers] + dashes  # type: ignore[call-overload]
    for _ in range(clicks):
        table.get_by_role("button", name="name").click()
    assert column(table, 1) == [*names, "\u2013"]
    way = "ascending" if clicks == 1 else "descending"
    heads = table.locator("th").evaluate_all("all => all.map(head => head.getAttribute('aria-sort'))")
    assert heads == [None, way]
    shown.page.context.close()


@pytest.mark.parametrize("name", ["tiny", "hostile", "compared"])
def test_every_table_of_a_run_sorts_by_every_column(browser: Any, pages: dict[str, Path], name: str) -> None:
    shown = show(browser, pages[name])
    for table in shown.page.locator("table").all():
        before = sorted(table.locator("tbody tr").all_inner_texts())
        for index in range(table.locator("th").count()):
            table.locator("th button").nth(index).click()
            keys = table.locator(f"tbody td:nth-child({index + 1})").evaluate_all("all => all.map(c => c.dataset.key)")
            there = [key for key in keys if key]
            assert keys == there + [""] * (len(keys) - len(there))
            if all(key.replace(".", "").replace("-", "").replace("e", "").isdigit() for key in there):
                assert [float(key) for key in there] == sorted(float(key) for key in there)
        assert sorted(table.locator("tbody tr").all_inner_texts()) == before
    assert shown.said == []
    shown.page.context.close()


def test_paper_holds_every_table_whole(browser: Any, pages: dict[str, Path]) -> None:
    shown = show(browser, pages["hostile"], 720)
    assert shown.page.evaluate(CUT), "on a screen some tables scroll"
    shown.page.emulate_media(media="print")
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= 720
    assert shown.page.evaluate(CUT) == []
    shown.page.context.close()


def test_on_a_telephone_the_score_is_whole_and_long_names_take_few_lines(browser: Any, pages: dict[str, Path]) -> None:
    shown = show(browser, pages["hostile"], 400)
    charts = "[...document.querySelectorAll('#score .chart')].map(chart => chart.scrollWidth - chart.clientWidth)"
    assert max(shown.page.evaluate(charts)) <= 0
    heights = "[...document.querySelectorAll('#classes tr, #folds tr')].map(row => row.offsetHeight)"
    assert max(shown.page.evaluate(heights)) < 120
    wrapped = shown.page.locator("#classes .long").first
    before = wrapped.evaluate("span => span.offsetHeight")
    wrapped.hover()
    assert wrapped.evaluate("span => span.offsetHeight") > 2 * before, "all of it where it is pointed at"
    shown.page.context.close()
