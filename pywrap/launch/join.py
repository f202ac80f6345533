"""Run as a script before a child that is not Python: enters the run's confinement and becomes the child.

    python -I -S -E join.py JOINING FILE [ARG0 [ARG]...]

JOINING is of ``pywrap.programs.joining``. The child keeps its process, its parent, its descriptors, its group
and its limits. Where there is no confinement yet, a broker is started, which is no child of anything here.
"""

import os
import signal
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main() -> None:
    """Enter the confinement of the run, and become the program."""
    # A Ctrl-C ends the child as it would itself.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Behind the standard library.
    sys.path.append(ROOT)
    from pywrap.launch import joiner

    word, file, *argv = sys.argv[1:]
    joiner.join(word, file, argv)


main()
