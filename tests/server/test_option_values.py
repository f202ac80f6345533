"""The values of the server's options."""

import pytest

from pywrap.errors import ConfigError
from pywrap.server import option_values as values
from pywrap.server.option_table import OPTIONS


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("500000", 500_000), ("500K", 500 << 10), ("10m", 10 << 20), ("1G", 1 << 30)]
)
def test_sizes_have_units(text, size):
    assert values.size(text, "--rate") == size


@pytest.mark.parametrize("text", ["", "K", "1.5M", "-1", "1KB", "1T"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(values.UsageError, match="^`--rate` takes bytes: "):
        values.size(text, "--rate")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("proxy.example", False)],
)
def test_addresses_of_this_machine_alone_are_recognised(host, loopback):
    assert values.is_loopback(host) is loopback


def test_a_zone_is_for_listening_alone():
    assert values.parse_address("[fe80::1%eth0]:1080") == ("fe80::1%eth0", 1080)
    with pytest.raises(values.UsageError, match="not an address"):
        values.announced_address("fe80::1%eth0", "--udp-address")


def test_words_that_completions_offer_are_values():
    for option in OPTIONS.values():
        for word in option.words:
            option.read(word, option.name)


def test_a_command_of_explain_is_one_of_the_rules():
    assert values.parse_command("bind") == "bind"
    with pytest.raises(values.UsageError) as caught:
        values.parse_command("bnd")
    assert isinstance(caught.value, ConfigError) and caught.value.hint
