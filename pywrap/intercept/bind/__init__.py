"""Sockets that listen on the last proxy (SOCKS BIND)."""
