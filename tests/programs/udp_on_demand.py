"""A datagram there and back for each line of stdin: udp_on_demand.py HOST PORT blocking|timeout|asyncio

After each, a line of stdout: {"got": ...}, or {"error": [type, errno, text]}. Before it waits for an answer
it says {"waiting": true}. "timeout" and "asyncio" give up after a moment, unless the line says "patiently";
"blocking" never does.
"""

import asyncio
import errno
import json
import socket
import sys

MOMENT, PATIENCE = 0.5, 60
host, port, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def say(**what):
    print(json.dumps(what), flush=True)


def tell(err):
    say(error=[type(err).__name__, errno.errorcode.get(err.errno, err.errno), str(err)])


def with_sockets():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((host, port))
    for line in sys.stdin:
        if kind == "timeout":
            sock.settimeout(PATIENCE if line.startswith("patiently") else MOMENT)
        try:
            sock.send(line.strip().encode())
            say(waiting=True)
            say(got=sock.recv(100).decode())
        except OSError as err:
            tell(err)


class Exchange(asyncio.DatagramProtocol):
    answer = None

    def datagram_received(self, data, source):
        if not self.answer.done():
            self.answer.set_result(data.decode())

    def error_received(self, error):
        if not self.answer.done():
            self.answer.set_exception(error)


async def with_asyncio():
    loop = asyncio.get_running_loop()
    transport, exchange = await loop.create_datagram_endpoint(Exchange, remote_addr=(host, port))
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        exchange.answer = loop.create_future()
        try:
            transport.sendto(line.strip().encode())
            say(waiting=True)
            async with asyncio.timeout(PATIENCE if line.startswith("patiently") else MOMENT):
                say(got=await exchange.answer)
        except OSError as err:
            tell(err)
    transport.close()


if kind == "asyncio":
    asyncio.run(with_asyncio())
else:
    with_sockets()
