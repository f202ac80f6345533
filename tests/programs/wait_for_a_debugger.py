"""Says that it runs, and ends when a debugger has changed ``wanted``: wait_for_a_debugger.py"""

import time

print('"started"', flush=True)
wanted, end = 17, time.monotonic() + 60
while wanted == 17 and time.monotonic() < end:
    time.sleep(0.01)
print(wanted)
