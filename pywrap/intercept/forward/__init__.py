"""Ports on loopback from which a library's own connections, made in C, are carried through the chain.

For libraries that can be told where to connect, and by nothing else (psycopg, pycurl). Bytes are copied, in a
thread of ours, which ends when there is nothing to carry. Only this process is served.
"""
