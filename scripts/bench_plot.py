"""The picture that ``scripts/bench --plot FILE.svg`` draws of the figures of one run.

CPU of each candidate, as a ratio to the base of its row, which is the line at 1. Needs the extra ``bench``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

US = "pysocksify"
COLOURS = {US: "#2a6fb0", "PySocks": "#b9772c", "python-socks": "#7f9a48"}
OTHERS = "#b5b5b5"


class Row(NamedTuple):
    """What is compared in one place of the picture; ``ratios`` by candidate."""

    title: str
    base: str
    ratios: dict[str, float]


def rows(found: dict[str, Any]) -> list[Row]:
    """The rows that the figures of ``scripts/bench --json`` have."""
    made = []
    for title, kinds in found.get("bench-startup", {}).get("milliseconds", {}).items():
        bare = kinds["bare"]["cpu"]
        ratios = {"in its target": kinds["within"]["cpu"] / bare, US: kinds["launched"]["cpu"] / bare}
        made.append(Row(f"start: {title}", "bare Python", ratios))
    for script in ("bench-connect", "bench-tunnel", "bench-udp"):
        for title, row in found.get(script, {}).get("rows", {}).items():
            base = row.get("base", "by hand")
            cpu = {name: figures["cpu"] for name, figures in row["figures"].items()}
            ratios = {name: each / cpu[base] for name, each in cpu.items() if name != base}
            made.append(Row(row.get("title", title), base, ratios))
    return made


def draw(found: dict[str, Any], path: str) -> None:
    """Write the picture to ``path``.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("svg")
    # The same figures give the same file.
    matplotlib.rcParams.update({"svg.hashsalt": US, "svg.fonttype": "none", "font.family": "sans-serif"})
    from matplotlib.figure import Figure

    found_rows = rows(found)
    figure = Figure(
        figsize=(9, 1.2 + 0.27 * sum(len(row.ratios) for row in found_rows)), layout="constrained"
    )
    axes = figure.add_subplot()
    places, at = [], 0
    for row in found_rows:
        places.append(at)
        if at:
            axes.axhline(at + 0.5, color="#dddddd", linewidth=0.6)
        for name, ratio in row.ratios.items():
            axes.barh(at, ratio, color=COLOURS.get(name, OTHERS), height=0.8)
            axes.text(ratio + 0.03, at, f"{ratio:.2f} {name}", va="center", fontsize=8)
            at -= 1
    axes.set_yticks(places, [f"{row.title}  (÷ {row.base})" for row in found_rows], fontsize=8)
    axes.set_ylim(at + 0.5, 0.5)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlim(0, max(ratio for row in found_rows for ratio in row.ratios.values()) * 1.2)
    axes.set_xlabel("CPU, as a ratio to the base of the row; less is better")
    machine = found["machine"]
    about = f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel'].partition('-')[0]}"
    axes.set_title(f"{about}, Python {machine['python']}, commit {machine['commit']}", fontsize=8, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="svg", metadata={"Date": None})
