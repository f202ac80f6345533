"""A test suite that another result is seen of under ``pysocksify``."""

import os
import socket  # noqa: F401 - what patches it is loaded then
import sys
import time
import unittest

under = "pywrap.intercept" in sys.modules


class Mine(unittest.TestCase):
    def test_dies(self):
        if under:
            os._exit(3)

    def test_fails(self):
        self.assertFalse(under)

    def test_hangs(self):
        if under:
            time.sleep(100)

    def test_passes(self):
        pass

    @unittest.skip("nowhere")
    def test_skipped(self):
        pass
