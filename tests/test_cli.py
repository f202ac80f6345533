import os
import subprocess
import sys
import types

import pytest

import pywrap
from pywrap import cli
from pywrap.config import rules
from pywrap.config.settings import Proxy
from tests.rules import direct
from tests.run import environment

PROXY = ["-x", "socks5h://h"]


class Launched(Exception):
    """Stands for the exec, after which nothing of ours runs."""


class LaunchError(Exception):
    def __init__(self, message, hint="", status=125):
        super().__init__(message)
        self.hint = hint
        self.status = status


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The configuration file of every test here, empty: never one of this machine's."""
    file = tmp_path / "pysocksify.conf"
    file.touch()
    monkeypatch.setenv("PYSOCKSIFY_CONF", str(file))
    return file


@pytest.fixture
def launches(monkeypatch, config):
    """A function that runs the command and returns what it would have launched."""
    calls = []

    def launch(settings, command, embedded):
        calls.append((settings, command, embedded))
        raise Launched

    replace_launch(monkeypatch, launch)

    def run(*argv):
        assert cli.main(list(argv)) == 125
        return calls.pop()

    return run


def replace_launch(monkeypatch, launch):
    fake = types.ModuleType("pywrap.launch.command")
    fake.launch = launch
    fake.LaunchError = LaunchError
    monkeypatch.setitem(sys.modules, "pywrap.launch.command", fake)


@pytest.fixture
def fails(capsys, config):
    """A function that runs the command and returns what it complained about."""

    def run(*argv):
        assert cli.main(list(argv)) == 125
        out, err = capsys.readouterr()
        assert out == ""
        return err

    return run


# ---------------------------------------------------------------- what is launched


@pytest.mark.parametrize(
    "argv, command",
    [
        (["python", "app.py"], ["python", "app.py"]),
        (["--", "python"], ["python"]),
        (["python", "-x", "socks5://other", "--help"], ["python", "-x", "socks5://other", "--help"]),
        (["python", "--", "-q"], ["python", "--", "-q"]),
        (["--", "--", "-q"], ["--", "-q"]),
        (["--", "-odd-name"], ["-odd-name"]),
        (["-"], ["-"]),
        ([""], [""]),
    ],
)
def test_what_follows_the_program_is_its_own(launches, argv, command):
    _, launched, embedded = launches(*PROXY, *argv)
    assert (launched, embedded) == (command, False)


@pytest.mark.parametrize(
    "argv, field, value",
    [
        (["-xsocks4://h"], "chain", (Proxy("socks4", "h"),)),
        (["--proxy", "socks4://h"], "chain", (Proxy("socks4", "h"),)),
        (["--proxy=socks4://h"], "chain", (Proxy("socks4", "h"),)),
        (["-x", "socks5://a", "-x", "socks5://b"], "chain", (Proxy("socks5", "a"), Proxy("socks5", "b"))),
        (["-x", "embedded"], "chain", ()),
        ([*PROXY, "--dns", "local"], "dns", "local"),
        ([*PROXY, "--dns", "local", "--dns=remote"], "dns", "remote"),
        ([*PROXY, "--loopback=deny"], "loopback", "deny"),
        ([*PROXY, "--udp", "block"], "udp", "block"),
        ([*PROXY, "--listen=bind"], "listen", "bind"),
        ([*PROXY, "--direct", "10.0.0.0/8,*.a"], "rules", (direct("10.0.0.0/8"), direct(name="*.a"))),
        ([*PROXY, "--direct", "a", "--direct", "b"], "rules", (direct(name="a"), direct(name="b"))),
        ([*PROXY, "--timeout", "2.5"], "timeout", 2.5),
        (PROXY, "verbosity", 0),
        ([*PROXY, "-q"], "verbosity", -1),
        ([*PROXY, "--quiet"], "verbosity", -1),
        ([*PROXY, "-v"], "verbosity", 1),
        ([*PROXY, "-vv"], "verbosity", 2),
        ([*PROXY, "-v", "--verbose"], "verbosity", 2),
        ([*PROXY, "-vvv"], "verbosity", 2),
        ([*PROXY, "-q", "-v"], "verbosity", 1),
        (["-vx", "socks5h://h"], "verbosity", 1),
        (["-vqxsocks5h://h"], "verbosity", -1),
    ],
)
def test_options_become_settings(launches, argv, field, value):
    settings, command, _ = launches(*argv, "program")
    assert getattr(settings, field) == value
    assert command == ["program"]


def test_embedded_server_is_the_nearest_hop(launches):
    settings, _, embedded = launches("-x", "embedded", "-x", "socks5://far", "program")
    assert (embedded, settings.chain) == (True, (Proxy("socks5", "far"),))


def test_options_replace_what_the_file_says(launches, config):
    config.write_text("dns local\nloopback deny\ndirect a\nquiet_mode\n[ProxyList]\nsocks5 file 1\n")
    settings, _, _ = launches("program")
    assert settings.chain == (Proxy("socks5", "file", 1),)
    settings, _, _ = launches("-x", "embedded", "--dns", "remote", "--direct", "b", "-v", "program")
    assert (settings.chain, settings.dns, settings.loopback) == ((), "remote", "deny")
    assert settings.rules == (direct(name="b"), direct(name="a"))
    assert settings.verbosity == 1


def test_named_file_is_the_only_one_read(launches, config, tmp_path):
    config.write_text("colour blue\n")
    (tmp_path / "other").write_text("[ProxyList]\nsocks5 other 1\n")
    settings, _, _ = launches("-f", str(tmp_path / "other"), "program")
    assert settings.chain == (Proxy("socks5", "other", 1),)


# ---------------------------------------------------------------- what is refused

USAGE = "hint: usage: pysocksify [OPTIONS] [--] PROGRAM [ARG]..., and -h for a summary\n"
OURS = "hint: options of PROGRAM stand after it; -h shows ours\n"


@pytest.mark.parametrize(
    "argv, text",
    [
        ([], "no PROGRAM to run\n" + USAGE),
        (PROXY, "no PROGRAM to run\n" + USAGE),
        (["--"], "no PROGRAM to run\n" + USAGE),
        (["-m", "http.server"], "unknown option: `-m`\n" + OURS),
        (["-qz"], "unknown option: `-z`\n" + OURS),
        (["--prox", "a"], "unknown option: `--prox`\nhint: did you mean `--proxy`?\n"),
        (["--proxy-url=a"], "unknown option: `--proxy-url`\nhint: did you mean `--proxy`?\n"),
        (["--zzz"], "unknown option: `--zzz`\n" + OURS),
        (["-x"], "`-x` needs a value\n"),
        (["-x", "--", "program"], "`-x` needs a value\n"),
        (["--dns", "-q", "program"], "`--dns` needs a value\n"),
        (["--version=1"], "`--version` takes no value\n"),
        (
            ["--dns", "lokal"],
            "unknown value of `--dns`: `lokal`\n"
            + "hint: did you mean `local`? Known values: remote, tor, local\n",
        ),
        (["--dns="], "unknown value of `--dns`: ``\nhint: known values: remote, tor, local\n"),
        (
            ["--loopback=off"],
            "unknown value of `--loopback`: `off`\nhint: known values: direct, proxy, deny\n",
        ),
        (["--timeout", "0"], "`--timeout` takes a positive number of seconds: `0`\n"),
        (["--timeout=nan"], "`--timeout` takes a positive number of seconds: `nan`\n"),
        (
            ["--direct", "a,"],
            "not a network, address or name: ``\n" + f"hint: {rules.HINT}\n",
        ),
        (
            ["-x", "sock5://h", "program"],
            "unknown proxy scheme: `sock5`\n"
            + "hint: did you mean `socks5`? Known schemes: socks4, socks4a, socks5, socks5h, http, raw\n",
        ),
        (
            ["-x", "socks5://h", "-x", "embedded"],
            "`-x embedded` comes once, before all other proxies\n"
            + "hint: it runs on this machine, so it is the nearest of the chain\n",
        ),
        (
            ["-x", "embedded", "-x", "embedded"],
            "`-x embedded` comes once, before all other proxies\n"
            + "hint: it runs on this machine, so it is the nearest of the chain\n",
        ),
        (
            [*PROXY, "-f", "missing.conf", "program"],
            "cannot read the configuration file missing.conf: No such file or directory\n",
        ),
    ],
)
def test_what_is_wrong_with_a_command_line(fails, argv, text):
    assert fails(*argv) == f"pysocksify: error: {text}"


def test_no_proxy_anywhere(fails, config):
    assert fails("program") == (
        f"pysocksify: error: no proxy configured: there is none in {config}\n"
        + f"hint: name one with `-x socks5h://HOST:PORT`, or below [ProxyList] in {config}\n"
    )


def test_broken_file_is_named_with_its_line(fails, config):
    config.write_text("strict_chain\nproxy_dsn\n")
    assert fails(*PROXY, "program") == (
        f"pysocksify: error: {config}:2: unknown directive: `proxy_dsn`\nhint: did you mean `proxy_dns`?\n"
    )


def test_failed_launch_has_its_own_status(monkeypatch, config, capsys):
    def launch(settings, command, embedded):
        raise LaunchError("program not found: `nosuch`", "is it installed?", 127)

    replace_launch(monkeypatch, launch)
    assert cli.main([*PROXY, "nosuch"]) == 127
    assert capsys.readouterr().err == (
        "pysocksify: error: program not found: `nosuch`\nhint: is it installed?\n"
    )


def test_bug_of_ours_shows_its_traceback(monkeypatch, config, capsys):
    def launch(settings, command, embedded):
        raise ZeroDivisionError("of ours")

    replace_launch(monkeypatch, launch)
    assert cli.main([*PROXY, "program"]) == 125
    first, *_, cause, last = capsys.readouterr().err.splitlines()
    assert first == "Traceback (most recent call last):"
    assert cause == "ZeroDivisionError: of ours"
    assert last == (
        "pysocksify: error: this is a bug in pysocksify; please report it together with the lines above"
    )


def test_interrupt_is_quiet(monkeypatch, config, capsys):
    def launch(settings, command, embedded):
        raise KeyboardInterrupt

    replace_launch(monkeypatch, launch)
    assert cli.main([*PROXY, "program"]) == 130
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------- help, and the command as a process


@pytest.mark.parametrize(
    "argv, text",
    [
        (["-h"], cli.SHORT_HELP),
        (["-qh", "--nonsense"], cli.SHORT_HELP),
        (["--help"], cli.LONG_HELP),
        ([*PROXY, "--help", "program"], cli.LONG_HELP),
        (["--version"], f"pysocksify {pywrap.__version__}\n"),
    ],
)
def test_help_goes_to_stdout(capsys, argv, text):
    assert cli.main(argv) == 0
    assert capsys.readouterr() == (text, "")


@pytest.mark.parametrize("text", [cli.SHORT_HELP, cli.LONG_HELP])
def test_help_fits_a_terminal_and_names_every_option(text):
    assert max(map(len, text.splitlines())) <= 80
    for option in (*cli.WITH_VALUE, "--help", "--version", *cli.ALIASES):
        assert option in text


def run(*argv, **how):
    command = [sys.executable, "-m", "pywrap", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **how)


def test_module_is_the_command():
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"pysocksify {pywrap.__version__}\n", "")


def test_failure_is_one_line_and_its_hint():
    done = run("-x", "socks5://user:SECRET@a..b", "program")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == "pysocksify: error: not a host name: `a..b`\n"


def test_bytes_that_are_not_utf8_do_not_break_the_message():
    done = run(b"--\xff")
    assert done.returncode == 125
    assert done.stderr.startswith("pysocksify: error: unknown option: `--\\udcff`\n")


def test_reader_of_the_help_may_go_away():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        command = [sys.executable, "-m", "pywrap", "--help"]
        # Buffered, whatever PYTHONUNBUFFERED says here.
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, env=environment(), timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_launcher_starts_light(tmp_path):
    config = tmp_path / "pysocksify.conf"
    config.write_text("localnet 10.0.0.0/8\n[ProxyList]\nsocks5 h 1\n")
    # The modules that importing and reading everything adds to an interpreter with `site`, which has os.
    code = f"""
import os, sys
sys.path.insert(0, {pywrap.__path__[0].rpartition("/")[0]!r})
before = set(sys.modules)
from pywrap import cli
from pywrap.config.search import load
options = cli.Options(["-x", "socks5h://u:p@h", "--direct", "*.a,fd00::/8", "-f", {str(config)!r}, "program"])
load(options.choices(), options.config)
print(*sorted(set(sys.modules) - before))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    foreign = {name for name in done.stdout.split() if name.partition(".")[0] != "pywrap"}
    assert foreign <= {"__future__", "_socket", "errno"}
