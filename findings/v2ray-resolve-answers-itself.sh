#!/bin/sh
# v2ray 4.34.0 (Debian 12: 4.34.0+ds-1) answers Tor's RESOLVE for each name with success and its own inbound address.
#
# Expected: reply 07, "command not supported", as for any other command that a SOCKS5 server does not have (RFC 1928
#   section 6); or an address of the name.
# Seen: 05 00 00 01, and then the address and the port that the client has just connected to. Nothing is resolved.
# Output seen: one.example: 00 127.0.0.1:PORT · two.example: 00 127.0.0.1:PORT (PORT is the server's own)
# Affected: clients that resolve by RESOLVE (tor-resolve, torsocks, Tor-aware libraries) through such a server: each name
#   is then their own machine, or the server's address.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get -qq download v2ray=4.34.0+ds-1
dpkg -x v2ray_*.deb .

cat >client.py <<'END'
import json, socket, subprocess, sys, time

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
with open("config.json", "w") as file:
    json.dump({
        "log": {"loglevel": "none"},
        "inbounds": [{"protocol": "socks", "listen": "127.0.0.1", "port": port, "settings": {"auth": "noauth"}}],
        "outbounds": [{"protocol": "freedom"}],
    }, file)
server = subprocess.Popen(["usr/bin/v2ray", "-config", "config.json"], stdout=subprocess.DEVNULL)

def resolve(name):
    until = time.monotonic() + 20
    while True:
        try:
            sock = socket.create_connection(("127.0.0.1", port))
            break
        except ConnectionRefusedError:
            if time.monotonic() > until or server.poll() is not None:
                raise
            time.sleep(0.05)
    with sock, sock.makefile("rb") as stream:
        sock.settimeout(20)
        sock.sendall(b"\5\1\0")
        stream.read(2)
        sock.sendall(b"\5\xf0\0\3" + bytes([len(name)]) + name + b"\0\0")
        head = stream.read(4)
        address = socket.inet_ntoa(stream.read(4))
        return head[1], address, int.from_bytes(stream.read(2), "big")

try:
    seen = [resolve(name) for name in (b"one.example", b"two.example")]
finally:
    server.terminate()
    server.wait()
print(" · ".join("%s: %02x %s:%d" % (name, *each) for name, each in zip(("one.example", "two.example"), seen)))
sys.exit(seen != [(0, "127.0.0.1", port)] * 2)
END
python3 client.py
