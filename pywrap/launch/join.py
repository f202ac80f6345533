"""Run as a script before a child that is not Python: enters the run's confinement and becomes the child.

    python -I -S -E join.py JOINING FILE [ARG0 [ARG]...]

JOINING: a word that ``pywrap.programs.joining`` makes and reads. The child keeps its process, its parent, its
descriptors, its group and its limits. Where there is no confinement yet, a broker is started, as a daemon.
"""

import os
import signal
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main() -> None:
    """Enter the confinement of the run, and become the program."""
    # A Ctrl-C ends this process by the signal, as it would end the child, and not by KeyboardInterrupt.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # At the end of the path, behind the standard library.
    sys.path.append(ROOT)
    from pywrap.launch import joiner

    word, file, *argv = sys.argv[1:]
    joiner.join(word, file, argv)


main()
