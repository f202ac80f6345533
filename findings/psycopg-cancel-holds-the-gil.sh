#!/bin/sh
# cancel() of psycopg2 2.9.13 and of psycopg 3.3.9 in C (PyPI) holds the GIL while it talks to the server.
#
# Expected: other threads go on, as they do during connect() and execute(), for which both let go of the GIL.
# Seen: no thread runs until the server has closed the second connection, after 2 seconds here.
# Output: psycopg2: 1 ticks of 10 ms in 2.0 s
# Affected: programs that cancel a query of a server that is slow or far, from any thread: all of their threads and
# event loops stand still meanwhile. A proxy in the same process can never carry that connection. psycopg's
# cancel_safe(), with libpq 17, does not do it.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" -q install --only-binary :all: psycopg2-binary==2.9.13 "psycopg[binary]==3.3.9" 2> "$dir/pip" \
    || { cat "$dir/pip" >&2; exit 2; }
cat > "$dir/server.py" << 'EOF'
# As much of a PostgreSQL server as a client needs to connect; it closes the connection of a cancel request late.
import socket, struct, threading, time
def message(kind, body):
    return kind + struct.pack("!I", len(body) + 4) + body
def serve(sock):
    size, code = struct.unpack("!II", sock.recv(8, socket.MSG_WAITALL))
    sock.recv(size - 8, socket.MSG_WAITALL)
    if code == 80877102:
        time.sleep(2)
        sock.close()
        return
    parameters = b"".join(message(b"S", pair) for pair in (b"client_encoding\0UTF8\0", b"DateStyle\0ISO\0",
        b"server_version\0" b"15.0\0", b"standard_conforming_strings\0on\0"))
    sock.sendall(message(b"R", bytes(4)) + parameters + message(b"K", bytes(8)) + message(b"Z", b"I"))
    while data := sock.recv(4096):
        # To psycopg, nothing: its query goes on until it is cancelled.
        pass
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
EOF
cat > "$dir/client.py" << 'EOF'
import subprocess, sys, threading, time
server = subprocess.Popen([sys.executable, sys.argv[1]], stdout=subprocess.PIPE, text=True)
port = server.stdout.readline().strip()
where = f"host=127.0.0.1 port={port} user=a dbname=a sslmode=disable gssencmode=disable"
ticks, alive = 0, True
def tick():
    global ticks
    while alive:
        time.sleep(0.01)
        ticks += 1
threading.Thread(target=tick).start()
worst = 0
try:
    import psycopg, psycopg2
    connections = {"psycopg2": psycopg2.connect(where), "psycopg": psycopg.connect(where, autocommit=True)}
    for name, connection in connections.items():
        if name == "psycopg":
            # It cancels only where a query is under way.
            connection.pgconn.send_query(b"select pg_sleep(60)")
        before, started = ticks, time.monotonic()
        connection.cancel()
        print(f"{name}: {ticks - before} ticks of 10 ms in {time.monotonic() - started:.1f} s")
        worst = max(worst, ticks - before)
        assert time.monotonic() - started > 1.5, "the server was not waited for"
finally:
    alive = False
    server.kill()
sys.exit(worst > 20)
EOF
"$dir/venv/bin/python" "$dir/client.py" "$dir/server.py"
