import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from models.kernels.coverage_page import AttemptView, render_page
from models.kernels.coverage_page.page import packed_detail
from tests.models.agents.browsing import Browser, chromium, new_browser
from tests.models.kernels.coverage_page.views import HOSTILE, SECOND, full_view, small_view


def unpacked(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(text)))
    return found


def test_the_page_asks_the_network_for_nothing() -> None:
    page = render_page(small_view())
    assert re.findall(r"""(?:src|href)=['"](?!#|data:,)[^'"]*""", page.replace("&#34;", "")) == []
    assert "default-src 'none'" in page
    assert "@import" not in page


def test_words_from_outside_stay_words() -> None:
    page = render_page(small_view())
    assert HOSTILE not in page
    assert page.count("</script>") == page.count("<script")


def test_a_detail_holds_the_last_source_and_what_each_attempt_changed() -> None:
    view = small_view()
    detail = unpacked(packed_detail(view.operators[0], view))
    assert detail["source"] == SECOND + f"# {HOSTILE}"
    assert detail["attempts"][0]["diff"] == []
    changed = [line for line in detail["attempts"][1]["diff"] if line[0] in "+-"]
    assert changed == [
        "-    return self",
        "+    out = torch.empty(self.shape)",
        "+    return out",
        f"+# {HOSTILE}",
    ]


def test_a_source_with_a_lone_surrogate_does_not_stop_the_page() -> None:
    view = small_view()
    attempt = AttemptView(call_no=1, sha="c", source="x = '\ud800'")
    odd = view.operators[0].model_copy(update={"attempts": (attempt,)})
    page = render_page(view.model_copy(update={"operators": (odd,)}))
    page.encode()


def test_the_same_view_gives_the_same_page() -> None:
    assert render_page(small_view()) == render_page(small_view())


@pytest.mark.slow
def test_a_page_of_629_operators_with_three_sources_each_stays_below_eight_megabytes() -> None:
    size = len(render_page(full_view()).encode())
    assert size < 8_000_000, size


@pytest.fixture(scope="module")
def started() -> Any:
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(started: Any, tmp_path: Path) -> Browser:
    (tmp_path / "coverage.html").write_text(render_page(small_view()), encoding="utf-8")
    browser = new_browser(started, (tmp_path / "coverage.html").as_uri())
    browser.page.goto(browser.url)
    return browser


def rows(browser: Browser) -> list[str]:
    return browser.texts("#table tbody tr td:first-child")


def opened(browser: Browser, name: str) -> str:
    browser.wait(f"document.getElementById('detail').dataset.shown === '{name}'")
    return str(browser.page.locator("#detail").inner_text())


@pytest.mark.stack
def test_search_and_filters_leave_the_operators_that_fit(browser: Browser) -> None:
    page = browser.page
    assert rows(browser) == ["abs", "empty", "exp", "fft.fft", "nn.functional.view"]
    page.get_by_label("Search operators").fill("FUNCTIONAL")
    assert rows(browser) == ["nn.functional.view"]
    assert page.locator("#shown").inner_text() == "1 of 5 operators"
    page.get_by_role("button", name="Clear").click()
    browser.wait("document.querySelectorAll('#table tbody tr').length === 5")
    for label, option, left in [
        ("Status", "failed", ["exp"]),
        ("Family", "unary", ["abs", "exp"]),
        ("Rule", "pointwise", ["abs", "exp"]),
        ("Rule", "hand-written", ["nn.functional.view"]),
        ("Set", "paper-like set", ["abs", "empty", "exp", "nn.functional.view"]),
        ("Fails in", "fails in float32", ["exp", "fft.fft"]),
        ("Does not compile for", "not compiled for gfx942", ["abs"]),
    ]:
        page.get_by_label(label, exact=True).select_option(label=option)
        assert rows(browser) == left, label
        page.get_by_role("button", name="Clear").click()
        browser.wait("document.querySelectorAll('#table tbody tr').length === 5")
    page.get_by_role("button", name="tests").click()
    assert rows(browser)[0] == "fft.fft"
    assert browser.complaints == []


@pytest.mark.stack
def test_an_operator_opens_with_its_source_session_and_changes(browser: Browser) -> None:
    browser.page.get_by_role("link", name="abs", exact=True).first.click()
    said = opened(browser, "abs")
    assert "abs · kernel-backed" in said
    assert "out = torch.empty(self.shape)" in said
    assert "1.25 s TEST (call 1) 3 of 4 passed" in said
    browser.page.locator("#detail summary", has_text="Call 2").click()
    added = browser.texts("#detail pre .a")
    assert "+    return out" in added
    assert browser.texts("#detail pre .c") == ["-    return self"]
    browser.picture("kernels-coverage-operator")
    browser.page.keyboard.press("Escape")
    browser.wait("!document.getElementById('detail').open")
    assert browser.complaints == []
    assert browser.page.title().startswith("Kernels </script>")


@pytest.mark.stack
def test_a_failure_shows_where_the_first_wrong_tensor_is_wrong(browser: Browser) -> None:
    browser.page.goto(f"{browser.url}#op=exp")
    said = opened(browser, "exp")
    assert "First failure: wrong in float32" in said
    assert "shape [2, 3] is wrong: 2 elements" in said
    cells = browser.page.locator("#detail .heat rect")
    places = [(cells.nth(n).get_attribute("x"), cells.nth(n).get_attribute("y")) for n in range(2)]
    assert places == [("1", "0"), ("2", "1")]
    assert browser.complaints == []


@pytest.mark.stack
def test_a_tile_of_the_map_and_a_rule_lead_to_what_they_name(browser: Browser) -> None:
    browser.page.locator("svg.map a[href='#op=nn.functional.view']").click()
    assert "metadata only" in opened(browser, "nn.functional.view")
    browser.page.get_by_role("button", name="Close").click()
    browser.page.get_by_role("link", name="views", exact=True).click()
    browser.wait("document.querySelectorAll('#table tbody tr').length === 1")
    assert rows(browser) == ["nn.functional.view"]
    assert browser.complaints == []


@pytest.mark.stack
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_ground_differ_in_light_and_dark(
    started: Any, browser: Browser, scheme: str
) -> None:
    browser.page.emulate_media(color_scheme=scheme)
    ink, ground = browser.page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )

    def brightness(colour: str) -> float:
        return sum(float(part) for part in re.findall(r"[\d.]+", colour)[:3]) / 765

    is_dark = scheme == "dark"
    assert (brightness(ground) < brightness(ink)) == is_dark
    assert abs(brightness(ink) - brightness(ground)) > 0.6
    browser.picture(f"kernels-coverage-{scheme}")


@pytest.mark.stack
@pytest.mark.slow
def test_all_operators_are_usable(started: Any, tmp_path: Path) -> None:
    (tmp_path / "coverage.html").write_text(render_page(full_view()), encoding="utf-8")
    browser = new_browser(started, (tmp_path / "coverage.html").as_uri())
    browser.page.goto(browser.url)
    assert len(rows(browser)) == 200
    browser.page.get_by_label("Search operators").fill("softmax")
    found = rows(browser)
    assert found
    assert all("softmax" in name for name in found)
    browser.page.get_by_role("link", name="softmax", exact=True).first.click()
    assert "tl.load" in opened(browser, "softmax")
    assert browser.complaints == []
    assert [url for url in browser.asked if not url.startswith(("file:", "data:"))] == []
    browser.picture("kernels-coverage-all")
