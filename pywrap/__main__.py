"""``python -m pywrap``: the command ``pysocksify``."""

import sys

from pywrap import archive

archive.read("launcher")
sys.exit(archive.load("pywrap.cli").main())
