"""The configuration file of the server."""

import pytest

from pywrap.errors import ConfigError
from pywrap.frozen import replace
from pywrap.server.chosen_options import Options
from pywrap.server.command_line import parse
from pywrap.server.limits import Limits
from pywrap.server.option_values import UsageError
from pywrap.server.udp.outbound import UdpRules


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "pysocksd.conf"
        path.write_text(text)
        return str(path)

    return write


def test_the_file_has_the_same_options(file):
    path = file(
        "# a comment\n\nlisten 0.0.0.0:1080\nlisten [::]:1080\n  users  /etc/my users\nquiet\nno-udp\n"
        "max-per-client 10\nrate 1M\nallow from 10.0.0.0/8\ndeny *\n"
    )
    options = parse(["-f", path])
    assert options == Options(
        (("0.0.0.0", 1080), ("::", 1080)),
        "/etc/my users",
        options.rules,
        Limits(per_client=10, rate=1 << 20),
        -1,
        udp=UdpRules(enabled=False),
    )
    assert [str(rule) for rule in options.rules] == [
        f"{path}:10: allow from 10.0.0.0/8",
        f"{path}:11: deny *",
    ]


@pytest.mark.parametrize(
    "text, message",
    [
        ("lisen 127.0.0.1:1", ":1: unknown option: `lisen`"),
        ("\n--listen 127.0.0.1:1", ":2: unknown option: `--listen`"),
        ("add-user alice", ":1: unknown option: `add-user`"),
        ("config other", ":1: unknown option: `config`"),
        ("listen", ":1: no value for `listen`"),
        ("no-udp yes", ":1: `no-udp` takes no value"),
        ("listen 127.0.0.1", ":1: not HOST:PORT: `127.0.0.1`"),
        ("deny connect conect *", ":1: unknown word `conect` in `deny connect conect *`"),
        ("max-binds many", ":1: `max-binds` takes a number: `many`"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_its_line(file, text, message):
    path = file(text)
    with pytest.raises(ConfigError) as caught:
        parse(["-f", path])
    assert not isinstance(caught.value, UsageError)
    assert str(caught.value) == f"{path}{message}"


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="^cannot read the configuration: .*none: No such file"):
        parse(["-f", str(tmp_path / "none")])
    with pytest.raises(ConfigError, match="^cannot read the configuration: .*: Is a directory"):
        parse(["-f", str(tmp_path)])
    (tmp_path / "latin").write_bytes(b"listen b\xfccher:1")
    with pytest.raises(ConfigError, match="not UTF-8"):
        parse(["-f", str(tmp_path / "latin")])
    with pytest.raises(UsageError, match="no value for `-f`"):
        parse(["-f", ""])


def test_the_default_file_need_not_be_there(file, tmp_path):
    assert parse([], str(tmp_path / "none")) == Options()
    path = file("quiet")
    assert parse([], path) == replace(Options(), verbosity=-1)
    assert parse(["-f", "/dev/null"], path) == Options()


def test_the_default_file_is_needed_where_it_is_named(tmp_path):
    none = str(tmp_path / "none")
    with pytest.raises(ConfigError, match="No such file"):
        parse(["-f", none], none)
