"""What the readers of all configuration formats share: lines, words, the values so far and their lines.

A line that cannot be understood is an error with the file and the line; and so is one that contradicts
another, unless the format says which of them counts, or has no effect; then there is a warning.
"""

from __future__ import annotations

from pywrap.config.config_error import ConfigError
from pywrap.config.partial_settings import PartialSettings
from pywrap.config.words import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from pywrap.config.settings import Chain, Proxy, Rewrite, Rule

# The byte order marks.
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class FileParser:
    """The values in a file so far. Each format has a subclass, which understands the lines."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.line = 0
        self.proxies: list[Proxy] | None = None
        self.chains: list[Chain] = []
        self.rules: list[Rule] = []
        self.rewrites: list[Rewrite] = []
        # The values of each block of the file. Those of the block "" are arguments of PartialSettings.
        self.values: dict[str, dict[str, Any]] = {"": {}}
        self.origins: dict[object, str] = {}
        self.warnings: list[str] = []
        # By block and field: the text of the line that gave the value, and the number of the line.
        self._decided: dict[tuple[str, str], tuple[str, int]] = {}

    def read(self, words: list[str]) -> None:
        """Read the ``words`` of one line, which is neither empty nor a comment.

        Raises:
            ConfigError: the line is wrong.
        """
        raise NotImplementedError

    def end(self) -> None:
        """Finish, after the last line.

        Raises:
            ConfigError: something is missing in the file.
        """

    def partial(self) -> PartialSettings:
        """All values of the file."""
        return PartialSettings(
            proxies=None if self.proxies is None else tuple(self.proxies),
            chains=tuple(self.chains),
            rules=tuple(self.rules),
            rewrites=tuple(self.rewrites),
            origins=self.origins,
            warnings=tuple(self.warnings),
            **self.values[""],
        )

    # ---------------------------------------------------------------- for the readers of lines

    def decide(self, field: str, value: object, shown: str, block: str = "") -> None:
        """Note the ``value`` of ``field`` in ``block``; ``shown`` is this line in messages.

        Raises:
            ConfigError: an earlier line has another value.
        """
        if self.values.setdefault(block, {}).setdefault(field, value) != value:
            other, number = self._decided[block, field]
            raise ConfigError(f"`{shown}` contradicts line {number}: `{other}`", "remove one of them")
        self._decided.setdefault((block, field), (shown, self.line))
        if not block:
            self.origins.setdefault(field, self.here())

    def decide_anew(self, field: str, value: object, shown: str, block: str = "") -> None:
        """Note the ``value`` of ``field`` in ``block``; it replaces that of an earlier line."""
        self.values.setdefault(block, {})[field] = value
        self._decided[block, field] = (shown, self.line)
        if not block:
            self.origins[field] = self.here()

    def warn(self, text: str) -> None:
        """Warn that this line is read in another way than the tool reads it whose format this is."""
        self.warnings.append(f"{self.here()}: {text}")

    def warn_unknown(self, name: str, known: Iterable[str], tool: str) -> None:
        """Warn that this line has no effect: ``tool``, whose format this is, has no directive ``name``.

        ``known``: the directives that it has, the nearest of which is suggested.
        """
        near = nearest(name, known)
        perhaps = f"; did you mean `{near}`?" if near else ""
        self.warn(f"unknown directive, without an effect as for {tool}: `{name}`{perhaps}")

    def add_rules(self, rules: Sequence[Rule]) -> None:
        """Add ``rules`` after those of the lines before."""
        self.rules += rules
        for rule in rules:
            self.origins.setdefault(rule, self.here())

    def add_rewrite(self, rewrite: Rewrite) -> None:
        """Add ``rewrite`` after those of the lines before."""
        self.rewrites.append(rewrite)
        self.origins.setdefault(rewrite, self.here())

    def here(self) -> str:
        """This line, as messages and --show-config name it."""
        return f"{self.source}:{self.line}"


def parse_lines(data: bytes, parser: FileParser) -> PartialSettings:
    """Read the contents of a file into ``parser``.

    Raises:
        ConfigError: a line is wrong; the message begins with the file and the number of the line.
    """
    if data.startswith(UTF_16):
        raise ConfigError(f"{parser.source}: this is a file in UTF-16", "save it as UTF-8")
    # Split as bytes, like proxychains: str.split() would also split passwords at the blanks of Unicode.
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        parser.line = number
        try:
            words = _words(line)
            if words and not words[0].startswith("#"):
                parser.read(words)
        except ConfigError as err:
            raise ConfigError(f"{parser.here()}: {err}", err.hint) from None
    try:
        parser.end()
    except ConfigError as err:
        raise ConfigError(f"{parser.here()}: {err}", err.hint) from None
    return parser.partial()


def without_comment(words: list[str]) -> list[str]:
    """The words before the first one that begins with #."""
    for at, word in enumerate(words):
        if word.startswith("#"):
            return words[:at]
    return words


def _words(line: bytes) -> list[str]:
    if b"\0" in line:
        raise ConfigError("a NUL byte: this is not a text file in ASCII or UTF-8")
    # surrogateescape: a password that is not UTF-8 is sent as the bytes that the file has.
    return [word.decode("utf-8", "surrogateescape") for word in line.split()]
