#!/bin/sh
# @pondwader/socks5-server 1.0.10 (npm) loses data that arrive with the request.
#
# Expected: a client may send data right behind its request, in the same segment: TCP has no boundaries, and
# RFC 1928 sets none. What is behind the request belongs to the destination.
# Seen: greeting and request are both answered, and the data never arrive at the destination.
# Output: replies: 0500050000..., arrived: [b'']
# Affected: clients that do not wait for the reply (a chain of proxies that is told everything at once): they wait for ever, and blame the next server.
set -eu
dir=$(mktemp -d)
server=
trap 'test -z "$server" || kill "$server" 2> "$dir/kill" || :; rm -rf "$dir"' EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
npm install --silent --no-audit --no-fund --prefix "$dir" @pondwader/socks5-server@1.0.10
cat > "$dir/server.js" << 'EOF'
const { createServer } = require("@pondwader/socks5-server");
createServer({ port: Number(process.argv[2]), hostname: "127.0.0.1" });
EOF
node "$dir/server.js" "$port" > "$dir/log" 2>&1 &
server=$!
for _ in $(seq 100); do
    python3 -c "import socket; socket.create_connection(('127.0.0.1', $port)).close()" 2> "$dir/wait" && break
    sleep 0.1
done
cat > "$dir/client.py" << 'EOF'
import socket, sys, threading
port = int(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0))
arrived = []
def serve():
    connection, _ = listener.accept()
    connection.settimeout(3)
    try:
        arrived.append(connection.recv(100))
    except TimeoutError:
        arrived.append(b"")
thread = threading.Thread(target=serve, daemon=True)
thread.start()
sock = socket.create_connection(("127.0.0.1", port))
sock.settimeout(5)
request = b"\x05\x01\x00\x01\x7f\x00\x00\x01" + listener.getsockname()[1].to_bytes(2, "big")
sock.sendall(b"\x05\x01\x00" + request + b"hello")
replies = b""
while len(replies) < 12:
    data = sock.recv(100)
    assert data, "it hung up"
    replies += data
thread.join()
print("replies:", replies.hex(), "arrived:", arrived)
sys.exit(not (replies[:4] == b"\x05\x00\x05\x00" and arrived == [b""]))
EOF
python3 "$dir/client.py" "$port"
