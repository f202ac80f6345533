import os
import subprocess
import sys

import pytest

from pywrap.config.partial_settings import PartialSettings
from pywrap.config.search import load
from pywrap.config.settings import Chain, Proxy, Settings
from pywrap.errors import ConfigError
from tests.support.rules import direct


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Directories for each kind of default file, and an environment that knows of them."""
    for name in ("cwd", "xdg/pysocksify", "home/.config/pysocksify", "etc"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "cwd")
    return Places(tmp_path)


class Places:
    def __init__(self, root):
        self.root = root
        self.environ = {"XDG_CONFIG_HOME": f"{root}/xdg", "HOME": f"{root}/home"}

    def write(self, path, text=None):
        # Each file names the proxy after its own directory.
        file = self.root / path
        file.write_text(text or f"[ProxyList]\nsocks5 {path.partition('/')[0]} 1\n")
        return str(file)

    def load(self, partial=None, named=None, say=None):
        return load(partial, named, environ=self.environ, system_directory=f"{self.root}/etc", say=say)

    def said(self, partial=None, named=None):
        """What the user is told of files, with the root taken away."""
        lines = []
        self.load(partial, named, say=lines.append)
        return [line.replace(str(self.root), "") for line in lines]

    def host(self, **how):
        return self.load(**how).chain[0].host


CWD = "cwd/pysocksify.conf"
XDG = "xdg/pysocksify/pysocksify.conf"
HOME = "home/.config/pysocksify/pysocksify.conf"
ETC = "etc/pysocksify.conf"


def test_search_order(places):
    for path in (ETC, XDG, "variable", "named"):
        written = places.write(path)
        if path == "variable":
            places.environ["PYSOCKSIFY_CONF"] = written
        named = written if path == "named" else None
        assert places.host(named=named) == path.partition("/")[0]


def test_home_counts_where_xdg_says_nothing(places):
    places.write(HOME)
    places.write(ETC)
    assert places.host() == "etc"
    del places.environ["XDG_CONFIG_HOME"]
    assert places.host() == "home"


@pytest.mark.parametrize("directory", ["", "relative"])
def test_xdg_that_is_not_absolute_is_ignored(places, directory):
    places.write(HOME)
    places.environ["XDG_CONFIG_HOME"] = directory
    assert places.host() == "home"


def test_without_home_there_is_no_file_of_the_user(places):
    places.write(ETC)
    places.environ.clear()
    assert places.host() == "etc"


def test_empty_variable_is_unset(places):
    places.write(ETC)
    places.environ["PYSOCKSIFY_CONF"] = ""
    assert places.host() == "etc"


def test_environment_is_that_of_the_moment(places, monkeypatch):
    monkeypatch.setenv("PYSOCKSIFY_CONF", places.write("variable"))
    assert load().chain == (Proxy("socks5", "variable", 1),)


def test_named_file_that_is_missing_stops_everything(places):
    places.write(ETC)
    with pytest.raises(ConfigError) as caught:
        places.load(named="missing.conf")
    assert str(caught.value) == "cannot read the configuration file missing.conf: No such file or directory"
    places.environ["PYSOCKSIFY_CONF"] = "missing.conf"
    with pytest.raises(ConfigError) as caught:
        places.load()
    assert str(caught.value) == (
        "cannot read the configuration file missing.conf ($PYSOCKSIFY_CONF): No such file or directory"
    )


@pytest.mark.parametrize(
    "named, message",
    [
        ("", "cannot read the configuration file : No such file or directory"),
        (".", "cannot read the configuration file .: Is a directory"),
        ("a\0b", "cannot read the configuration file: a NUL in its name"),
    ],
)
def test_what_is_no_file(places, named, message):
    with pytest.raises(ConfigError) as caught:
        places.load(named=named)
    assert str(caught.value) == message


def test_a_pipe_is_read_to_its_end(places):
    reading, writing = os.pipe()
    os.write(writing, b"[ProxyList]\n")
    writer = subprocess.Popen(["echo", "socks5 piped 1"], stdout=writing)
    os.close(writing)
    # As the shell's <(...) is named.
    assert places.host(named=f"/dev/fd/{reading}") == "piped"
    os.close(reading)
    assert writer.wait() == 0


def test_a_pipe_without_a_writer_is_not_waited_for(places):
    fifo = places.root / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(ConfigError) as caught:
        places.load(PartialSettings(proxies=(Proxy("socks5", "typed"),)), str(fifo))
    assert str(caught.value) == f"cannot read the configuration file {fifo}: no process writes to this pipe"


def test_a_file_without_an_end_is_not_read_to_its_end(places):
    with pytest.raises(ConfigError) as caught:
        places.load(PartialSettings(), "/dev/zero")
    assert str(caught.value) == "cannot read the configuration file /dev/zero: more than 16 MiB"


def test_a_program_is_no_configuration_file(places):
    with pytest.raises(ConfigError) as caught:
        places.load(named=sys.executable)
    assert str(caught.value) == (f"{sys.executable}:1: a NUL byte: this is not a text file in ASCII or UTF-8")


def test_an_empty_file_names_no_proxy(places):
    with pytest.raises(ConfigError) as caught:
        places.load(named="/dev/null")
    assert str(caught.value) == "no proxy configured: there is none in /dev/null"


TYPED = PartialSettings(proxies=(Proxy("socks5", "typed"),))


def test_a_file_of_the_current_folder_is_never_read_by_itself(places):
    """It may be a stranger's: a folder that was unpacked, /tmp."""
    places.write(CWD, "route * direct\ndns local\nudp direct\n")
    assert places.load(TYPED).rules == ()
    assert places.said(TYPED) == []
    with pytest.raises(ConfigError) as caught:
        places.load()
    assert str(caught.value) == "no proxy configured"
    assert caught.value.hint == (
        "`-f pysocksify.conf` reads the file of the current folder, which is never read by itself"
    )
    places.write(ETC)
    assert places.host() == "etc"


@pytest.mark.parametrize("path", [XDG, HOME, ETC])
def test_a_proxy_that_was_given_is_not_weakened_by_a_file_that_was_not_named(places, path):
    weaker = "route * direct\ndns local\nudp direct\ndnat 192.0.2.1 127.0.0.1\n[ProxyList]\nsocks5 file 1\n"
    written = places.write(path, weaker)
    if path == HOME:
        del places.environ["XDG_CONFIG_HOME"]
    alone = Settings((Chain(TYPED.proxies),))
    assert places.load(TYPED) == alone
    # The launcher's own proxy is one that was given (-x embedded).
    assert places.load(PartialSettings(proxies=())) == Settings()
    # Who names it means it.
    assert places.load(TYPED, named=written).dns == "local"
    places.environ["PYSOCKSIFY_CONF"] = written
    assert places.load(TYPED).dns == "local"


def test_a_file_that_was_not_named_cannot_stop_a_proxy_that_was_given(places):
    places.write(ETC, "colour blue\n")
    (places.root / XDG).symlink_to("nowhere")
    assert places.load(TYPED).chain == TYPED.proxies
    places.environ["XDG_CONFIG_HOME"] = f"{places.write('plain')}"
    assert places.load(TYPED).chain == TYPED.proxies


def test_which_file_is_in_use_is_said_unless_it_has_just_been_named(places):
    path = places.write(XDG)
    assert places.said() == [f"settings from /{XDG}"]
    assert places.said(TYPED) == [
        f"not in use besides the proxy that was given: /{XDG} (`-f /{XDG}` for both)"
    ]
    assert places.said(TYPED, named=path) == []
    places.environ["PYSOCKSIFY_CONF"] = path
    assert places.said(TYPED) == places.said() == [f"settings from /{XDG}"]


@pytest.mark.parametrize(
    ("mode", "owner", "message"),
    [
        (0o646, None, "any user may write to the configuration file"),
        (0o644, 12345, "belongs to another user"),
    ],
)
def test_a_file_that_another_user_decides_about_is_read_only_when_it_is_named(places, mode, owner, message):
    path = places.write(XDG)
    os.chmod(path, mode)
    if owner is not None:
        if os.geteuid():
            pytest.skip("only root can give a file away")
        os.chown(path, owner, -1)
    with pytest.raises(ConfigError, match=message) as caught:
        places.load()
    assert f"`-f {path}`" in caught.value.hint
    assert places.host(named=path) == "xdg"


def test_default_file_that_is_there_and_wrong_stops_everything(places):
    places.write(ETC)
    path = places.write(XDG, "colour blue\n")
    with pytest.raises(ConfigError) as caught:
        places.load()
    assert str(caught.value) == f"{path}:1: unknown directive: `colour`"


def test_default_file_that_is_a_link_to_nowhere_stops_everything(places):
    places.write(ETC)
    (places.root / XDG).symlink_to("nowhere")
    with pytest.raises(ConfigError) as caught:
        places.load()
    assert str(caught.value) == (
        f"cannot read the configuration file {places.root}/{XDG}: No such file or directory"
    )


def test_default_file_that_cannot_be_read_stops_everything(places):
    places.write(ETC)
    # A directory, because root could read a file without permissions.
    (places.root / XDG).mkdir()
    with pytest.raises(ConfigError) as caught:
        places.load()
    assert str(caught.value) == f"cannot read the configuration file {places.root}/{XDG}: Is a directory"


def test_command_line_replaces_what_the_file_says(places):
    named = places.write(
        CWD, "dns local\nloopback deny\ndirect 10.0.0.0/8\ntimeout 5\n[ProxyList]\nsocks5 file 1\n"
    )
    typed = PartialSettings(proxies=(Proxy("socks4", "typed"),), dns="remote", rules=(direct(name="*.corp"),))
    settings = places.load(typed, named)
    assert settings.chain == typed.proxies
    assert (settings.dns, settings.loopback, settings.timeout) == ("remote", "deny", 5.0)
    assert settings.rules == (direct(name="*.corp"), direct("10.0.0.0/8"))


def test_file_is_read_even_when_its_proxies_are_replaced(places):
    named = places.write(CWD, "colour blue\n")
    with pytest.raises(ConfigError):
        places.load(TYPED, named)


def test_a_format_is_that_of_a_file(places):
    with pytest.raises(ConfigError) as caught:
        load(
            PartialSettings(proxies=(Proxy("socks5", "typed"),)),
            environ=places.environ,
            file_format="torsocks",
            system_directory=f"{places.root}/etc",
        )
    assert str(caught.value) == "no configuration file in the format `torsocks`"
    assert caught.value.hint == "`-f FILE` names one"


def test_no_proxy_anywhere(places):
    with pytest.raises(ConfigError) as caught:
        places.load()
    assert str(caught.value) == "no proxy configured"
    assert caught.value.hint == (
        "for one run: pysocksify -x socks5h://HOST:PORT PROGRAM; for all: [ProxyList] in"
        + f" {places.root}/xdg/pysocksify/pysocksify.conf or {places.root}/etc/pysocksify.conf\n"
        + "hint: `pysocksify --init` looks for the proxies of this machine, and writes that file"
    )


def test_no_proxy_in_the_file_that_counts(places):
    places.write(ETC)
    path = places.write(XDG, "dns remote\n")
    with pytest.raises(ConfigError) as caught:
        places.load()
    assert str(caught.value) == f"no proxy configured: there is none in {path}"
    assert caught.value.hint == f"name one with `-x socks5h://HOST:PORT`, or below [ProxyList] in {path}"


def test_proxies_that_the_launcher_brings_are_enough(places):
    assert places.load(PartialSettings(proxies=())).chain == ()


def test_all_destinations_can_have_chains_with_names(places):
    places.write(XDG, "route a work\nroute * block\n[ProxyList work]\nraw w 1\n")
    assert [len(chain.proxies) for chain in places.load().chains] == [0, 1]


@pytest.mark.parametrize("rest", ["", "route *:80 work\n", "route * proxy\n", "route 0.0.0.0/0 work\n"])
def test_what_is_left_needs_a_proxy(places, rest):
    path = places.write(XDG, f"{rest}[ProxyList work]\nraw w 1\n")
    with pytest.raises(ConfigError) as caught:
        places.load()
    assert str(caught.value) == f"no proxy configured: there is none in {path}"


def test_a_route_to_proxies_that_there_are_not_is_an_error(places):
    path = places.write(XDG, "dns remote\nroute a proxy\nroute * work\n[ProxyList work]\nraw w 1\n")
    with pytest.raises(ConfigError) as caught:
        places.load()
    assert str(caught.value) == f"{path}:2: no proxy configured for `route a proxy`"
    # The launcher brings one.
    assert places.load(PartialSettings(proxies=()), path).chain == ()


@pytest.mark.parametrize("dns", ["tor", "tcp://192.0.2.53"])
def test_names_that_are_asked_for_through_proxies_need_one(places, dns):
    path = places.write(XDG, f"dns {dns}\nroute * work\n[ProxyList work]\nraw w 1\n")
    with pytest.raises(ConfigError) as caught:
        places.load()
    assert str(caught.value).startswith(f"{path}:1: no proxy configured for `dns {dns}")
    # The launcher brings one.
    assert places.load(PartialSettings(proxies=()), path).dns.startswith(dns)
