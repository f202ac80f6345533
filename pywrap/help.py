"""The texts of ``pysocksify -h`` and ``--help``, made from the table of options.

The manual pages and the completions are made from the same table (``scripts/documents``). A run imports this
module only to print help.
"""

from __future__ import annotations

from textwrap import wrap

from pywrap.config.options import GROUPS, OPTIONS, Option

WIDTH = 79
# The column in which the summaries begin in -h.
COLUMN = 25

TITLE = "Run a program with its network traffic sent through SOCKS proxies."
USAGE = ("[OPTIONS] [--] PROGRAM [ARG]...", "[OPTIONS] --check [--json] [URL]...")
SHORT_EXAMPLES = (
    "pysocksify -x socks5h://127.0.0.1:9050 python app.py",
    "pysocksify -x socks5h://127.0.0.1:9050 ncat fibs.com 4321",
    "pysocksify -x socks5h://first -x socks4a://second pip download six",
    "pysocksify -x embedded -v python app.py",
)
EXAMPLES = (
    "pysocksify -x socks5h://127.0.0.1:9050 python app.py",
    "pysocksify -x socks5h://127.0.0.1:9050 ncat fibs.com 4321",
    "pysocksify -x socks5h://alice:s%20cret@proxy.example:1080 ./app.py",
    "pysocksify -x socks5h://first -x socks4a://second pip download six",
    "pysocksify -x socks5h://first --direct 10.0.0.0/8,'*.corp' ./app.py",
    "pysocksify -f work.conf -v uvicorn app:main",
)
DESCRIPTION = """\
PROGRAM is any program. A Python one of CPython 3.11 or later is patched as it starts: an interpreter
(python app.py, python -m module), a console script (pip, uvicorn), a script with a Python shebang
(./app.py) or a zipapp; env, timeout, nice, sudo -E and their like may stand before it. Every other program
is confined: it runs in a network namespace whose only way out is through the proxies (--confine). Options
end where PROGRAM begins: what follows belongs to it. What cannot be sent through the proxies is refused,
never sent directly."""
REPEATING = """\
Options of one value may be repeated: the last one counts, except for {adding}, which add up. What the
command line says replaces what the file says; --direct, --route and --dnat come before what the file says."""
FILES = (
    "FILE of -f",
    "$PYSOCKSIFY_CONF",
    "$XDG_CONFIG_HOME/pysocksify/pysocksify.conf (by default ~/.config/pysocksify/pysocksify.conf)",
    "/etc/pysocksify.conf",
)
ABOUT_FILES = """\
The last two are not read when -x names a proxy, so that a file which was not named cannot weaken the command
line. A file of the current folder is read when -f names it. The file in use is named on stderr, unless it was
given by -f.

Their syntax is that of proxychains.conf, with some more directives; files of tsocks and of torsocks are
understood as well. If a file that was named is missing, or there is an error in it, nothing is started."""
ENVIRONMENT = (
    ("PYSOCKSIFY_CONF", "a configuration file"),
    ("XDG_CONFIG_HOME, HOME", "where the user's configuration file is"),
    ("ALL_PROXY, NO_PROXY", "with -x env: the proxy, and what needs none"),
    (
        "PYSOCKSIFY_SETTINGS",
        "set for PROGRAM: the settings it runs under, or the file with them if there is a password in them",
    ),
)
ABOUT_STATUS = (
    "PROGRAM's own. pysocksify turns into PROGRAM: the process, its terminal and its signals stay the same."
)
STATUSES = (
    ("125", "pysocksify failed, and PROGRAM was not started"),
    ("126", "PROGRAM cannot be executed, or can neither be patched nor confined"),
    ("127", "PROGRAM was not found"),
)
STATUS_OF_CHECK = "With --check, 0: a connection was seen through each proxy that is not raw; 1: it was not."


def short_help() -> str:
    """The text of ``-h``."""
    lines = [TITLE, "", f"Usage: pysocksify {USAGE[0]}", "", "Examples:"]
    lines += [f"  {example}" for example in SHORT_EXAMPLES]
    for group in GROUPS:
        lines += ["", f"{group}:"]
        for option in _of(group):
            lines += _short_lines(option)
    lines += [
        "",
        *_wrapped(
            "Exit status: PROGRAM's own, or 125 pysocksify failed, 126 PROGRAM cannot run, "
            "127 PROGRAM not found.",
            0,
        ),
    ]
    return "\n".join([*lines, ""])


def long_help() -> str:
    """The text of ``--help``."""
    lines = [TITLE, "", f"Usage: pysocksify {USAGE[0]}", f"       pysocksify {USAGE[1]}", ""]
    lines += [*_wrapped(DESCRIPTION, 0), "", "Examples:", *(f"  {example}" for example in EXAMPLES)]
    for group in GROUPS:
        lines += ["", f"{group}:"]
        for option in _of(group):
            lines.append(f"  {signature(option)}" if option.short else f"      {signature(option)}")
            lines += _wrapped(option.text, 8)
    lines += ["", *_wrapped(repeating(), 0), "", "Files:", "  The first of these is read, and no other:"]
    for file in FILES:
        lines += _wrapped(file, 4)
    lines += [*_wrapped(ABOUT_FILES, 2), "", "Environment:"]
    for name, text in ENVIRONMENT:
        head, *rest = wrap(text, WIDTH - COLUMN)
        lines += [f"  {name:22} {head}", *(" " * COLUMN + line for line in rest)]
    lines += ["", "Exit status:", *_wrapped(f"{ABOUT_STATUS} Otherwise", 2)]
    lines += [f"  {status}    {text}" for status, text in STATUSES]
    return "\n".join([*lines, *_wrapped(STATUS_OF_CHECK, 2), ""])


def repeating() -> str:
    """The paragraph about options that are given more than once."""
    adding = [option.flag for option in OPTIONS if option.adds]
    return REPEATING.format(adding=", ".join(adding[:-1]) + f" and {adding[-1]}")


def signature(option: Option) -> str:
    """An option in its written form: ``-x, --proxy URL``."""
    flags = f"{option.short}, {option.flag}" if option.short else option.flag
    return flags + option.metavar if option.metavar.startswith("[=") else f"{flags} {option.metavar}".rstrip()


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text of the table, a line each."""
    return [" ".join(paragraph.split("\n")) for paragraph in text.split("\n\n")]


def _of(group: str) -> list[Option]:
    return [option for option in OPTIONS if option.group == group]


def _short_lines(option: Option) -> list[str]:
    flags = f"{option.short}, {option.flag}" if option.short else f"    {option.flag}"
    value = "" if option.metavar.startswith("[=") else option.brief or option.metavar
    head = f"  {flags} {value}".rstrip()
    text = wrap(option.summary, WIDTH - COLUMN, break_on_hyphens=False)
    if len(head) >= COLUMN:
        return [head, *(" " * COLUMN + line for line in text)]
    return [head.ljust(COLUMN) + text[0], *(" " * COLUMN + line for line in text[1:])]


def _wrapped(text: str, indent: int) -> list[str]:
    lines: list[str] = []
    for paragraph in paragraphs(text):
        lines += [
            " " * indent + line
            for line in wrap(paragraph, WIDTH - indent, break_long_words=False, break_on_hyphens=False)
        ]
    return lines
