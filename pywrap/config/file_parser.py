"""What the readers of files share: lines, words, what was decided, and on which line.

A line that cannot be understood is an error with the file and the line; and so is one that contradicts
another, unless the tool documents which of them counts.
"""

from __future__ import annotations

from pywrap.config.partial_settings import PartialSettings
from pywrap.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pywrap.config.settings import Chain, Proxy, Rewrite, Rule

# The byte order marks.
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class FileParser:
    """What a file has said so far. Each format has a class of its own, which understands its lines."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.line = 0
        self.proxies: list[Proxy] | None = None
        self.chains: list[Chain] = []
        self.rules: list[Rule] = []
        self.rewrites: list[Rewrite] = []
        # Of each block of the file by its name; those of "", outside all blocks, are fields of Choices.
        self.values: dict[str, dict[str, Any]] = {"": {}}
        self.origins: dict[object, str] = {}
        self.warnings: list[str] = []
        # block and field: the line that decided it, and its number
        self._decided: dict[tuple[str, str], tuple[str, int]] = {}

    def read(self, words: list[str]) -> None:
        """Understand one line, which is neither empty nor a comment.

        Raises:
            ConfigError: it is wrong.
        """
        raise NotImplementedError

    def end(self) -> None:
        """The file has ended.

        Raises:
            ConfigError: something is missing.
        """

    def partial(self) -> PartialSettings:
        """All that was said."""
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
        """Note ``value``, unless an earlier line says something else; ``shown`` is this line in messages."""
        if self.values.setdefault(block, {}).setdefault(field, value) != value:
            other, number = self._decided[block, field]
            raise ConfigError(f"`{shown}` contradicts line {number}: `{other}`", "remove one of them")
        self._decided.setdefault((block, field), (shown, self.line))
        if not block:
            self.origins.setdefault(field, self.here())

    def decide_anew(self, field: str, value: object, shown: str, block: str = "") -> None:
        """Note ``value`` in the place of what earlier lines say."""
        self.values.setdefault(block, {})[field] = value
        self._decided[block, field] = (shown, self.line)
        if not block:
            self.origins[field] = self.here()

    def warn(self, text: str) -> None:
        """Note that this line is read otherwise than its tool reads it, or than its writer may think."""
        self.warnings.append(f"{self.here()}: {text}")

    def add_rules(self, rules: Sequence[Rule]) -> None:
        """Note ``rules`` behind those of the lines before."""
        self.rules += rules
        for rule in rules:
            self.origins.setdefault(rule, self.here())

    def add_rewrite(self, rewrite: Rewrite) -> None:
        """Note ``rewrite`` behind those of the lines before."""
        self.rewrites.append(rewrite)
        self.origins.setdefault(rewrite, self.here())

    def here(self) -> str:
        """This line, as messages and --show-config name it."""
        return f"{self.source}:{self.line}"


def parse_lines(data: bytes, parser: FileParser) -> PartialSettings:
    """Read the contents of a file into ``parser``.

    Raises:
        ConfigError: as ``parser`` raises it, with the file and the line.
    """
    if data.startswith(UTF_16):
        raise ConfigError(f"{parser.source}: this is a file in UTF-16", "save it as UTF-8")
    # Bytes, as proxychains splits them: str.split() would also split passwords at blanks of Unicode.
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
    """The words before the one that begins with #."""
    for at, word in enumerate(words):
        if word.startswith("#"):
            return words[:at]
    return words


def _words(line: bytes) -> list[str]:
    if b"\0" in line:
        raise ConfigError("a NUL byte: this is not a text file in ASCII or UTF-8")
    # surrogateescape: a password that is not UTF-8 goes out as it stands here.
    return [word.decode("utf-8", "surrogateescape") for word in line.split()]
