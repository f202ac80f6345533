"""Has a socket at descriptor NUMBER, prints its inode, waits for the end of stdin: hold_socket.py NUMBER"""

import os
import socket
import sys

number = int(sys.argv[1])
os.dup2(socket.socket().detach(), number)
print(os.fstat(number).st_ino, flush=True)
sys.stdin.read()
