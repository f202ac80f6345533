"""Wait until HOST:PORT accepts a connection; fail after SECONDS.

wait_for_port.py HOST PORT SECONDS
"""

import socket
import sys
import time

end = time.monotonic() + float(sys.argv[3])
while True:
    try:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), 1).close()
        break
    except OSError:
        if time.monotonic() > end:
            sys.exit(1)
        time.sleep(0.01)
