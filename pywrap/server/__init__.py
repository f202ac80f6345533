"""The reference SOCKS server: one epoll loop, no thread per connection, no dependency.

From the bottom up: ``loop`` (descriptors, timers; a handler that raises ends its owner), ``threads`` (calls
that block, with a share for each client), ``descriptors`` (a reserve of them), ``handshake`` (a dialogue fed
as bytes come), ``dial`` (names and connections), ``pumps`` and ``relay`` (moving the bytes), ``connect``
(that command), ``session`` (one client), ``server`` (the listeners). Datagrams have ``outbound`` (the sockets
to the peers), ``names`` (peers that are names), ``datagrams`` (between the client and them) and ``associate``
(that command).

What a client may do: ``rules``, ``limits``, ``users`` and ``passwords``, ``ident``, ``kerberos``. Clients
whose bytes are wrapped: ``wrapped``, ``tls``. Through other proxies: ``upstream``, ``onward``. As a program
it is ``__main__``, with ``options``, ``log`` and ``lines``, ``explain``, ``counters``, ``systemd`` and
``workers``.
"""
