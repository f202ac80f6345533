"""--init: what it finds, what it writes, and that it overwrites nothing."""

from __future__ import annotations

import os
import sys

import pytest

from pywrap.config.search import read
from pywrap.config.settings import Proxy
from pywrap.errors import ConfigError
from pywrap.launch.init import init
from tests.support.run import run
from tests.support.servers import reference_server

PATIENCE = 5.0


# ---------------------------------------------------------------- what it finds


# ---------------------------------------------------------------- what it writes


def test_the_first_that_works_is_written_and_the_others_in_comments(root, tmp_path, no_ports, refusing_port):
    with reference_server() as server:
        (root / "etc/proxychains.conf").write_text(f"[ProxyList]\nsocks5 127.0.0.1 {server.port}\n")
        environ = {
            "ALL_PROXY": f"socks5h://alice:s3cret@127.0.0.1:{refusing_port}",
            "XDG_CONFIG_HOME": str(tmp_path / "home"),
        }
        told = init(None, environ, None, str(root), PATIENCE)
    path = tmp_path / "home/pysocksify/pysocksify.conf"
    assert told.splitlines() == [
        f"- $ALL_PROXY: cannot reach the proxy 127.0.0.1:{refusing_port}: Connection refused",
        f"+ {root}/etc/proxychains.conf: works, names, UDP, IPv6",
        f"{path}: through 127.0.0.1:{server.port}",
        "next: pysocksify -v PROGRAM",
    ]
    assert path.stat().st_mode & 0o777 == 0o600
    assert read(str(path)).proxies == (Proxy("socks5", "127.0.0.1", server.port),)
    text = path.read_text()
    assert f"\n#socks5h://alice:***@127.0.0.1:{refusing_port}\n" in text and "s3cret" not in text


def test_what_is_direct_comes_with_its_proxy(root, no_ports):
    with reference_server(users={b"al ice": b"s%cret"}) as server:
        environ = {"ALL_PROXY": server.url("al ice", "s%cret"), "NO_PROXY": "10.0.0.0/8,corp.example"}
        text = init("-", environ, None, str(root), PATIENCE)
    path = root / "written"
    path.write_text(text)
    said = read(str(path), "proxychains")
    assert said.proxies == (Proxy("socks5h", "127.0.0.1", server.port, b"al ice", b"s%cret"),)
    assert [str(rule) for rule in said.rules] == ["10.0.0.0/8", "corp.example", "*.corp.example"]


def test_nothing_is_overwritten_not_even_a_dangling_link(root, tmp_path):
    path = tmp_path / "pysocksify.conf"
    os.symlink("/nowhere/at/all", path)
    with pytest.raises(ConfigError, match="is there already, and is not overwritten"):
        init(str(path), {}, None, str(root))
    assert os.readlink(path) == "/nowhere/at/all"


def test_without_a_proxy_that_works_nothing_is_written(root, tmp_path, no_ports, refusing_port, capsys):
    path = tmp_path / "new"
    with pytest.raises(ConfigError, match="no proxy that works was found"):
        init(str(path), {"ALL_PROXY": f"socks5h://127.0.0.1:{refusing_port}"}, None, str(root), PATIENCE)
    assert not path.exists()
    assert "- $ALL_PROXY: cannot reach the proxy" in capsys.readouterr().err


def test_a_person_is_asked_which_of_several(root, tmp_path, no_ports, capsys):
    answers = iter(["3", "x", "2"])
    with reference_server() as one, reference_server() as two:
        (root / "etc/proxychains.conf").write_text(f"[ProxyList]\nsocks5 127.0.0.1 {two.port}\n")
        path = tmp_path / "new"
        init(str(path), {"ALL_PROXY": one.url()}, lambda question: next(answers), str(root), PATIENCE)
    assert read(str(path), "proxychains").proxies == (Proxy("socks5", "127.0.0.1", two.port),)
    assert f"1  127.0.0.1:{one.port} ($ALL_PROXY)" in capsys.readouterr().out


# ---------------------------------------------------------------- the command


def test_the_command_asks_nothing_in_a_pipe_and_the_file_works(tmp_path, echo_server):
    with reference_server() as server:
        home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": None, "ALL_PROXY": server.url()}
        ran = run(sys.executable, "-m", "pywrap", "--init", env=home)
        assert ran.out.startswith("+ $ALL_PROXY: works") and "which one?" not in ran.out
        code = f"import socket; socket.create_connection(({echo_server.host!r}, {echo_server.port}))"
        words = "--loopback", "proxy", sys.executable, "-c", code
        run(sys.executable, "-m", "pywrap", *words, env={**home, "ALL_PROXY": None})
        assert len(server.seen) > 0 and server.seen[-1].port == echo_server.port
    assert "is there already" in run(sys.executable, "-m", "pywrap", "--init", env=home, status=125).err


def test_a_first_try_says_in_three_lines_how_to_begin(tmp_path):
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": None}
    for words in ((), ("python3", "app.py")):
        lines = run(sys.executable, "-m", "pywrap", *words, env=home, status=125).err.splitlines()
        assert lines[0] == "pysocksify: error: no proxy configured"
        assert lines[1].startswith("hint: for one run: pysocksify -x socks5h://HOST:PORT PROGRAM; ")
        assert lines[2].startswith("hint: `pysocksify --init`") and len(lines) == 3
