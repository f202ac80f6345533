#!/bin/sh
# torsocks 2.4.0 (Debian 12: 2.4.0-1) drops SOCKS5Username when a comment of three words stands behind it.
#
# Expected: in `SOCKS5Username alice # my own circuit`, the username is alice, as it is with `# my circuit`, or there is an
#   error. Behind SOCKS5Password a comment of any length does no harm.
# Seen: no username and no password are sent, and nothing is said: the proxy is offered "no authentication" alone.
# Output seen: two words: methods [2] · three words: methods [0]
# Affected: users that separate circuits by username and password (Tor's IsolateSOCKSAuth): all share one.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get -qq download torsocks=2.4.0-1
dpkg -x torsocks_*.deb .
library=$(find "$PWD" -name 'libtorsocks.so' | head -1)

cat >server.py <<'END'
import socket, subprocess, sys

def methods(comment):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with open("torsocks.conf", "w") as file:
            file.write("TorPort %d\nSOCKS5Username alice %s\nSOCKS5Password secret\n" % (
                listener.getsockname()[1], comment))
        client = subprocess.Popen(
            ["bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/80"],
            env={"PATH": "/usr/bin:/bin", "LD_PRELOAD": sys.argv[1], "TORSOCKS_CONF_FILE": "torsocks.conf"},
            stderr=subprocess.DEVNULL,
        )
        sock, _ = listener.accept()
        with sock, sock.makefile("rb") as stream:
            offered = list(stream.read(stream.read(2)[1]))
        client.wait()
        return offered

two, three = methods("# my circuit"), methods("# my own circuit")
print("two words: methods", two, "· three words: methods", three)
sys.exit((two, three) != ([2], [0]))
END
python3 server.py "$library"
