"""What the tests run programs with."""

from __future__ import annotations

import sys

import pytest

from tests.support.run import VERSIONS, environment, interpreters, run


def python(code, **options):
    return run(sys.executable, "-c", code, **options)


def test_the_last_line_is_the_result():
    ran = python("print('warming up'); print('{\"status\": 200}')")
    assert ran.json == {"status": 200}
    assert ran.out.splitlines()[0] == "warming up"


def test_a_wrong_status_shows_all_that_was_said():
    with pytest.raises(AssertionError) as caught:
        python("import sys; print('to stdout'); sys.exit('to stderr')")
    for part in ("expected status 0", "status 1", "to stdout", "to stderr", sys.executable):
        assert part in str(caught.value)


def test_another_status_can_be_expected():
    assert python("raise SystemExit(125)", status=125).status == 125
    assert python("raise SystemExit(7)", status=None).status == 7


def test_no_json_shows_all_that_was_said():
    with pytest.raises(AssertionError, match="(?s)no JSON.*hello"):
        python("print('hello')").json  # noqa: B018


def test_a_program_that_hangs_is_ended_with_its_children():
    code = (
        "import subprocess, sys, threading; print('here', flush=True);"
        "subprocess.Popen([sys.executable, '-c', 'import threading; threading.Event().wait()']);"
        "threading.Event().wait()"
    )
    # It returns only when every writer of its stdout is gone, the child too.
    with pytest.raises(AssertionError, match="(?s)not ended after 1 s.*here"):
        python(code, timeout=1)


def test_proxies_of_the_environment_of_the_tests_are_not_passed_on(monkeypatch):
    for name in ("ALL_PROXY", "https_proxy", "PYTHONPATH", "PYSOCKSIFY_CONF", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("HOME", "/nowhere")
    env = environment({"PYTHONPATH": "here", "PATH": None})
    assert "elsewhere" not in env.values()
    assert (env["HOME"], env["PYTHONPATH"]) == ("/nowhere", "here")
    assert "PATH" not in env


def test_interpreters_are_of_the_version_that_they_are_found_for():
    found = interpreters()
    assert set(found) <= set(VERSIONS)
    for version, path in found.items():
        assert run(path, "-V").out.split()[1].startswith(version + ".")
