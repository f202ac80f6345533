#!/bin/sh
# hpsockd 0.17 (Debian 12: hpsockd 0.17+nmu1) sends answers to UDP port 0 when the request has named no port.
#
# Expected: a client that does not know its address or port names zeros in UDP ASSOCIATE (RFC 1928, section 6); the
#   server learns them from the first datagram, or refuses the request.
# Seen: the request is granted, datagrams reach their destination, and the answers do not come back. They do when the
#   request has named the client's port; the address may be zeros then as well.
# Output: without the port: arrived, no answer; with the port: arrived, answered
# Affected: clients that name zeros, as those behind a NAT have to: their questions arrive, and nothing tells them why
#   there is no answer.
set -eu
dir=$(mktemp -d)
end_all() {
    # It is a daemon: by its program file.
    for exe in /proc/[0-9]*/exe; do
        case "$(readlink "$exe" || :)" in "$dir"/*) pid=${exe%/exe}; kill "${pid#/proc/}" || : ;; esac
    done
    rm -rf "$dir"
}
trap end_all EXIT
cd "$dir"
apt-get -qq download hpsockd=0.17+nmu1
dpkg -x hpsockd_*.deb .
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > hpsockd.conf << END
daemon {
    listen-address { 127.0.0.1; };
    directory "$dir";
    negotiate-file "negotiate";
    port $port;
    user "$(id -un)";
};
logging { level 0; };
default { timeout 1m; };
route { { default 127.0.0.1; }; };
method-list { { number 0; name "noAuth"; internal; flags 0; }; };
client-method { { src { 127.0.0.0/8; }; method { "noAuth"; }; }; };
client { permit udp-associate { src { 127.0.0.0/8; }; }; };
END
./usr/sbin/hpsockd -c hpsockd.conf
for _ in $(seq 100); do
    python3 -c "import socket; socket.create_connection(('127.0.0.1', $port)).close()" 2> wait && break
    sleep 0.1
done
cat > client.py << 'END'
import socket, sys

def there_and_back(with_port):
    with socket.socket(type=socket.SOCK_DGRAM) as far, socket.socket(type=socket.SOCK_DGRAM) as near:
        far.bind(("127.0.0.1", 0))
        near.bind(("127.0.0.1", 0))
        named = near.getsockname()[1] if with_port else 0
        with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as control:
            for sock in (far, near, control):
                sock.settimeout(3)
            control.sendall(b"\5\1\0")
            assert control.recv(2) == b"\5\0"
            control.sendall(b"\5\3\0\1" + bytes(4) + named.to_bytes(2, "big"))
            reply = control.recv(10)
            assert reply[:2] == b"\5\0", reply
            relay = socket.inet_ntoa(reply[4:8]), int.from_bytes(reply[8:], "big")
            there = far.getsockname()
            near.sendto(b"\0\0\0\1" + socket.inet_aton(there[0]) + there[1].to_bytes(2, "big") + b"x", relay)
            data, source = far.recvfrom(10)
            far.sendto(data, source)
            try:
                near.recv(100)
            except TimeoutError:
                return "arrived, no answer"
            return "arrived, answered"

seen = there_and_back(False), there_and_back(True)
print("without the port: %s; with the port: %s" % seen)
sys.exit(seen != ("arrived, no answer", "arrived, answered"))
END
python3 client.py "$port"
