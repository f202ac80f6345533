#!/bin/sh
# simple-socks 3.6.0 (npm) grants UDP ASSOCIATE, and has no UDP.
#
# Expected: reply 7, "command not supported" (RFC 1928 section 6), of a server without UDP.
# Seen: "succeeded", with 0.0.0.0:0 for a relay. Nothing can be sent to port 0.
# Output: reply to UDP ASSOCIATE: 05000001000000000000
# Affected: every client of UDP ASSOCIATE: sendto() fails with EINVAL instead of a refusal in words.
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
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sock.settimeout(5)
sock.sendall(b"\x05\x01\x00")
assert sock.recv(2) == b"\x05\x00"
sock.sendall(b"\x05\x03\x00\x01" + bytes(6))
reply = sock.recv(100)
print("reply to UDP ASSOCIATE:", reply.hex())
sys.exit(not (reply[:2] == b"\x05\x00" and reply[-2:] == b"\0\0"))
EOF
python3 "$dir/client.py" "$port"
