#!/bin/sh
# Ncat 7.93 (Debian 12: ncat 7.93+dfsg1-1) as an HTTP proxy says "504 Gateway Timeout" of a refused port.
#
# Expected: 502 or 503: RFC 9110 section 15.6.5 keeps 504 for a server that did not answer in time.
# Seen: 504 at once, of a port that refuses the connection, in a head without any field.
# Output: b'HTTP/1.0 504 Gateway Timeout\r\n\r\n' after 0.001 s
# Affected: clients that tell a refusal from a time-out, and try again after the latter.
set -eu
dir=$(mktemp -d)
server=
trap 'test -z "$server" || kill "$server" 2> "$dir/kill" || :; rm -rf "$dir"' EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
command -v ncat > "$dir/ncat" || apt-get install -y -q ncat=7.93+dfsg1-1 > "$dir/apt"
ncat --version 2>&1 | grep -F 7.93
ncat -l 127.0.0.1 "$port" --proxy-type http -k > "$dir/log" 2>&1 &
server=$!
for _ in $(seq 100); do
    python3 -c "import socket; socket.create_connection(('127.0.0.1', $port)).close()" 2> "$dir/wait" && break
    sleep 0.1
done
cat > "$dir/client.py" << 'EOF'
import socket, sys, time
with socket.socket() as closed:
    # Bound and not listening: a connection to it is refused.
    closed.bind(("127.0.0.1", 0))
    place = f"127.0.0.1:{closed.getsockname()[1]}"
    sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    sock.settimeout(5)
    begun = time.monotonic()
    sock.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
    answer = sock.recv(1000)
    seconds = time.monotonic() - begun
    print(answer, f"after {seconds:.3f} s")
sys.exit(not (answer.startswith(b"HTTP/1.0 504") and seconds < 1))
EOF
python3 "$dir/client.py" "$port"
