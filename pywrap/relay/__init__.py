"""What serves many connections in one thread: the epoll loop, its timers, and the bytes between two sockets.

Shared by the reference server and the broker of a confinement; it knows nothing of SOCKS.
"""
