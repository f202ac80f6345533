"""Run as a script: the broker of a run's children that are not Python (``confine.shared_confinement``).

    python -I -S -E child_broker.py RUN OWNER READY

The settings are read from stdin. READY is a descriptor, which is closed when connections are accepted. This
is a Python process of its own, not a fork of the program: so it has no thread, no lock and no library of the
program.
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main() -> None:
    """Serve the children of a run. In sys.argv: its name, its owner, and a descriptor to report to."""
    # At the end of the path, behind the standard library.
    sys.path.append(ROOT)
    from pywrap.config.settings_env import decode
    from pywrap.confine.shared_confinement import serve
    from pywrap.programs.joining import address

    run, owner, ready = sys.argv[1:]
    settings = decode(sys.stdin.read())
    serve(settings, address(run), run, int(owner), int(ready))


main()
