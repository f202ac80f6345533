#!/bin/sh
# pproxy 2.7.9 (PyPI) grants CONNECT before it has a connection, and whatever becomes of it.
#
# Expected: reply 5, "connection refused" (RFC 1928 section 6), of a port of its own machine where nothing listens.
# Seen: "succeeded", and then the end of the connection.
# Output: reply: 050000017f000001... then: b''
# Affected: clients that would try another address or proxy after a refusal: connect() succeeds, and they believe
# that the destination hung up. In a chain, the next proxy seems to be what is broken.
set -eu
dir=$(mktemp -d)
server=
trap 'test -z "$server" || kill "$server" 2> "$dir/kill" || :; rm -rf "$dir"' EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" -q install pproxy==2.7.9 2> "$dir/pip" || { cat "$dir/pip" >&2; exit 2; }
"$dir/venv/bin/python" -m pproxy -l "socks5://127.0.0.1:$port" > "$dir/log" 2>&1 &
server=$!
for _ in $(seq 100); do
    python3 -c "import socket; socket.create_connection(('127.0.0.1', $port)).close()" 2> "$dir/wait" && break
    sleep 0.1
done
cat > "$dir/client.py" << 'EOF'
import socket, sys
with socket.socket() as closed:
    # Bound and not listening: a connection to it is refused.
    closed.bind(("127.0.0.1", 0))
    sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    sock.settimeout(5)
    sock.sendall(b"\x05\x01\x00")
    assert sock.recv(2) == b"\x05\x00"
    sock.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + closed.getsockname()[1].to_bytes(2, "big"))
    reply = sock.recv(100)
    print("reply:", reply.hex(), "then:", sock.recv(100))
sys.exit(reply[:2] != b"\x05\x00")
EOF
python3 "$dir/client.py" "$port"
