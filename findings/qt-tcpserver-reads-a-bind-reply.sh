#!/bin/sh
# Qt 6.12.0 (PySide6): behind a SOCKS5 proxy, what a QTcpServer's peer says begins with the second reply to BIND
#
# Software:    PySide6-Essentials 6.12.0 of PyPI (Qt 6.12.0, QtNetwork)
# Expectation: QTcpServer with a QNetworkProxy of the type Socks5Proxy asks for BIND. When the peer has connected,
#              the proxy sends a second reply of 10 bytes (RFC 1928 section 4), and then what the peer sends. The
#              socket of nextPendingConnection() reads what the peer sends.
# Behaviour:   It reads the second reply first, all of its 10 bytes, when it comes together with newConnection().
#              waitForNewConnection() returns at once and says that there is none.
# Output:      b'\x05\x00\x00\x01\x7f\x00\x00\x01\x04\xd2visitor'
# Affected:    programs with Qt's sockets that wait for peers through SOCKS5 (active FTP, file transfers of
#              messengers); proxies that are tested with them seem to be broken. With Dante it is the same.
#
# Exits with 0 when the behaviour is seen, with 1 when it is not.
set -eu
version=6.12.0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check "PySide6-Essentials==$version" 2>/dev/null
cat >server.py <<'PYTHON'
import socket

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sock, _ = listener.accept()
sock.recv(100)
sock.sendall(b"\x05\x00")
sock.recv(100)
reply = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\xd2"
sock.sendall(reply)
# A visitor comes once the program has said that it listens.
input()
sock.sendall(reply + b"visitor")
sock.recv(100)
PYTHON
cat >client.py <<'PYTHON'
import sys
from PySide6.QtCore import QCoreApplication, QTimer
from PySide6.QtNetwork import QHostAddress, QNetworkProxy, QTcpServer

app = QCoreApplication([])
server = QTcpServer()
server.setProxy(QNetworkProxy(QNetworkProxy.ProxyType.Socks5Proxy, "127.0.0.1", int(sys.argv[1])))
assert server.listen(QHostAddress("0.0.0.0"), 0), server.errorString()
open("listening", "w").close()
server.newConnection.connect(app.quit)
QTimer.singleShot(20000, app.quit)
app.exec()
peer = server.nextPendingConnection()
data = b""
while not data.endswith(b"visitor") and peer.waitForReadyRead(20000):
    data += bytes(peer.readAll())
print(data)
PYTHON
mkfifo visit
python3 server.py <visit >port &
exec 3>visit
while ! [ -s port ]; do :; done
venv/bin/python client.py "$(cat port)" >output &
while ! [ -e listening ]; do sleep 0.1; done
echo >&3
wait
cat output
grep -q '\\x05\\x00\\x00\\x01.*visitor' output
