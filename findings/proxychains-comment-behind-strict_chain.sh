#!/bin/sh
# proxychains-ng 4.16 (Debian 12: proxychains4 4.16-2) ignores `strict_chain` when a comment stands behind it.
#
# Expected: `strict_chain # all of them` is a strict chain, or an error. A dead proxy then fails the connection.
# Seen: the line is skipped without a word, and the chain is dynamic, which is the default of the program (not of
#   its sample file): the connection is made without the dead proxy. So for `proxy_dns # …` and `quiet_mode # …`.
# Output seen: without a comment: refused · with one: connected through the second proxy alone
# Affected: users that rely on each proxy of the chain being gone through.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get -qq download libproxychains4=4.16-2
dpkg -x libproxychains4_*.deb .
library=$(find "$PWD" -name 'libproxychains.so.4')

cat >server.py <<'END'
import socket, subprocess, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
dead = socket.socket()
dead.bind(("127.0.0.1", 0))  # and does not listen

def serve():
    while True:
        sock, _ = listener.accept()
        stream = sock.makefile("rb")
        stream.read(stream.read(2)[1])
        sock.sendall(b"\5\0")
        stream.read(10)
        sock.sendall(b"\5\0\0\1" + bytes(6))

threading.Thread(target=serve, daemon=True).start()

def connects(first_line):
    with open("proxychains.conf", "w") as file:
        file.write("%s\n[ProxyList]\nsocks5 127.0.0.1 %d\nsocks5 127.0.0.1 %d\n" % (
            first_line, dead.getsockname()[1], listener.getsockname()[1]))
    done = subprocess.run(
        ["bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/80"],
        env={"PATH": "/usr/bin:/bin", "LD_PRELOAD": sys.argv[1], "PROXYCHAINS_CONF_FILE": "proxychains.conf",
             "PROXYCHAINS_QUIET_MODE": "1"},
        stderr=subprocess.DEVNULL,
    )
    return done.returncode == 0

plain, commented = connects("strict_chain"), connects("strict_chain # all of them")
print("without a comment:", "connected" if plain else "refused",
      "· with one:", "connected through the second proxy alone" if commented else "refused")
sys.exit(plain or not commented)
END
python3 server.py "$library"
