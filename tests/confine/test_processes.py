"""The processes of a network namespace."""

import os
import subprocess
import sys

from pywrap.confine.processes import processes


def test_a_child_is_in_the_namespace_of_its_parent():
    here = os.readlink("/proc/self/ns/net")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in processes(here)
        child.communicate(b"\n")
    assert child.pid not in processes(here)


def test_no_process_is_in_a_namespace_that_does_not_exist():
    assert processes("net:[1]") == []
