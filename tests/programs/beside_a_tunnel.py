"""A connection that is being made, and another one meanwhile: beside_a_tunnel.py HOST PORT HOST PORT

Prints what the other end of the second one says, and whether the first one is still being made.
"""

import select
import socket
import sys

first = socket.socket()
first.setblocking(False)
first.connect_ex((sys.argv[1], int(sys.argv[2])))
second = socket.create_connection((sys.argv[3], int(sys.argv[4])))
print(second.makefile().readline().strip())
print("decided" if select.select([first], [first], [first], 0)[1] else "under way")
