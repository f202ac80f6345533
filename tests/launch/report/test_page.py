"""The page in a headless Chromium: drawn, clicked, typed into, printed."""

from __future__ import annotations

import pytest

from pywrap.launch.report import report
from tests.support.log_lines import connection, direct, failed, name, refusal, run_line, write

# Seconds until 10,000 connections are drawn; on a busy machine, three times that.
SOON = 2.0

EVIL = "<img src=x onerror=\"document.title='owned'\">.example"


@pytest.fixture
def page(chromium, tmp_path):
    """Opens the report of some lines in a browser."""

    def opened(*lines):
        report(str(write(tmp_path / "run.jsonl", *lines)), None)
        chromium.media()
        chromium.complaints.clear()
        chromium.requests.clear()
        chromium.open(tmp_path / "run.html")
        return chromium

    return opened


LINES = (
    *(run_line(0.0), name(1.0), connection(1.1), connection(2.0, "other.example"), failed(3.0)),
    *(direct(4.0), refusal(5.0)),
)


def test_the_page_answers_what_went_where(page):
    it = page(*LINES)
    assert it.texts("#summary") == [
        "2 connections through proxies, 1 failed, 1 direct, 1 refused, 1 name looked up."
    ]
    assert it.texts("#notes") == ["socks5h://first:1080 → socks4a://second:1080"]
    rows = [text.split("\n") for text in it.texts(".row")]
    assert [row[2:4] for row in rows] == [
        ["example.org", "placeholder"],
        ["example.org:443", "ok"],
        ["other.example:443", "ok"],
        ["example.org:443", "EHOSTUNREACH"],
        ["10.0.0.7:443", "direct"],
        ["224.0.0.1:5353", "refused EPERM"],
    ]
    # A bar for each phase of each hop.
    assert it.run("document.querySelectorAll('.row:nth-child(2) .bar').length") == 5
    assert it.complaints == []
    assert [each for each in it.requests if not each.startswith("file:")] == []


def test_the_tables_tell_times_and_reasons(page):
    it = page(*LINES)
    first, second = it.texts("#by-hop tbody tr")
    assert first.split("\t") == [
        *("socks5h://first:1080", "3", "0", "100 ms", "100 ms", "10 ms", "10 ms", "20 ms", "20 ms"),
        *("30 ms", "30 ms", "40 ms", "40 ms"),
    ]
    # The last hop has said it.
    assert second.split("\t")[:5] == ["socks4a://second:1080", "3", "1", "100 ms", "100 ms"]
    assert it.texts("#by-destination tbody tr td:first-child") == ["example.org:443", "other.example:443"]
    assert it.texts("#refused tbody td:first-child") == [
        "EHOSTUNREACH: host unreachable",
        "EPERM: no multicast",
    ]
    assert it.texts("#direct tbody td:first-child") == ["route 10.0.0.0/8 direct"]


def test_typing_filters_rows_and_tables(page):
    it = page(*LINES)
    it.press("/")
    it.type("other")
    assert it.run("document.activeElement.id") == "search"
    assert [text.split("\n")[2] for text in it.texts(".row")] == ["other.example:443"]
    assert it.texts("#by-destination tbody tr td:first-child") == ["other.example:443"]
    assert "Shown: 1 of 6 rows." in it.texts("#summary")[0]
    it.press("Escape")
    assert len(it.texts(".row")) == 6
    it.type("urllib3 ehostunreach")
    assert len(it.texts(".row")) == 1
    it.type(" nothing has this")
    assert it.texts("#rows") == ["Nothing matches."]


def test_buttons_hide_groups_and_a_click_on_a_table_searches(page):
    it = page(*LINES)
    it.click("#show-tunnelled")
    it.click("#show-name")
    assert len(it.texts(".row")) == 3
    assert it.run("document.getElementById('show-name').getAttribute('aria-pressed')") == "false"
    it.click("#show-tunnelled")
    it.click("#by-destination tbody td button")
    assert it.run("document.getElementById('search').value") == "example.org:443"
    assert [text.split("\n")[2] for text in it.texts(".row")] == ["example.org:443"] * 2


def test_a_row_shows_its_details_by_mouse_and_by_keyboard(page):
    it = page(*LINES)
    it.click(".row:nth-child(4)")
    details = it.texts("#details")[0]
    assert "host unreachable" in details and "dial 10 ms" in details and "urllib3" in details
    it.press("Escape")
    assert it.run("document.getElementById('details').hidden")
    it.run("document.getElementById('waterfall').focus()")
    it.press("Home")
    it.press("ArrowDown")
    it.press("Enter")
    assert "example.org:443" in it.texts("#details h3")[0]
    assert it.run("document.querySelector('[aria-selected=true]').id") == "row-1"
    it.press("End")
    assert it.texts("#details h3") == ["224.0.0.1:5353"]


def test_tables_sort_by_a_click_on_their_head(page):
    it = page(*LINES)
    assert it.texts("#by-destination tbody td:first-child")[0] == "example.org:443"
    it.click("#by-destination th:nth-child(1) button")
    it.click("#by-destination th:nth-child(1) button")
    assert it.texts("#by-destination tbody td:first-child")[0] == "other.example:443"
    assert it.run("document.querySelector('#by-destination th').getAttribute('aria-sort')") == "descending"


def test_comparing_puts_all_bars_at_the_left(page):
    it = page(*LINES)
    lefts = "[...document.querySelectorAll('.bar.first')].map(each => each.style.left)"
    assert len(set(it.run(lefts))) > 1
    it.click("#scale-compare")
    assert set(it.run(lefts)) == {"0%"}


def test_names_that_are_markup_are_text(page):
    it = page(
        connection(1.0, EVIL), failed(2.0, error=EVIL, library=EVIL), name(3.0).replace("example.org", "<b>")
    )
    it.click(".row:nth-child(1)")
    assert (
        it.run("document.querySelectorAll('img, b').length - document.querySelectorAll('#summary b').length")
        == 0
    )
    assert it.run("document.title") == "pysocksify: report"
    assert it.texts("#details h3") == [f"{EVIL}:443"]
    assert it.complaints == []


def test_ten_thousand_connections_are_drawn_soon_and_few_of_them_exist(page):
    it = page(*(connection(number / 100, f"host{number % 500}.example") for number in range(10_000)))
    drawn = it.run("performance.getEntriesByName('drawn')[0].startTime") / 1000
    assert drawn < 3 * SOON
    assert it.run("document.querySelectorAll('.row').length") < 100
    it.run("document.getElementById('waterfall').scrollTop = 1e9")
    it.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert it.texts(".row:last-child .where") == ["host499.example:443"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_light_and_dark(scheme, page):
    it = page(*LINES)
    it.media(prefers_color_scheme=scheme)
    paper = it.run("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    # There is something to see: colours of bars, and not one colour alone.
    assert it.screenshot().startswith(b"\x89PNG") and len(it.screenshot()) > 20_000


def test_print_has_the_rows_and_no_buttons(page):
    it = page(*(connection(number / 100) for number in range(600)))
    assert it.pdf().startswith(b"%PDF")
    it.media("print")
    it.run("dispatchEvent(new Event('beforeprint'))")
    assert it.run("document.querySelectorAll('.row').length") == 500
    assert it.run("getComputedStyle(document.getElementById('controls')).display") == "none"
    assert it.run("document.getElementById('waterfall').scrollHeight") >= 500 * 22
    it.run("dispatchEvent(new Event('afterprint'))")


@pytest.mark.parametrize("width", [600, 760, 1000, 1600])
def test_there_is_room_for_the_bars_on_any_screen(width, page, tmp_path):
    it = page(*LINES)
    it.open(tmp_path / "run.html", width)
    assert it.run("document.querySelector('.bars').clientWidth") >= 150
    assert it.run("document.documentElement.scrollWidth") <= width
