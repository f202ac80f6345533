from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.errors import ConfigError
from pywrap.launch.report import page, report
from pywrap.launch.report.rows import KINDS, ROUTES, STATES, Rows
from tests.support.log_lines import connection, direct, failed, line, name, refusal, run_line, write
from tests.support.run import run


def read(*lines):
    rows = Rows()
    for each in lines:
        rows.add(each)
    return json.loads(rows.json("0")), rows


def test_rows_are_in_order_of_time_and_say_what_happened():
    data, rows = read(run_line(9.0), failed(13.0), connection(10.0), refusal(12.0), direct(11.0), name(10.5))
    assert [(row[1], KINDS[row[0]], STATES[row[3]], ROUTES[row[4]]) for row in data["rows"]] == [
        (0.0, "connection", "ok", "tunnel"),
        (0.5, "name", "ok", "none"),
        (1.0, "connection", "ok", "direct"),
        (2.0, "refusal", "refused", "none"),
        (3.0, "connection", "failed", "tunnel"),
    ]
    texts = data["texts"]
    assert [texts[hop[0]] for hop in data["rows"][0][9]] == ["socks5h://first:1080", "socks4a://second:1080"]
    assert data["rows"][0][9][0][1:] == [0.01, 0.02, 0.03, 0.04]
    assert data["runs"][0]["program"] == "pip" and data["begin"] == 10.0
    assert rows.count == 6


def test_the_end_of_a_connection_is_added_to_it():
    end = line("end", 20.0, id="4121-10.0", seconds=10.0, sent=5, received=7, complete=True, by="broker")
    data, _ = read(connection(10.0), end)
    assert data["rows"][0][12]["sent"] == 5 and data["rows"][0][12]["open"] == 10.0


def test_a_patched_program_gets_the_bytes_that_the_broker_has_counted():
    relayed = connection(
        10.1,
        by="broker",
        route="direct",
        reason="the first proxy",
        client="100.64.0.1:5",
        local="127.0.0.1:9",
    )
    end = line("end", 20.0, id="4121-10.1", seconds=10.0, sent=5, received=7, complete=True, by="broker")
    data, _ = read(connection(10.0, local="100.64.0.1:5"), relayed, end)
    (row,) = data["rows"]
    assert (row[12]["sent"], row[12]["received"]) == (5, 7)


def test_what_is_no_line_of_ours_is_counted_and_left_out():
    torn = connection(1.0)[:50]
    others = ["{}", "null", "3", '{"v": 2}', torn, '{"v":1,"event":"connection","run":"r"}', "[" * 100000]
    data, rows = read(*others, "", "\n", connection(2.0), line("of the future", 1.0))
    assert (rows.strange, len(data["rows"])) == (len(others), 1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(json.loads(connection(1.0)))), json_values))
def test_no_line_stops_the_report(changes):
    rows = Rows()
    rows.add(json.dumps(json.loads(connection(1.0)) | changes))
    rows.add(connection(2.0))
    assert json.loads(rows.json("0"))["rows"]


def test_nothing_in_the_page_can_end_its_script():
    evil = "</script><script>alert(1)</script><!--<![CDATA[ {{script}} \u2028"
    rows = Rows()
    rows.add(connection(1.0, evil, error=evil, library=evil))
    text = page(rows)
    assert text.count("<script") == 2 and text.count("</script>") == 2
    assert "alert(1)<" not in text and text.count("<!--") == 0
    data = text.partition('id="data">')[2].partition("</script>")[0]
    assert evil in json.loads(data)["texts"]


def test_the_page_loads_nothing_and_allows_its_own_script_alone():
    rows = Rows()
    rows.add(connection(1.0))
    text = page(rows)
    policy = text.partition('Content-Security-Policy" content="')[2].partition('"')[0]
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy
    assert "{{" not in text and "http://" not in text and "https://" not in text and "src=" not in text


def test_the_page_is_for_this_user_alone_and_named_after_the_log(tmp_path):
    log = write(tmp_path / "run.jsonl", connection(1.0), "torn\n")
    assert report(str(log), None) == f"{tmp_path}/run.html: 1 line, 1 line not understood\n"
    assert (tmp_path / "run.html").stat().st_mode & 0o777 == 0o600
    assert report(str(log), "-").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot read the log"), ("", "no line of a log"), ("text\n", "no line of a log")],
)
def test_what_is_no_log_is_an_error(content, words, tmp_path):
    log = tmp_path / "log"
    if content is not None:
        log.write_text(content)
    with pytest.raises(ConfigError, match=words):
        report(str(log), None)


def test_the_command_makes_a_page_of_stdin_too(tmp_path):
    import sys

    words = sys.executable, "-m", "pywrap"
    ran = run(*words, "--report", "-", "-o", tmp_path / "page.html", input=connection(1.0))
    assert ran.out == f"{tmp_path / 'page.html'}: 1 line\n"
    assert "no PROGRAM" in run(*words, "--report", "x", "python", status=125).err
    assert "without `--report` or `--init`" in run(*words, "-o", "x", "python", status=125).err
