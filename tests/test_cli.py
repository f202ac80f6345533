import os
import subprocess
import sys
import types

import pytest

import pywrap
from pywrap import cli
from pywrap.config import route_rules
from pywrap.config.settings import Chain, Proxy, Rewrite, Rule
from pywrap.help import long_help, short_help
from tests.support.child import source_of
from tests.support.rules import direct
from tests.support.run import environment

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
    published = []

    def launch(settings, command, embedded, publish):
        published.append(publish)
        calls.append((settings, command, embedded))
        raise Launched

    replace_launch(monkeypatch, launch)

    def run(*argv):
        assert cli.main(list(argv)) == 125
        return calls.pop()

    run.published = published
    return run


def replace_launch(monkeypatch, launch):
    fake = types.ModuleType("pywrap.launch.patch_or_confine")
    fake.launch = launch
    fake.LaunchError = LaunchError
    monkeypatch.setitem(sys.modules, "pywrap.launch.patch_or_confine", fake)


@pytest.fixture
def fails(capsys, config):
    """A function that runs the command and returns what it complained about."""

    def run(*argv):
        assert cli.main(list(argv)) == 125
        out, err = capsys.readouterr()
        assert out == ""
        return err.removeprefix(in_use(config))

    return run


def in_use(config):
    """What is said of ``config``, which no option names, when there is no error in it."""
    return f"pysocksify: settings from {config}\n"


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
        ([*PROXY, "--dns", "tor"], "dns", "tor"),
        ([*PROXY, "--dns", "tcp://192.0.2.53"], "dns", "tcp://192.0.2.53:53"),
        ([*PROXY, "--dns", "tcp://[2001:DB8::53]:5353"], "dns", "tcp://[2001:db8::53]:5353"),
        ([*PROXY, "--loopback=deny"], "loopback", "deny"),
        ([*PROXY, "--udp", "block"], "udp", "block"),
        ([*PROXY, "--listen=bind"], "listen", "bind"),
        ([*PROXY, "--bind-peer", "any"], "bind_peer", "any"),
        ([*PROXY, "--pipeline", "on"], "pipeline", "on"),
        ([*PROXY, "--fast-open", "on"], "fast_open", True),
        ([*PROXY, "--isolate-streams", "on", "--isolate-streams=off"], "isolate_streams", False),
        ([*PROXY, "--connect-timeout", "0.5"], "connect_timeout", 0.5),
        ([*PROXY, "--read-timeout", "3"], "read_timeout", 3.0),
        (
            [*PROXY, "--dnat", "192.0.2.1 192.0.2.2:80"],
            "rewrites",
            (Rewrite("192.0.2.1", 0, "192.0.2.2", 80),),
        ),
        (
            [*PROXY, "--route", "tcp *:25 block", "--direct", "a", "--route", "* proxy"],
            "rules",
            (Rule(port=25, protocol="tcp", to="block"), direct(name="a"), Rule()),
        ),
        (
            [*PROXY, "-x", "http://i", "--chain-type", "random:2"],
            "chains",
            (Chain((Proxy("socks5h", "h"), Proxy("http", "i")), "", "random", 2),),
        ),
        (
            [*PROXY, "--chain-type", "round_robin"],
            "chains",
            (Chain((Proxy("socks5h", "h"),), "", "round_robin", 1),),
        ),
        ([*PROXY, "--chain-type=dynamic"], "chains", (Chain((Proxy("socks5h", "h"),), "", "dynamic"),)),
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


def test_published_servers_add_up(launches):
    launches("--publish", "80", *PROXY, "--publish=8080:80", "program")
    assert launches.published == [["80", "8080:80"]]


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


def test_files_of_other_tools_are_told_by_their_words_or_by_the_user(launches, config):
    config.write_text("server = 192.0.2.7\n")
    (chain,) = launches("--config-format", "tsocks", "-f", str(config), "program")[0].chains
    assert chain == Chain((Proxy("socks4", "192.0.2.7"),))
    other = config.with_name("other.conf")
    other.write_text("TorPort 9150\n")
    settings, _, _ = launches("-f", str(other), "program")
    assert (settings.chain, settings.udp) == ((Proxy("socks5h", "127.0.0.1", 9150),), "block")


@pytest.mark.parametrize(
    "name, text, message",
    [
        (
            "pysocksify.conf",
            "strict_chian\n",
            ":1: unknown directive: `strict_chian`\nhint: did you mean `strict_chain`?",
        ),
        ("tsocks.conf", "server = a\n\n}\n", ":3: a `}` where no path is open\nhint: lines are written"),
        ("torsocks.conf", "TorPort tor", ":1: `TorPort` takes a number from 1 to 65535: `tor`\n"),
        (
            "proxychains.conf",
            "route a work\n[ProxyList]\nraw h 1",
            ":1: no chain has this name: `route a work`\nhint: ",
        ),
    ],
)
def test_a_wrong_file_starts_nothing(fails, config, name, text, message):
    file = config.with_name(name)
    file.write_text(text)
    said = fails("-f", str(file), "program")
    assert said.startswith(f"pysocksify: error: {file}{message}")
    assert len(said.splitlines()) <= 2


def test_only_a_shell_that_is_to_be_wrapped_is_told_by_a_command(fails, capsys):
    # No output but the error's: that option is PROGRAM's.
    assert "missing" in fails("-f", "missing", "tox", "--env", "py")
    for argv in (
        ["-f", "missing", "--env"],
        ["-x", "nonsense", "--env"],
        ["--env", "-x", "nonsense"],
        [*PROXY, "--env", "--show-config"],
        ["--env", "--env=off"],
    ):
        assert cli.main(argv) == 125
        assert capsys.readouterr().out == "false\n"


def test_a_type_of_chain_replaces_the_files_with_its_length(launches, config):
    config.write_text("random_chain\nchain_len 2\n[ProxyList]\nsocks5 a 1\nsocks5 b 1\n")
    assert launches("program")[0].chains[0].length == 2
    chain = launches("--chain-type", "strict", "program")[0].chains[0]
    assert (chain.type, chain.length) == ("strict", 0)


def test_the_environment_is_asked_only_when_it_is_named(launches, config, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5h://env")
    monkeypatch.delenv("all_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.delenv("no_proxy", raising=False)
    settings, _, _ = launches(*PROXY, "-x", "env", "program")
    assert settings.chain == (Proxy("socks5h", "h"), Proxy("socks5h", "env"))
    assert settings.rules == (direct(name="localhost"), direct(name="*.localhost"))
    settings, _, _ = launches(*PROXY, "program")
    assert (settings.chain, settings.rules) == ((Proxy("socks5h", "h"),), ())


def test_effective_settings_are_shown_and_nothing_is_started(config, capsys, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5h://u:SECRET@env")
    monkeypatch.delenv("all_proxy", raising=False)
    config.write_text("dns tor\nroute *.corp work\n[ProxyList work]\nraw w 1\n")
    argv = ["-x", "env", "--direct", "a", "--show-config", "no-such-program"]
    assert cli.main(argv) == 0
    out, err = capsys.readouterr()
    assert err == in_use(config)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for line in (
        f"dns tor # {config}:1",
        "route a direct # command line",
        f"route *.corp work # {config}:2",
        "timeout 60 # default",
    ):
        assert line in lines
    assert lines[lines.index("[ProxyList]") :] == [
        *("[ProxyList]", "# $ALL_PROXY", "socks5h://u:***@env:1080", ""),
        *(f"# {config}:3", "[ProxyList work]", "strict_chain", f"# {config}:4", "raw://w:1"),
    ]


def test_wrapping_a_shell_prints_commands(config, capsys):
    assert cli.main([*PROXY, "--env"]) == 0
    out = capsys.readouterr().out
    assert all(line.startswith("export ") for line in out.splitlines())
    assert "PYSOCKSIFY_SETTINGS='" in out


# ---------------------------------------------------------------- what is refused

USAGE = "hint: usage: pysocksify [OPTIONS] [--] PROGRAM [ARG]..., and -h for a summary\n"
INSTEAD = "hint: each of them is done instead of running PROGRAM\n"
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
        (["--env=on"], "`--env` takes no value\n" + f"hint: {cli.HINT_ENV}\n"),
        ([*PROXY, "--env=off", "python"], f"`--env=off` starts nothing: `python`\nhint: {cli.HINT_ENV}\n"),
        *[
            (argv, f"`--env=off` takes no other options\nhint: {cli.HINT_ENV}\n")
            for argv in (["--env=off", *PROXY], ["-f", "missing", "--env=off"], ["--env=off", "-q"])
        ],
        *[
            ([*PROXY, *argv], f"`{argv[1]}` besides `{argv[0]}`\n{INSTEAD}")
            for argv in (
                ["--show-config", "--env=off"],
                ["--show-config", "--check", "program"],
                ["--check", "--show-config"],
                ["--check", "--env=off"],
            )
        ],
        *[
            ([option, *rest], f"`{option}` without `--check`\nhint: {cli.HINT_CHECK}\n")
            for option, rest in (("--json", ["--show-config"]), ("--check-target", ["h:1", "program"]))
        ],
        (
            ["--check", "--config-format", "tsocks", "socks5://h"],
            "no configuration file in the format `tsocks`\nhint: `-f FILE` names one\n",
        ),
        (
            ["-x", "embedded", "-x", "raw://a", "--chain-type", "random", "program"],
            "`-x embedded` in a random chain\n"
            + "hint: a server on this machine comes before all others, and these chains begin anywhere\n",
        ),
        (
            [*PROXY, "--chain-type", "random:2", "program"],
            "command line: a chain length of 2, and a list of 1\n"
            + "hint: name more proxies, or lower the length\n",
        ),
        (
            ["--chain-type", "rando"],
            "unknown value of `--chain-type`: `rando`\n"
            + "hint: did you mean `random`? Known values: strict, dynamic, random, round_robin\n",
        ),
        (
            ["--chain-type", "strict:2"],
            "`--chain-type` with a length, and a strict chain takes all its proxies: `strict:2`\n"
            + "hint: a length is for random and round_robin\n",
        ),
        (["--chain-type", "random:0"], "`--chain-type` takes a positive number of proxies: `0`\n"),
        (
            [*PROXY, "--route", "* work", "program"],
            "command line: no chain has this name: `route * work`\n"
            + "hint: known destinations: proxy, direct, block\n",
        ),
        (
            ["--route", "*"],
            "a route of 1 word: `*`\n"
            + "hint: it is written `route [tcp|udp] DESTINATION CHAIN|proxy|direct|block`\n",
        ),
        (
            ["--config-format", "toml"],
            "unknown value of `--config-format`: `toml`\n"
            + "hint: known values: proxychains, tsocks, torsocks\n",
        ),
        (
            ["--dns", "lokal"],
            "unknown value of `--dns`: `lokal`\n"
            + "hint: did you mean `local`? Known values: remote, tor, local, tcp://HOST[:PORT]\n",
        ),
        (
            ["--dns="],
            "unknown value of `--dns`: ``\nhint: known values: remote, tor, local, tcp://HOST[:PORT]\n",
        ),
        (
            ["--loopback=off"],
            "unknown value of `--loopback`: `off`\nhint: known values: direct, proxy, deny\n",
        ),
        (["--timeout", "0"], "`--timeout` takes a positive number of seconds: `0`\n"),
        (["--timeout=nan"], "`--timeout` takes a positive number of seconds: `nan`\n"),
        (
            ["--direct", "a,"],
            "not a network, address or name: ``\n" + f"hint: {route_rules.HINT}\n",
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
    def launch(settings, command, embedded, publish):
        raise LaunchError("program not found: `nosuch`", "is it installed?", 127)

    replace_launch(monkeypatch, launch)
    assert cli.main([*PROXY, "nosuch"]) == 127
    assert capsys.readouterr().err == in_use(config) + (
        "pysocksify: error: program not found: `nosuch`\nhint: is it installed?\n"
    )


def test_bug_of_ours_shows_its_traceback(monkeypatch, config, capsys):
    def launch(settings, command, embedded, publish):
        raise ZeroDivisionError("of ours")

    replace_launch(monkeypatch, launch)
    assert cli.main([*PROXY, "program"]) == 125
    _, first, *_, cause, last = capsys.readouterr().err.splitlines()
    assert first == "Traceback (most recent call last):"
    assert cause == "ZeroDivisionError: of ours"
    assert last == (
        "pysocksify: error: this is a bug in pysocksify; please report it together with the lines above"
    )


def test_interrupt_is_quiet(monkeypatch, config, capsys):
    def launch(settings, command, embedded, publish):
        raise KeyboardInterrupt

    replace_launch(monkeypatch, launch)
    assert cli.main([*PROXY, "program"]) == 130
    assert capsys.readouterr().err == in_use(config)


def test_q_is_silent_about_the_file_in_use(launches, config, capsys):
    launches(*PROXY, "program")
    assert capsys.readouterr().err.startswith(in_use(config))
    launches("-q", *PROXY, "program")
    assert "settings from" not in capsys.readouterr().err


# ---------------------------------------------------------------- help, and the command as a process


@pytest.mark.parametrize(
    "argv, text",
    [
        (["-h"], short_help()),
        (["-qh", "--nonsense"], short_help()),
        (["--help"], long_help()),
        ([*PROXY, "--help", "program"], long_help()),
        (["--version"], f"pysocksify {pywrap.__version__}\n"),
    ],
)
def test_help_goes_to_stdout(capsys, argv, text):
    assert cli.main(argv) == 0
    assert capsys.readouterr() == (text, "")


@pytest.mark.parametrize("text", [short_help(), long_help()])
def test_help_fits_a_terminal_and_names_every_option(text):
    assert max(map(len, text.splitlines())) <= 80
    for option in (*cli.WITH_VALUE, "--help", "--version", *cli.ALIASES):
        assert option in text


def test_help_says_which_shells():
    assert "shell of the Bourne kind (sh, bash, dash, zsh)" in long_help()


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


@pytest.mark.parametrize("words", [["--help"], ["--show-config"], ["--env"], ["--check", "--json"]])
def test_stdout_that_takes_nothing_is_an_error(words, refusing_port):
    with open("/dev/full", "w") as full:
        proxy = f"socks5h://127.0.0.1:{refusing_port}"
        command = [sys.executable, "-m", "pywrap", "-x", proxy, *words]
        # Buffered, whatever PYTHONUNBUFFERED says here.
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=60)
    error = b"pysocksify: error: cannot write to stdout: No space left on device\n"
    assert (done.returncode, done.stderr) == (125, error)


def test_launcher_starts_light(tmp_path):
    config = tmp_path / "pysocksify.conf"
    config.write_text("localnet 10.0.0.0/8\n[ProxyList]\nsocks5 h 1\n")

    # The modules that importing and reading everything adds to an interpreter with `site`, which has os.
    def program(root, config):
        import os  # noqa: F401
        import sys

        sys.path.insert(0, root)
        before = set(sys.modules)
        from pywrap import cli
        from pywrap.config.search import load

        words = ["-x", "socks5h://u:p@h", "--direct", "*.a,fd00::/8", "-f", config, "program"]
        options = cli.Options(words)
        load(options.partial(), options.config)
        print(*sorted(set(sys.modules) - before))

    code = source_of(program, pywrap.__path__[0].rpartition("/")[0], config)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    foreign = {name for name in done.stdout.split() if name.partition(".")[0] != "pywrap"}
    assert foreign <= {"__future__", "_socket", "errno"}
