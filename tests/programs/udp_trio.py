"""trio's datagram sockets, connected and not: udp_trio.py HOST PORT

Expects an echo server.
"""

import json
import sys

import trio
import trio.testing

host, port = sys.argv[1], int(sys.argv[2])


async def main():
    got = []
    with trio.fail_after(30):
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
            await sock.sendto(b"sendto", (host, port))
            data, source = await sock.recvfrom(100)
            got.append(data.decode())
            await sock.sendmsg([b"send", b"msg"], [], 0, (host, port))
            got.append((await sock.recvmsg(100))[0].decode())
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
            await sock.connect((host, port))
            await sock.send(b"send")
            buffer = bytearray(100)
            size = await sock.recv_into(buffer)
            got.append(buffer[:size].decode())
            async with trio.open_nursery() as nursery:

                async def receive():
                    got.append((await sock.recv(100)).decode())

                # Already waiting when there is something to wait for.
                nursery.start_soon(receive)
                await trio.testing.wait_all_tasks_blocked()
                await sock.send(b"later")
            peer = sock.getpeername()
    print(json.dumps({"got": got, "source": source, "peer": peer}))


trio.run(main)
