"""--watch on a terminal, with rich: the tree is drawn anew in place."""

from __future__ import annotations

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from pywrap.launch.watch.judge import NEITHER, UNKNOWN
from pywrap.launch.watch.seen import printable
from pywrap.launch.watch.view import View, grouped, heading, state_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from pywrap.config.settings import Settings
    from pywrap.launch.watch.runs import Process
    from pywrap.launch.watch.seen import Seen

_GOOD, _BAD, _FAINT = "green", "bold red", "dim"


class TerminalView(View):
    """``console``: where to draw; by default the terminal of stdout."""

    def __init__(self, console: Console | None = None) -> None:
        self._live = Live(console=console or Console(), auto_refresh=False, vertical_overflow="ellipsis")

    def __enter__(self) -> TerminalView:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, settings: Settings, processes: Sequence[Process], seen: Seen) -> None:
        """Draw ``processes`` anew."""
        self._live.update(drawn(settings, processes, seen), refresh=True)


def drawn(settings: Settings, processes: Sequence[Process], seen: Seen) -> Group:
    """The tree and the line below it. Texts, never markup: names of processes may have brackets."""
    tree = Tree(Text(heading(settings, processes), "bold"), guide_style=_FAINT)
    branches: dict[int, Tree] = {}
    for process in processes:
        above = branches.get(process.parent, tree)
        style = _BAD if process.is_unprotected else _GOOD
        label = Text.assemble(
            (f"{process.pid} ", _FAINT), (printable(process.name), "bold"), "  ", (state_of(process), style)
        )
        branch = branches[process.pid] = above.add(label)
        for text, count, goes in grouped(process):
            many = f"  × {count}" if count > 1 else ""
            branch.add(Text(text + many, _BAD if goes == NEITHER else "yellow" if goes == UNKNOWN else ""))
    return Group(tree, Text(seen.summary(), _BAD if seen.anything else _FAINT))
