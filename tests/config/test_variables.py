"""Variables that name proxies: which they are, and that a covered program does not see them."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest

from pywrap.config.variables import is_proxy_variable
from tests.support.child import source_of
from tests.support.naming_proxy import naming_proxy
from tests.support.run import program, pysocksify, run
from tests.support.servers import reference_server

HERE = "127.0.0.1"
WRAPPED = pysocksify("-x", "socks5h://192.0.2.99")  # never reached

PROXIES = {
    name: "http://192.0.2.98:3128"
    for name in (
        "ALL_PROXY",
        "all_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "Ftp_Proxy",
        "PIP_PROXY",
        "npm_config_proxy",
    )
}
OTHERS = {"NO_PROXY": "a.example", "no_proxy": "b.example", "MY_PROXY": "x", "PROXY": "y"}


# What a program and its children see of them.
def look():
    import json
    import os
    import subprocess
    import sys
    import urllib.request

    def shown(lines):
        return sorted(line.partition("=")[0] for line in lines if "proxy" in line.lower().partition("=")[0])

    def python(code, **how):
        command = [sys.executable, "-c", code]
        return json.loads(subprocess.run(command, capture_output=True, text=True, **how).stdout)

    child = (
        "import json, os; print(json.dumps(sorted(name for name in os.environ if 'proxy' in name.lower())))"
    )
    env = subprocess.run(["env"], capture_output=True, text=True).stdout.splitlines()
    print(
        json.dumps(
            {
                "here": shown(os.environ),
                "bytes": shown(map(os.fsdecode, os.environb)),
                "urllib": sorted(urllib.request.getproxies()),
                "env": shown(env),
                "os.system": shown(os.popen("env").read().splitlines()),
                "python": python(child),
                "python, copy": python(child, env=dict(os.environ)),
            }
        )
    )


@pytest.mark.parametrize(
    "name",
    [
        *PROXIES,
        *("HTTPS_PROXY", "ftp_proxy", "SOCKS_PROXY", "socks5_proxy", "WS_PROXY", "wss_proxy", "grpc_proxy"),
        *("rsync_proxy", "pip_proxy", "UV_HTTP_PROXY", "NPM_CONFIG_HTTPS_PROXY", "CLOUDSDK_PROXY_ADDRESS"),
    ],
)
def test_what_names_a_proxy(name: str) -> None:
    assert is_proxy_variable(name)


@pytest.mark.parametrize("name", [*OTHERS, "HTTP_PROXY_X", "_PROXY", "USE_PROXY", "TELEGRAM_PROXY", ""])
def test_what_does_not(name: str) -> None:
    assert not is_proxy_variable(name)


def test_a_program_does_not_see_them_and_children_that_are_not_covered_do(interpreter: str) -> None:
    said = run(*WRAPPED, interpreter, "-c", source_of(look), env={**PROXIES, **OTHERS}).json
    hidden, all_of_them = sorted(OTHERS), sorted({**PROXIES, **OTHERS})
    # What urllib makes of variables that are the program's own.
    assert said.pop("urllib") == ["my", "no"]
    assert said == {
        **dict.fromkeys(("here", "bytes", "python", "python, copy"), hidden),
        **dict.fromkeys(("env", "os.system"), all_of_them),
    }


@pytest.mark.parametrize(
    "options, line, kept",
    [
        (["--keep-env"], "", True),
        (["--keep-env=on"], "", True),
        ([], "keep_env on\n", True),
        (["--keep-env=off"], "keep_env on\n", False),
    ],
)
def test_a_user_that_wants_them_keeps_them(options: Any, line: str, kept: bool, tmp_path: Any) -> None:
    file = tmp_path / "pysocksify.conf"
    file.write_text(f"{line}[ProxyList]\nsocks5 192.0.2.99 1080\n")
    said = run(*pysocksify("-f", file, *options), sys.executable, "-c", source_of(look), env=PROXIES).json
    assert said["here"] == said["python"] == (sorted(PROXIES) if kept else [])
    assert said["env"] == sorted(PROXIES)


def test_the_settings_have_them_for_children_that_get_a_copy() -> None:
    def program():
        import json
        import os

        from pywrap.config import settings_env

        print(json.dumps(settings_env.decode(os.environ["PYSOCKSIFY_SETTINGS"]).proxy_variables))

    env = {"ALL_PROXY": "socks5://192.0.2.98", "no_proxy": "a"}
    assert run(*WRAPPED, sys.executable, "-c", source_of(program), env=env).json == [
        ["ALL_PROXY", "socks5://192.0.2.98"]
    ]


def test_a_launcher_that_is_covered_itself_passes_them_on() -> None:
    code = "import os, json; print(json.dumps([list(os.environ), os.popen('env').read()]))"
    inner = pysocksify("-x", "env")
    said, env = run(
        *WRAPPED, *inner, sys.executable, "-c", code, env={"ALL_PROXY": "socks5://192.0.2.98"}
    ).json
    assert "ALL_PROXY" not in said
    assert "ALL_PROXY=socks5://192.0.2.98" in env.splitlines()


def test_install_hides_them_and_uninstall_does_not() -> None:
    def program():
        import json
        import os

        import pywrap

        said = []
        for keep_env in (None, True):
            pywrap.install("socks5h://192.0.2.99", keep_env=keep_env)
            said.append(os.environ.get("ALL_PROXY"))
            os.environ["http_proxy"] = "set meanwhile"
            pywrap.uninstall()
            said += [os.environ.get("ALL_PROXY"), os.environ.pop("http_proxy")]
        print(json.dumps(said))

    env = {"ALL_PROXY": "socks5://192.0.2.98", "http_proxy": "http://192.0.2.98"}
    assert run(sys.executable, "-c", source_of(program), env=env).json == [
        *(None, "socks5://192.0.2.98", "set meanwhile"),
        *("socks5://192.0.2.98", "socks5://192.0.2.98", "set meanwhile"),
    ]


def test_a_reloaded_environment_hides_them_again(interpreter: str) -> None:
    def program():
        import os

        if hasattr(os, "reload_environ"):
            os.reload_environ()
        print(os.environ.get("ALL_PROXY"))

    assert (
        run(*WRAPPED, interpreter, "-c", source_of(program), env={"ALL_PROXY": "http://192.0.2.98"}).out
        == "None\n"
    )


def test_any_reload_hides_them_again_until_uninstall() -> None:
    # As 3.14 has it, for the others.
    def program():
        import os

        import pywrap

        def reload_environ():
            os.environ._data[b"ALL_PROXY"] = b"again"

        reload_environ.__module__ = "os"
        os.reload_environ = reload_environ
        for _ in range(2):
            pywrap.install("socks5h://192.0.2.99")
            os.reload_environ()
            assert "ALL_PROXY" not in os.environ
            pywrap.uninstall()
            assert os.environ["ALL_PROXY"] == "again" and os.reload_environ is reload_environ
        print("done")

    assert (
        run(sys.executable, "-c", source_of(program), env={"ALL_PROXY": "http://192.0.2.98"}).out == "done\n"
    )


def test_it_is_said_with_v() -> None:
    wrapped = pysocksify("-x", "socks5h://192.0.2.99", "-v")
    ran = run(*wrapped, sys.executable, "-c", "", env={"ALL_PROXY": "http://u:SECRET@h", "no_proxy": "a"})
    assert ran.err == "pysocksify: hidden from the program, but with --keep-env: $ALL_PROXY\n"
    assert run(*WRAPPED, sys.executable, "-c", "", env={"ALL_PROXY": "http://h"}).err == ""


# ---------------------------------------------------------------- what it is for


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks"])
@pytest.mark.parametrize(
    "fetch", ["fetch_requests.py", "fetch_httpx.py", "fetch_aiohttp.py", "fetch_urllib.py"]
)
def test_the_proxy_of_a_variable_is_gone_through_once(fetch: str, scheme: str, http_server: Any) -> None:
    with naming_proxy({"web.example": HERE}) as proxy:
        ran = run(
            *pysocksify("-x", "env", "--loopback", "proxy"),
            *program(fetch),
            f"http://web.example:{http_server.port}/",
            env={name: proxy.url(scheme) for name in ("ALL_PROXY", "all_proxy", "http_proxy", "HTTPS_PROXY")},
        )
        assert "hello from the destination" in ran.out
        # aiohttp has several connections.
        assert set(proxy.asked) == {("CONNECT", "web.example", http_server.port)}


def test_a_proxy_on_this_machine_is_no_way_around_ours(http_server: Any) -> None:
    with reference_server() as ours, socket.create_server((HERE, 0)) as theirs:
        theirs.setblocking(False)
        run(
            # Loopback is direct: all traffic would go to the other one, and from there anywhere.
            *pysocksify("-x", ours.url(), "--route", f"{HERE}:{http_server.port} proxy"),
            *program("fetch_urllib.py"),
            f"http://{HERE}:{http_server.port}/",
            env={"http_proxy": f"http://{HERE}:{theirs.getsockname()[1]}"},
        )
        with pytest.raises(BlockingIOError):
            theirs.accept()
