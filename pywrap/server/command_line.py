"""The command line of the server: its arguments, and its help."""

from __future__ import annotations

import argparse

from pywrap.config.words import nearest
from pywrap.server.chosen_options import Argument, Options, build
from pywrap.server.option_table import OPTIONS, SECTIONS
from pywrap.server.option_values import SEE_HELP, UsageError
from pywrap.server.options_file import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

    from pywrap.server.option_table import Option

DESCRIPTION = "A SOCKS server: SOCKS4, SOCKS4a and SOCKS5 with UDP, names resolved here."

EXAMPLES = """\
Examples:
  pysocksd
  pysocksd --users users.txt --add-user alice
  pysocksd --listen 0.0.0.0:1080 --listen '[::]:1080' --users users.txt
  pysocksd --listen 192.0.2.1:1080 --allow 'from 192.0.2.0/24' --deny '*'
"""

EPILOG = """\
A server that listens on more than loopback, without --users, refuses private, loopback and link-local
destinations, and itself, except for those that an --allow names.
"""

SIGNALS = """\
SIGTERM and SIGINT stop it. On SIGHUP it reads its files again (users, rules,
limits), on SIGUSR1 it prints the present connections.
Exit status: 0 stopped, 1 cannot start, 2 wrong usage.
"""


def parse(argv: list[str], default_file: str = "") -> Options:
    """Read the arguments, and the file that they name, or else ``default_file`` if it exists.

    Raises:
        UsageError: an argument is wrong; with a hint.
        ConfigError: the file is wrong, or cannot be read.
    """
    given = list(_read_arguments(argv))
    shown = [each.option.name for each in given]
    for name in ("help", "version"):
        if name in shown:
            return Options(show=name)
    _check_values(given)
    files = [each.text for each in given if each.option.name == "config"]
    if files:
        return build([*read_file(files[-1]), *given])
    return build([*read_file(default_file, is_optional=True), *given] if default_file else given)


def _read_arguments(argv: list[str]) -> Iterator[Argument]:
    if {"-h", "--help"} & set(argv[: argv.index("--")] if "--" in argv else argv):
        yield Argument(OPTIONS["help"], "", "--help")
        return
    found, unknown = _parser().parse_known_args(argv)
    if unknown:
        raise UsageError(f"unknown argument: `{unknown[0]}`", _suggestion(unknown[0]))
    yield from found.given or ()


def _check_values(given: list[Argument]) -> None:
    for each in given:
        if each.option.metavar and not each.text:
            # A variable of the shell that is not set, for example: `--users ""` would serve every client.
            raise UsageError(f"no value for `{each.shown}`", SEE_HELP)


class _Note(argparse.Action):
    """Collects the options in the order of the command line."""

    def __init__(self, option: Option, **kw: Any) -> None:
        super().__init__(**kw)
        self._option = option

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        shown: str | None = None,
    ) -> None:
        text = "\0".join(values) if isinstance(values, list) else values or ""
        namespace.given = [*(namespace.given or ()), Argument(self._option, text, shown or "")]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, SEE_HELP)

    def format_help(self) -> str:
        formatter = self._get_formatter()
        for group in self._action_groups:
            if group._group_actions:
                formatter.start_section(group.title)
                formatter.add_arguments(group._group_actions)
                formatter.end_section()
        options = formatter.format_help().rstrip()
        formatter = self._get_formatter()
        formatter.add_text(EPILOG)
        return (
            f"{DESCRIPTION}\n\nUsage: pysocksd [OPTIONS]\n\n{EXAMPLES}\n{options}\n\n"
            f"{formatter.format_help()}\n{SIGNALS}"
        )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "pysocksd",
        add_help=False,
        allow_abbrev=False,
        argument_default=None,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=26, width=80),
    )
    parser.set_defaults(given=())
    for title, options in SECTIONS:
        group = parser.add_argument_group(title)
        for option in options:
            names = [f"-{option.short}"] if option.short else []
            many = len(option.metavar.split())
            group.add_argument(
                *names,
                f"--{option.name}",
                action=_Note,
                option=option,
                dest="given",
                nargs=many if many > 1 else None if many else 0,
                metavar=tuple(option.metavar.split()) if many > 1 else option.metavar or None,
                help=option.help.replace("%", "%%"),
            )
    return parser


def help_text() -> str:
    """The text of --help, in lines of at most 80 characters."""
    return _parser().format_help()


def _suggestion(argument: str) -> str:
    near = nearest(argument.partition("=")[0], [f"--{name}" for name in OPTIONS])
    return f"did you mean `{near}`? {SEE_HELP}" if near else SEE_HELP
