"""A finder that opens a connection for every import, also for those that come of that; then one connection.

``finder_connects.py HOST PORT WHEN LETS_PASS``: the finder comes "before" the import of ``socket`` or "after"
it; the exceptions of its connections that it does not catch.
"""

import _signal
import faulthandler
import sys

host, port, when, lets_pass = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
if when == "after":
    import socket  # noqa: F401
faulthandler.dump_traceback_later(50, exit=True)
masks = set()


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        masks.add(tuple(_signal.pthread_sigmask(_signal.SIG_BLOCK, ())))
        try:
            reach()
        except BaseException as err:
            is_passed = lets_pass == "everything" or not isinstance(err, OSError)
            if lets_pass != "nothing" and is_passed:
                raise


def reach():
    import socket

    with socket.socket() as sock:
        sock.connect((host, port))
        sock.sendall(b"hello")
        return sock.recv(5, socket.MSG_WAITALL).decode()


finder = Finder()
sys.meta_path.insert(0, finder)
try:
    reach()
except (OSError, RecursionError):
    # Of a finder that lets it pass.
    pass
sys.meta_path.remove(finder)
import json  # noqa: E402

print(json.dumps({"masks": sorted(masks), "limit": sys.getrecursionlimit(), "reached": reach()}))
