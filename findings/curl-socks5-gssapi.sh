#!/bin/sh
# curl 7.88.1 (Debian 12): --socks5-gssapi cannot log in to any SOCKS5 server
#
# Software:    curl 7.88.1-10+deb12u15 with libcurl of the same version (features: GSS-API)
# Expectation: `curl --socks5-gssapi --socks5 HOST:PORT URL` offers method 1 (RFC 1961). When the server picks
#              it (05 01), curl begins the GSSAPI negotiation, and reports a missing ticket or sends a token.
# Behaviour:   curl offers methods 0 and 1, and when the server picks 1, curl says that it does not support
#              it, and hangs up. It forgets that it may use GSSAPI when it has to wait for the server's answer. A
#              server that answers before it is asked gets further, to the end of the negotiation, after which
#              curl says "Undocumented SOCKS5 mode attempted to be used by server".
# Output:      * SOCKS5 GSSAPI per-message authentication is not supported.
# Affected:    users of Kerberos with SOCKS5 proxies (Dante and others) on Debian 12; servers that are tested
#              against this curl seem to be broken.
#
# Exits with 0 when the behaviour is seen, with 1 when it is not.
set -eu
version=7.88.1-10+deb12u15
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -q "curl=$version" "libcurl4=$version" >/dev/null
for package in ./*.deb; do dpkg-deb -x "$package" root; done
library=$(dirname "$(find root -name 'libcurl.so.4' | head -n 1)")

cat >server.py <<'PYTHON'
import socket, sys

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sock, _ = listener.accept()
greeting = sock.recv(100)
print(greeting.hex(" "), flush=True)
sock.sendall(b"\x05\x01")
print(sock.recv(100)[:4].hex(" ") or "hung up", flush=True)
PYTHON
python3 server.py >server.log &
while ! [ -s server.log ]; do :; done
LD_LIBRARY_PATH=$library root/usr/bin/curl -sv --max-time 10 --socks5-gssapi \
    --socks5 "127.0.0.1:$(head -n 1 server.log)" http://127.0.0.1:9/ 2>curl.log || true
wait
cat server.log curl.log
grep -q "^05 02 00 01" server.log
grep -q "SOCKS5 GSSAPI per-message authentication is not supported" curl.log
