"""Send a Python program's traffic through SOCKS proxies. The command is ``pysocksify``."""

__version__ = "0.1.0"
