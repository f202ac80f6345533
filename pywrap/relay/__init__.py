"""The epoll loop, pumps, half-close and lingering close: shared by the server and the confinement."""
