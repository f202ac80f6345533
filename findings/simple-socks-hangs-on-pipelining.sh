#!/bin/sh
# simple-socks 3.6.0 (npm) waits for ever when greeting and request arrive in one segment.
#
# Expected: a stream has no boundaries: both are answered, however they are cut or joined.
# Seen: the greeting is answered, the request that came with it is lost.
# Output: {'one by one': '05000500...', 'at once': '0500'}
# Affected: clients that send both at once to save a round trip, and any client behind a relay that joins them.
set -eu
dir=$(mktemp -d)
server=
trap 'test -z "$server" || kill "$server" 2> "$dir/kill" || :; rm -rf "$dir"' EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
npm install --silent --no-audit --no-fund --prefix "$dir" simple-socks@3.6.0
cat > "$dir/server.mjs" << 'EOF'
import socks from "simple-socks";
socks.createServer().listen(Number(process.argv[2]), "127.0.0.1");
EOF
node "$dir/server.mjs" "$port" > "$dir/log" 2>&1 &
server=$!
for _ in $(seq 100); do
    python3 -c "import socket; socket.create_connection(('127.0.0.1', $port)).close()" 2> "$dir/wait" && break
    sleep 0.1
done
cat > "$dir/client.py" << 'EOF'
import socket, sys
port = int(sys.argv[1])
with socket.create_server(("127.0.0.1", 0)) as listener:
    request = b"\x05\x01\x00\x01\x7f\x00\x00\x01" + listener.getsockname()[1].to_bytes(2, "big")
    heard = {}
    for way in ("one by one", "at once"):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.settimeout(3)
        if way == "at once":
            sock.sendall(b"\x05\x01\x00" + request)
            got = sock.recv(2)
        else:
            sock.sendall(b"\x05\x01\x00")
            got = sock.recv(2)
            sock.sendall(request)
        try:
            got += sock.recv(10)
        except TimeoutError:
            pass
        heard[way] = got.hex()
    print(heard)
sys.exit(not (heard["one by one"].startswith("05000500") and heard["at once"] == "0500"))
EOF
python3 "$dir/client.py" "$port"
