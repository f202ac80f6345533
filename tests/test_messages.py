"""Lines on stderr from inside the target."""

from __future__ import annotations

import sys

from tests.support.child import source_of
from tests.support.run import run


def code():
    import sys

    from pywrap.messages import Messages

    messages = Messages(int(sys.argv[1]))
    messages.say(0, "always")
    messages.say(1, "with -v \udc80")
    messages.say(2, "with -vv")


def lines(verbosity):
    return run(sys.executable, "-c", source_of(code), verbosity).err.splitlines()


def test_the_verbosity_decides():
    assert [len(lines(verbosity)) for verbosity in (-1, 0, 1, 2)] == [0, 1, 2, 3]


def test_a_line_names_the_program_and_the_process():
    first, second = lines(1)
    assert first.startswith("pysocksify[") and first.endswith("]: always")
    assert second.endswith("with -v \\udc80")


def test_a_file_that_took_the_number_of_stderr_gets_nothing(tmp_path):
    def program():
        import os
        import sys

        from pywrap.messages import Messages

        messages = Messages(1)
        os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), 2)
        messages.say(0, "not for you")

    run(sys.executable, "-c", source_of(program), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b""


def test_a_reader_that_is_gone_is_no_error():
    def program():
        import os

        from pywrap.messages import Messages

        reader, writer = os.pipe()
        os.dup2(writer, 2)
        messages = Messages(1)
        os.close(reader)
        messages.say(0, "nobody")

    run(sys.executable, "-c", source_of(program))
