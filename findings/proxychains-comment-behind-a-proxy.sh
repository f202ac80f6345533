#!/bin/sh
# proxychains-ng 4.16 (Debian 12: proxychains4 4.16-2) sends a comment behind a proxy as username and password.
#
# Expected: in `socks5 127.0.0.1 1080 # office proxy`, what follows the # is a comment, as it is on a line of its own
#   and as in most configuration files.
# Seen: its first two words are the username and the password. A proxy that asks for a login gets "#" and "office";
#   one that does not is offered that method. The same with socks4 (the user id is "#") and http (Basic).
# Output seen: username b'#' password b'office'
# Affected: users that comment proxies on their lines: the login is wrong, and the comment is sent to the proxy.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get -qq download libproxychains4=4.16-2
dpkg -x libproxychains4_*.deb .
library=$(find "$PWD" -name 'libproxychains.so.4')

cat >server.py <<'END'
import socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", 0))
with open("proxychains.conf", "w") as file:
    file.write("strict_chain\n[ProxyList]\nsocks5 127.0.0.1 %d # office proxy\n" % listener.getsockname()[1])
client = subprocess.Popen(
    ["bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/80"],
    env={"PATH": "/usr/bin:/bin", "LD_PRELOAD": sys.argv[1], "PROXYCHAINS_CONF_FILE": "proxychains.conf",
         "PROXYCHAINS_QUIET_MODE": "1"},
    stderr=subprocess.DEVNULL,
)
sock, _ = listener.accept()
stream = sock.makefile("rb")
stream.read(stream.read(2)[1])
sock.sendall(b"\5\2")  # username and password, please
stream.read(1)
username = stream.read(stream.read(1)[0])
password = stream.read(stream.read(1)[0])
sock.close()
client.wait()
print("username", username, "password", password)
sys.exit((username, password) != (b"#", b"office"))
END
python3 server.py "$library"
