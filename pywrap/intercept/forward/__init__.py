"""Ports on loopback, to which a library connects in C, and from which its bytes are carried to the proxies.

For libraries whose destination can be changed, but not their sockets (psycopg, pycurl). A thread of ours
copies the bytes, and ends when there is nothing to carry. Only connections of this process are served.
"""
