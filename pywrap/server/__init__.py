"""The reference SOCKS server: one epoll loop, no thread per connection, no dependency.

From the bottom up: ``loop`` (descriptors, timers), ``handshake`` (a dialogue fed as bytes
come), ``dial`` (names and connections), ``pumps`` and ``relay`` (moving the bytes),
``connect`` (that command), ``session`` (one client), ``server`` (the listeners). Datagrams
have ``outbound`` (the sockets to the peers), ``names`` (peers that are names), ``datagrams``
(between the client and them) and ``associate`` (that command). As a program it is
``__main__``, with ``options``, ``users`` and ``log``.
"""
