#!/bin/sh
# Ncat 7.93 (Debian 12: ncat 7.93+dfsg1-1) with --sh-exec ends its command when the client closes its half.
#
# Expected: the command reads the end of its input, and its answer reaches the client: RFC 9293 section 3.6 lets
#   a side that has closed go on receiving, and inetd and socat do it so.
# Seen: the connection ends at once. A filter such as sort or wc, which answers at the end of its input, never
#   answers; a client that leaves its half open gets what the command wrote before.
# Output: half closed: b''
#         half open: b'ready\n'
# Affected: clients that end a request by closing their half, among them ncat itself with </dev/null.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
command -v ncat > "$dir/ncat" || apt-get install -y -q ncat=7.93+dfsg1-1 > "$dir/apt"
ncat --version 2>&1 | grep -F 7.93
cat > "$dir/client.py" << 'EOF'
import socket, subprocess, sys

def answer(command, close):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(["ncat", "-l", "127.0.0.1", str(port), "--sh-exec", command])
    try:
        while True:
            try:
                client = socket.create_connection(("127.0.0.1", port))
                break
            except ConnectionRefusedError:
                continue
        client.settimeout(10)
        client.sendall(b"one two\n")
        if not close:
            return client.recv(100)
        client.shutdown(socket.SHUT_WR)
        data = b""
        while more := client.recv(100):
            data += more
        return data
    finally:
        server.kill()
        server.wait()

closed = answer("wc -w", close=True)
opened = answer("echo ready; wc -w", close=False)
print(f"half closed: {closed}\nhalf open: {opened}")
sys.exit(not (closed == b"" and opened == b"ready\n"))
EOF
python3 "$dir/client.py"
