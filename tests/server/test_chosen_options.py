"""What counts of the options of the file and of the command line."""

import pytest

from pywrap.errors import ConfigError
from pywrap.server.chosen_options import Argument, Options, build
from pywrap.server.limits import Limits
from pywrap.server.option_table import OPTIONS
from pywrap.server.option_values import UsageError

FILE = "pysocksd.conf:7"


def written(*lines, place=""):
    """Arguments of ``lines``, each a name and a value."""
    return [
        Argument(OPTIONS[name], text, name, place)
        for name, _, text in (line.partition(" ") for line in lines)
    ]


def test_of_most_options_the_last_one_counts():
    given = written("max-binds 1", "max-per-client 10", "quiet", place=FILE)
    given += written("max-per-client 3", "verbose", "max-per-client 4")
    assert build(given) == Options(limits=Limits(per_client=4, binds=1), verbosity=1)


def test_a_list_of_the_command_line_replaces_that_of_the_file():
    given = written("listen 0.0.0.0:1", "listen [::]:1", "proxy socks5://a:1", place=FILE)
    given += written("listen [::1]:2", "listen 127.0.0.1:2")
    assert build(given).listen == (("::1", 2), ("127.0.0.1", 2))
    assert [proxy.host for proxy in build(given).proxies] == ["a"]


def test_rules_of_the_command_line_come_before_those_of_the_file():
    given = [*written("allow *:80", place=FILE), *written("deny *:25", "allow *:26")]
    assert [rule.text for rule in build(given).rules] == ["deny *:25", "allow *:26", "allow *:80"]


def test_each_limit_of_the_table_is_a_field():
    for option in OPTIONS.values():
        if option.limit:
            assert getattr(build(written(f"{option.name} 7")).limits, option.limit) == 7


def test_an_error_says_where_the_value_is_written():
    with pytest.raises(ConfigError, match="^pysocksd.conf:7: `workers` takes a number from 1: `0`") as caught:
        build(written("workers 0", place=FILE))
    assert not isinstance(caught.value, UsageError)
    with pytest.raises(UsageError, match="^`workers` takes a number from 1: `0`"):
        build(written("workers 0"))


def test_each_worker_has_a_port_for_its_counters():
    assert build(written("metrics 127.0.0.1:65534", "workers 2")).workers == 2
    with pytest.raises(UsageError, match="^no port for each of the workers: `65535`"):
        build(written("metrics 127.0.0.1:65535", "workers 2"))
