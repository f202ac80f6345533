"""Datagram sockets that talk through a chain of proxies."""
