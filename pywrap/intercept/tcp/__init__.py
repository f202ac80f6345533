"""Stream sockets whose connect() goes through a chain: blocking, non-blocking, and the placeholder."""
