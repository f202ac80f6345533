"""The reference SOCKS server: one epoll loop, no thread per connection, no dependency.

Below it, in ``pywrap.relay``, which the confinement's broker shares: ``loop`` (descriptors, timers; a
handler that raises ends its owner), ``descriptor_reserve``, ``pumps`` and ``relay`` (moving the bytes),
``wrapped`` with ``tls`` and ``kerberos`` (connections whose bytes are wrapped), ``securing`` (the same for
connections to other proxies).

Here, from the bottom up: ``threads`` (calls that block, with a share for each client), ``tcp.dial`` (names
and connections), ``handshake`` (a dialogue fed as bytes come), ``commands`` (a file each), ``session`` (one
client), ``server`` (the listeners). For datagrams: ``udp.sockaddr``, ``udp.batch`` and ``udp.mmsg`` (many
datagrams by one system call), ``udp.outbound`` (the sockets to the peers), ``udp.peer_names`` (peers that are
named, not given by address) and ``udp.udp_relay`` (between the client and the peers).

What a client may do: ``access_rules``, ``limits``, ``users`` and ``passwords``, ``ident``. Through other
proxies: ``upstream``, ``onward`` (datagrams), ``advertised``. As a program it is ``__main__``, with
``option_table``, ``option_values``, ``options_file``, ``command_line`` and ``chosen_options``,
``stderr_log`` and ``lines``, ``explain``, ``counters``, ``systemd`` and ``workers``.
"""
