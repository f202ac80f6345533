"""Programs that people use, of many languages, unchanged: what they fetch, with a sniffer beside them.

Those that are not installed are left out; CI installs the first ones (``scripts/debian``).
"""

import asyncio
import subprocess

import pytest

from tests.support.child import source_of
from tests.support.confined import CLOSED, ECHO, FILES, HTTP, PAGE, UDP_ECHO, need, start
from tests.support.namespaces import SERVER

NODE = f"require('http').get('{PAGE}', r => r.on('data', d => process.stdout.write(d)))"
NODE_REFUSED = (
    f"require('net').connect({CLOSED}, '{SERVER[4]}')"
    + ".on('error', e => console.log(e.code, e.address, e.port))"
)
PERL = (
    "use IO::Socket::INET; $s = IO::Socket::INET->new('four.test:80') or die $!; "
    'print $s "GET / HTTP/1.0\\r\\n\\r\\n"; while (<$s>) { print if /hello/ }'
)
BASH = f"exec 3<>/dev/tcp/four.test/{ECHO}; echo hello >&3; head -1 <&3"
JAVA = """
import java.net.*; import java.nio.channels.*;
class Fetch {
  public static void main(String[] a) throws Exception {
    System.out.print(new String(new URL("http://four.test/").openStream().readAllBytes()));
    try { SocketChannel.open(new InetSocketAddress("10.2.0.1", 27)); }
    catch (ConnectException e) { System.out.println(e.getMessage()); }
  }
}
"""
C = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
int main(void) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(27)};
  inet_pton(AF_INET, "10.2.0.1", &a.sin_addr);
  int s = socket(AF_INET, SOCK_STREAM, 0);
  puts(connect(s, (void *)&a, sizeof a) ? strerror(errno) : "connected");
  return 0;
}
"""


@pytest.mark.parametrize(
    "command",
    [
        ("curl", "-sS", PAGE),
        ("wget", "-qO-", PAGE),
        ("ncat", "four.test", str(ECHO)),
        ("bash", "-c", BASH),
        ("perl", "-e", PERL),
        ("node", "-e", NODE),
        ("busybox", "wget", "-qO-", PAGE),
        ("env", "-i", "/usr/bin/curl", "-sS", PAGE),
    ],
    ids=lambda command: " ".join(command[:2]),
)
@pytest.mark.parametrize("mode", ["auto", "on"])
def test_it_fetches(client, command, mode):
    need(command[0])
    ran = client.run(*command, options=("--confine", mode), input="hello\n" if "ncat" in command else "")
    assert ran.out == "hello\n"


def test_ncat_over_udp(client):
    need("ncat")
    # It ends with its input, whatever is under way.
    script = f"(echo hello; read go) | ncat -u {SERVER[4]} {UDP_ECHO}"
    with start(client, "sh", "-c", script, stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "hello\n"
        process.communicate("go\n")


def test_dig(client):
    need("dig")
    for words in (("@8.8.8.8",), ("+tcp", "@8.8.8.8"), ("@2001:4860:4860::8888",), ()):
        assert client.run("dig", "+short", *words, "four.test").out.startswith("198.18.")
    assert "status: NOERROR" in client.run("dig", "four.test", "MX").out


def test_node_knows_why(client):
    need("node")
    assert client.run("node", "-e", NODE_REFUSED).out == f"ECONNREFUSED {SERVER[4]} {CLOSED}\n"


def test_java(client, tmp_path):
    need("java")
    (client.package / "Fetch.java").write_text(JAVA)
    ran = client.run("java", str(client.package / "Fetch.java"), timeout=120)
    assert ran.out == "hello\nConnection refused\n"


def test_a_static_program(client):
    need("gcc")
    binary = client.package / f"static-{client.user}"
    made = subprocess.run(["gcc", "-static", "-x", "c", "-o", binary, "-"], input=C, text=True)
    if made.returncode:
        pytest.skip("no static C library is installed")
    binary.chmod(0o755)
    assert client.run(binary, options=()).out == "Connection refused\n"


def test_git_clones(client, files):
    need("git")
    target = client.package / f"clone-{client.user}"
    target.mkdir(mode=0o777)
    target.chmod(0o777)
    client.run("git", "clone", "-q", f"http://four.test:{FILES}/repository/.git", target / "here")
    assert (target / "here" / "file").read_text() == "hello\n"


def test_an_isolated_python(client):
    code = f"import urllib.request as u; print(u.urlopen('{PAGE}').read().decode(), end='')"
    assert client.run(client.python, "-I", "-S", "-c", code, options=()).out == "hello\n"
    assert client.run("env", "-i", client.python, "-c", code, options=()).out == "hello\n"


def test_an_old_interpreter_runs_unpatched(client):
    """Of another implementation, it would end by itself unconfined."""
    script = (
        "import os, sys; sys.version_info = (2, 7, 0, 'final', 0); "
        "exec(open(os.environ['STARTUP']).read()); print('on it goes')"
    )
    startup = client.package / "pywrap" / "launch" / "startup" / "sitecustomize.py"
    ran = client.run(client.python, "-I", "-c", script, env={"STARTUP": str(startup)})
    assert ran.out == "on it goes\n"


def test_asyncio_is_not_blocked(client):
    def program():
        async def main():
            opening = [asyncio.open_connection("four.test", HTTP) for _ in range(20)]
            got = await asyncio.gather(*opening)
            print(len(got), got[0][1].get_extra_info("peername")[1])
            for _, writer in got:
                writer.close()

        asyncio.run(main())

    assert client.run(client.python, "-I", "-c", source_of(program)).out == f"20 {HTTP}\n"
