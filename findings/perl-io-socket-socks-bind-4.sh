#!/bin/sh
# IO::Socket::Socks 0.74 (Perl): accept() of a SOCKS4 BIND reads the second reply as one of SOCKS5
#
# Software:    libio-socket-socks-perl 0.74-3 (Debian 12; the newest version on CPAN is the same)
# Expectation: with SocksVersion 4 and BindAddr, new() reads the first reply of 8 bytes (00 5A, port, address), and
#              accept() the second one, of the same form, when the peer has come.
# Behaviour:   accept() looks at `{*$self}->{SOCKS}->{Version}`, without the $ that its other lines have: that is an
#              empty hash, and so no version 4. It takes 00 5A for the beginning of a SOCKS5 reply, and fails.
# Output:      accept: Unsupported address type returned by socks server: 210
# Affected:    Perl programs that wait for a peer through a SOCKS4 proxy. SOCKS5 works.
#
# Exits with 0 when the behaviour is seen, with 1 when it is not.
set -eu
version=0.74-3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq "libio-socket-socks-perl=$version" >/dev/null
dpkg-deb -x ./*.deb root
cat >server.py <<'PYTHON'
import socket

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sock, _ = listener.accept()
sock.recv(100)
# Both replies are right: granted, 127.0.0.1:1234.
sock.sendall(2 * b"\0\x5a\x04\xd2\x7f\0\0\1")
try:
    sock.recv(100)
except ConnectionResetError:
    pass
PYTHON
python3 server.py >port &
while ! [ -s port ]; do :; done
perl -I root/usr/share/perl5 -MIO::Socket::Socks -e '
    my $sock = IO::Socket::Socks->new(ProxyAddr => "127.0.0.1", ProxyPort => $ARGV[0], SocksVersion => 4,
                                      BindAddr => "127.0.0.1", BindPort => 21) or die "first: $SOCKS_ERROR";
    print "first reply: ", join(":", $sock->dst), "\n";
    print $sock->accept ? "accepted\n" : "accept: $SOCKS_ERROR\n";' "$(cat port)" >output 2>&1 || true
wait
cat output
grep -q "^first reply: 127.0.0.1:1234" output
grep -q "^accept: " output
