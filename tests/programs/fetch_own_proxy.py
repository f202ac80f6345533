"""Fetches a URL through a SOCKS proxy of its own, in the way that is named: HOW PROXY_HOST PROXY_PORT URL."""

from __future__ import annotations

import asyncio
import sys
from urllib.parse import urlsplit

how, host, port, url = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
target = urlsplit(url)
ASK = f"GET {target.path or '/'} HTTP/1.0\r\nHost: {target.netloc}\r\n\r\n".encode()


def requests(scheme: str) -> bytes:
    import requests

    return requests.get(url, proxies={"http": f"{scheme}://{host}:{port}"}, timeout=30).content


def monkeypatched() -> bytes:
    import socket
    import urllib.request

    import socks

    socks.set_default_proxy(socks.SOCKS5, host, port, rdns=False)
    socket.socket = socks.socksocket  # type: ignore[misc]
    with urllib.request.urlopen(url, timeout=30) as answer:
        return bytes(answer.read())


def pysocks(kind: str) -> bytes:
    import socks

    with socks.socksocket() as sock:
        sock.settimeout(30)
        sock.set_proxy(getattr(socks, kind), host, port, rdns=False)
        sock.connect((target.hostname, target.port))
        sock.sendall(ASK)
        return read(sock)


def python_socks(kind: str) -> bytes:
    from python_socks import ProxyType
    from python_socks.sync import Proxy

    proxy = Proxy(ProxyType[kind], host, port, rdns=False)
    with proxy.connect(target.hostname, target.port, timeout=30) as sock:
        sock.sendall(ASK)
        return read(sock)


def python_socks_asyncio() -> bytes:
    from python_socks.async_.asyncio import Proxy

    async def fetch() -> bytes:
        proxy = Proxy.from_url(f"socks5://{host}:{port}", rdns=False)
        sock = await proxy.connect(target.hostname, target.port, timeout=30)
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(ASK)
        data = await reader.read()
        writer.close()
        return data

    return asyncio.run(fetch())


def aiohttp_socks() -> bytes:
    import aiohttp
    from aiohttp_socks import ProxyConnector

    async def fetch() -> bytes:
        connector = ProxyConnector.from_url(f"socks5://{host}:{port}", rdns=False)
        async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as answer:
            return await answer.read()

    return asyncio.run(fetch())


def httpx() -> bytes:
    import httpx

    return httpx.get(url, proxy=f"socks5://{host}:{port}", timeout=30).content


def read(sock: object) -> bytes:
    data = b""
    while piece := sock.recv(65536):  # type: ignore[attr-defined]
        data += piece
    return data


ways = {
    "requests socks5": lambda: requests("socks5"),
    "requests socks5h": lambda: requests("socks5h"),
    "requests socks4": lambda: requests("socks4"),
    "socket.socket": monkeypatched,
    "PySocks SOCKS5": lambda: pysocks("SOCKS5"),
    "PySocks SOCKS4": lambda: pysocks("SOCKS4"),
    "python-socks SOCKS5": lambda: python_socks("SOCKS5"),
    "python-socks SOCKS4": lambda: python_socks("SOCKS4"),
    "python-socks asyncio": python_socks_asyncio,
    "aiohttp-socks": aiohttp_socks,
    "httpx": httpx,
}
print(ways[how]().decode("utf-8", "replace")[-200:])
