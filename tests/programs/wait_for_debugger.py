"""Waits until a debugger that attaches has changed ``wanted``, and prints it."""

import time

print('"started"', flush=True)
wanted, end = 17, time.monotonic() + 60
while wanted == 17 and time.monotonic() < end:
    time.sleep(0.01)
print(wanted)
