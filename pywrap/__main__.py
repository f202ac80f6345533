"""``python -m pywrap``: the command ``pysocksify``."""

import sys

from pywrap.cli import main

sys.exit(main())
