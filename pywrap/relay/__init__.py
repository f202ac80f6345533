"""What serves many connections in one thread: the epoll loop, its timers, and the bytes between two sockets.

Shared by the reference server and the broker of a confinement. Its bytes are of any protocol; ``securing``
alone takes steps of SOCKS dialogues, those that wrap a connection.
"""
