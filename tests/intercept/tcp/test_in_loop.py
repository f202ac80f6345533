"""asyncio opens its tunnels in the event loop itself: no thread, no placeholder, and nothing left over."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
import time

import pytest

from tests.support.child import kernel
from tests.support.inside import descriptors, echo, outcome, say


def fresh(family=socket.AF_INET):
    sock = socket.socket(family)
    sock.setblocking(False)
    return sock


async def connect(sock, host, port):
    await asyncio.get_running_loop().sock_connect(sock, (host, port))


async def outcome_of(awaitable):
    try:
        return await awaitable
    except OSError as err:
        return [type(err).__name__, errno.errorcode.get(err.errno, err.errno), str(err)]


def test_the_loop_opens_tunnels_without_a_thread(proxy, echo_server):
    def program(host, port):
        async def main():
            socks = [fresh() for _ in range(20)]
            before = descriptors()
            threads = set()

            async def watch():
                while True:
                    threads.update(os.listdir("/proc/self/task"))
                    await asyncio.sleep(0)

            watching = asyncio.create_task(watch())
            await asyncio.gather(*(connect(sock, host, port) for sock in socks))
            watching.cancel()
            peers = {sock.getpeername() for sock in socks}
            again = await outcome_of(connect(socks[0], host, port))
            say(
                threads=len(threads),
                left=len(descriptors()) - len(before),
                peers=sorted(peers),
                again=again[:2],
                blocking=os.get_blocking(socks[0].fileno()),
                echoed={echo(sock) for sock in socks} == {"hello"},
            )

        asyncio.run(main())

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {
        "threads": 1,
        "left": 0,
        "peers": [[echo_server.host, echo_server.port]],
        "again": ["OSError", "EISCONN"],
        "blocking": False,
        "echoed": True,
    }
    assert len(proxy.asked) == 20


@pytest.mark.parametrize("seconds", [5, 0])
def test_the_default_timeout_of_sockets_is_no_matter_of_the_loops_tunnels(seconds, proxy, echo_server):
    def program(host, port):
        async def main():
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"hello")
            say(echoed=(await reader.readexactly(5)).decode())

        socket.setdefaulttimeout(float(sys.argv[3]))
        asyncio.run(main())

    said = kernel(proxy.url(), program, echo_server.host, echo_server.port, seconds)
    assert said == {"echoed": "hello"}
    assert len(proxy.asked) == 1


def test_a_refusal_is_the_errno_in_words_and_the_socket_may_try_again(proxy, echo_server, refusing_port):
    def program(host, port):
        async def main():
            sock = fresh()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            before = descriptors()
            failed = await outcome_of(connect(sock, "127.0.0.1", int(sys.argv[3])))
            left = len(descriptors()) - len(before)
            await connect(sock, host, port)
            say(
                failed=failed,
                left=left,
                echoed=echo(sock),
                keepalive=sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            )

        asyncio.run(main())

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port, refusing_port),
    )
    kind, number, words = said.pop("failed")
    assert (kind, number) == ("ConnectionRefusedError", "ECONNREFUSED")
    assert f"connection refused (asked for 127.0.0.1:{refusing_port})" in words
    assert said == {"left": 0, "echoed": "hello", "keepalive": 1}


@pytest.mark.parametrize("closes", [True, False])
def test_a_connect_that_was_cancelled_leaves_nothing(hanging, closes):
    def program():
        async def main():
            sock = fresh()
            before = descriptors()
            connecting = asyncio.create_task(connect(sock, "192.0.2.1", 80))
            await asyncio.sleep(0.05)
            pending = len(descriptors()) - len(before)
            connecting.cancel()
            try:
                await connecting
            except asyncio.CancelledError:
                pass
            if sys.argv[1] == "True":
                sock.close()
                file = os.open(os.devnull, os.O_RDONLY)
                await asyncio.sleep(0)
                say(
                    pending=pending,
                    left=len(descriptors()) - len(before),
                    harmed=os.readlink(f"/proc/self/fd/{file}") != os.devnull,
                )
                return
            await asyncio.sleep(0)
            say(
                pending=pending,
                left=len(descriptors()) - len(before),
                harmed=outcome(sock.getpeername)[1] != "ENOTCONN",
            )

        asyncio.run(main())

    said = kernel(
        hanging,
        program,
        closes,
    )
    assert said == {"pending": 1, "left": 0, "harmed": False}


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_socket_connects_anew_right_after_its_connect_was_cancelled(proxy, echo_server, rounds):
    def program(host, port):
        async def main():
            sock = fresh()
            before = descriptors()
            connecting = asyncio.create_task(connect(sock, "127.0.0.1", 1))
            for _ in range(int(sys.argv[3])):
                await asyncio.sleep(0)
            connecting.cancel()
            # The loop has had no round for the cancelled one.
            again = await outcome_of(connect(sock, host, port))
            await asyncio.wait([connecting])
            left = len(descriptors()) - len(before)
            say(again=again, left=left, echoed=again is None and echo(sock))

        asyncio.run(main())

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port, rounds),
    )
    assert said == {"again": None, "left": 0, "echoed": "hello"}


def test_a_proxy_that_does_not_answer_in_time_is_a_timeout(hanging):
    def program():
        async def main():
            begun = time.monotonic()
            kind, number, _ = await outcome_of(connect(fresh(), "192.0.2.1", 80))
            say(kind=kind, number=number, patient=time.monotonic() - begun >= 0.2)

        asyncio.run(main())

    said = kernel(
        hanging,
        program,
        options=("--read-timeout", "0.2"),
    )
    assert said == {"kind": "TimeoutError", "number": "ETIMEDOUT", "patient": True}


def test_a_chain_that_has_another_path_takes_it(proxy, echo_server, refusing_port):
    def program(host, port):
        async def main():
            sock = fresh()
            before = descriptors()
            await connect(sock, host, port)
            say(echoed=echo(sock), left=len(descriptors()) - len(before))

        asyncio.run(main())

    said = kernel(
        f"socks5h://127.0.0.1:{refusing_port}",
        program,
        *(echo_server.host, echo_server.port),
        options=("-x", proxy.url(), "--chain-type", "dynamic"),
    )
    assert said == {"echoed": "hello", "left": 0}


def test_a_proxy_of_the_other_family_gets_another_socket(proxy_6, echo_server):
    def program(host, port):
        async def main():
            sock = fresh()
            before = descriptors()
            await connect(sock, host, port)
            say(echoed=echo(sock), left=len(descriptors()) - len(before), peer=sock.getpeername())

        asyncio.run(main())

    said = kernel(
        proxy_6.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"echoed": "hello", "left": 0, "peer": [echo_server.host, echo_server.port]}


def test_what_only_looks_like_a_socket_is_asked_to_connect_itself(proxy):
    def program():
        from unittest import mock

        async def main():
            asked = []
            for sock in mock.Mock(spec=socket.socket), mock.MagicMock():
                sock.gettimeout.return_value = 0
                sock.family, sock.type, sock.proto = socket.AF_INET, socket.SOCK_STREAM, 0
                await connect(sock, "192.0.2.1", 80)
                asked.append(sock.connect.call_args[0][0])
            say(asked=asked)

        asyncio.run(main())

    said = kernel(proxy.url(), program)
    assert said == {"asked": [["192.0.2.1", 80]] * 2}


def test_a_task_whose_proxy_is_gone_lets_the_loop_go_on(refusing_port):
    def program():
        async def main():
            turns = 0

            async def count():
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            counting = asyncio.create_task(count())
            kinds = set()
            for _ in range(20):
                with fresh() as sock:
                    kinds.add((await outcome_of(connect(sock, "192.0.2.1", 80)))[1])
            counting.cancel()
            say(enough=turns >= 20, kinds=sorted(kinds))

        asyncio.run(main())

    assert kernel(f"socks5h://127.0.0.1:{refusing_port}", program) == {
        "enough": True,
        "kinds": ["ECONNREFUSED"],
    }
