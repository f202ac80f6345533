from pywrap.config.choices import Choices, combine, settle
from pywrap.config.settings import Direct, Proxy, Settings

FILE = Choices(
    chain=(Proxy("socks5", "of-the-file"),),
    dns="local",
    loopback="deny",
    direct=(Direct("10.0.0.0/8"), Direct(name="*.corp")),
    udp="block",
    listen="bind",
    timeout=5.0,
    connect_timeout=8.0,
    read_timeout=15.0,
    verbosity=-1,
)


def test_saying_nothing_changes_nothing():
    assert combine(Choices(), FILE) == FILE
    assert combine(FILE, Choices()) == FILE
    assert settle(Choices()) == Settings()


def test_first_replaces_second():
    line = Choices(
        chain=(Proxy("socks4", "typed"),), dns="remote", loopback="proxy", timeout=1.0, verbosity=0
    )
    both = combine(line, FILE)
    assert both.chain == line.chain
    assert (both.dns, both.loopback, both.timeout, both.verbosity) == ("remote", "proxy", 1.0, 0)
    assert (both.connect_timeout, both.read_timeout) == (8.0, 15.0)


def test_no_proxies_of_its_own_replace_those_of_the_file():
    assert combine(Choices(chain=()), FILE).chain == ()


def test_exempted_destinations_add_up():
    both = combine(Choices(direct=(Direct(name="*.corp"), Direct("fd00::/8"))), FILE)
    assert both.direct == (Direct("10.0.0.0/8"), Direct(name="*.corp"), Direct("fd00::/8"))


def test_every_setting_can_be_chosen():
    assert Choices.__match_args__ == Settings.__match_args__
    assert settle(FILE) == Settings(*(getattr(FILE, name) for name in Settings.__match_args__))
