"""Where a confinement is not possible: one line and a hint, 125, and nothing is started.

Each in a user namespace of its own, whose limits are its own to lower.
"""

import pytest

from tests.support.confined import NEVER_REACHED as PROXY
from tests.support.run import pysocksify, run


@pytest.mark.parametrize("options", [("--confine", "on"), ()])
def test_it_is_told_why(forbidden, tmp_path, options):
    witness = tmp_path / "started"
    ran = run(*forbidden, *pysocksify(*options, "-x", PROXY), "touch", witness, status=125)
    assert not witness.exists()
    error, hint = ran.err.splitlines()
    assert error.startswith("pysocksify: error: ") and "cannot be confined: network namespaces" in error
    assert hint.startswith("hint: sysctl user.max_net_namespaces")


def test_a_python_that_is_covered_needs_none(forbidden):
    assert run(*forbidden, *pysocksify("-x", PROXY), "python3", "-c", "print(1)").out == "1\n"


def test_the_check_tells(forbidden):
    ran = run(*forbidden, *pysocksify("--check", "--confine")[:-1], status=1)
    assert "namespaces" in ran.out and "hint: sysctl" in ran.out


def test_the_check_where_it_is_possible(client):
    words = [word for word in client.command()[: client.command().index("-m")]]
    ran = run(*words, "-m", "pywrap", "--check", "--confine", cwd=client.package)
    assert ran.out.endswith("programs can be confined here\n")


def test_publish_without_a_confinement_is_an_error():
    ran = run(*pysocksify("-x", PROXY, "--publish", "8080"), "python3", "-c", "1", status=125)
    assert "`--publish` without a confinement" in ran.err
