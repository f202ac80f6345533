"""``--show-config``: the settings as a file in our own format, each line with its origin.

Reading the file gives the same settings again, except for passwords, which are masked.
"""

from __future__ import annotations

from pywrap.config.file_lines import chain_type_lines, comment_text, proxy_line
from pywrap.config.options import READERS
from pywrap.config.partial_settings import PartialSettings, settle
from pywrap.config.proxychains import SECTION
from pywrap.config.route_rules import format_rewrite, format_route

# The column in which comments begin, unless a line is longer.
COLUMN = 40

# Settings with a directive in milliseconds, which is that of proxychains. 0 stands for no limit, and is not
# written; less than a millisecond is written as 1.
MILLISECONDS = {"connect_timeout": "tcp_connect_time_out", "read_timeout": "tcp_read_time_out"}


HEADING = "# What pysocksify would run a program under; each line with where it was said."


def show(partial: PartialSettings, remark: str = "") -> str:
    """The text for the settings in ``partial``; ``remark`` is one more comment at its top.

    Raises:
        ConfigError: two settings contradict each other.
    """
    settings = settle(partial)
    origin = partial.origins.get

    def line(text: str, key: object) -> str:
        return f"{text.ljust(COLUMN)} # {comment_text(origin(key, 'default'))}"

    lines = [HEADING, *([f"# {remark}"] if remark else []), ""]
    default, *named = settings.chains
    lines += [
        line(text, key)
        for text, key in zip(chain_type_lines(default), ("chain_type", "chain_length"), strict=False)
    ]
    for name in READERS:
        value = getattr(settings, name)
        if value == "":
            # There is no log. Files have no word for that: they leave the directive out.
            continue
        if name not in MILLISECONDS:
            lines.append(line(f"{name} {_word(value)}", name))
        elif value:
            lines.append(line(f"{MILLISECONDS[name]} {max(1, round(value * 1000))}", name))
    lines += [line(f"dnat {format_rewrite(rewrite)}", rewrite) for rewrite in settings.rewrites]
    lines += [line(f"route {format_route(rule)}", rule) for rule in settings.rules]
    for chain in (default, *named):
        if not chain.proxies:
            continue
        lines.append("")
        if chain.name:
            lines.append(f"# {comment_text(origin((chain.name, -1), 'default'))}")
            lines += [f"{SECTION[:-1]} {chain.name}]", *chain_type_lines(chain)]
        else:
            lines.append(SECTION)
        for place, proxy in enumerate(chain.proxies):
            # Comments stand on lines of their own here.
            lines += [f"# {comment_text(origin((chain.name, place), 'default'))}", proxy_line(proxy)]
    return "\n".join([*lines, ""])


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
