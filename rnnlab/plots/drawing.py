"""What the pictures share: the look of each arm, axes, legends, and how a picture is written."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from rnnlab.plots.series import number

__all__ = [
    "DOTTED",
    "LARGE",
    "LOOKS",
    "GREY",
    "RED",
    "SMALL",
    "TINY",
    "Look",
    "dress",
    "empty_figure",
    "handle",
    "legend",
    "look_of",
    "plain_decades",
    "rate_axis",
    "replacing",
    "save",
    "say",
    "wrapped",
]

WIDTH, HEIGHT, DPI = 7.0, 4.0, 150  # inches, inches, dots per inch
LARGE, SMALL, TINY = 12, 11, 10  # points
DOTTED: dict[str, Any] = {"color": "0.35", "linestyle": ":", "linewidth": 1.5}
GREY = "0.62"
RED = "#c00000"


class Look(NamedTuple):
    """Colour, marker and line of an arm: any one of the three tells it from the others."""

    color: str
    marker: str
    line: Any


# The colours of Okabe and Ito, which the colour-blind can tell apart.
LOOKS = {
    "sgd": Look("#0072B2", "o", "-"),
    "clip": Look("#D55E00", "s", (0, (6, 2))),
    "wgn": Look("#009E73", "^", (0, (6, 1.5, 1.5, 1.5))),
    "projection": Look("#CC79A7", "D", (0, (2, 1.2))),
    "adam": Look("#E69F00", "v", (0, (6, 1.5, 1.5, 1.5, 1.5, 1.5))),
    "centralize": Look("#56B4E9", "P", (0, (1, 1))),
    "block": Look("#000000", "*", (0, (10, 3))),
}
# For arms without a look of their own, once the others are taken: of Paul Tol's muted colours.
SPARE = (
    Look("#882255", "X", "-"),
    Look("#44AA99", "<", (0, (3, 1))),
    Look("#999933", ">", (0, (8, 2, 1.5, 2))),
    Look("#332288", "h", (0, (1, 2))),
)


def look_of(name: str, arms: Mapping[str, Any]) -> Look:
    """Return the look of an arm; one without its own gets the next that no other arm of the picture has."""
    if name in LOOKS:
        return LOOKS[name]
    free = [*(look for known, look in LOOKS.items() if known not in arms), *SPARE]
    strangers = [arm for arm in arms if arm not in LOOKS]
    return free[strangers.index(name) % len(free)]


def empty_figure(extra: float = 0.0) -> Figure:
    """Return a white figure, ``extra`` inches higher than others; `legend` makes it higher still."""
    return Figure(figsize=(WIDTH, HEIGHT + extra), dpi=DPI, facecolor="white", layout="constrained")


def dress(axes: Axes, xlabel: str = "", ylabel: str = "") -> None:
    """Give axes their labels, a faint grid and type that can be read on a phone."""
    axes.set_facecolor("white")
    axes.set_xlabel(xlabel, fontsize=LARGE)
    axes.set_ylabel(ylabel, fontsize=LARGE)
    axes.tick_params(labelsize=SMALL)
    axes.grid(True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def say(axes: Axes, words: str) -> None:
    """Write words into the middle of empty axes."""
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize=LARGE, color="0.35")


def handle(name: str, arms: Mapping[str, Any], note: str = "", line: bool = True, marker: bool = True) -> Line2D:
    """Return what stands for an arm in a legend."""
    look = look_of(name, arms)
    return Line2D(
        [],
        [],
        color=look.color,
        linestyle=look.line if line else "",
        marker=look.marker if marker else "",
        markersize=7,
        linewidth=2,
        label=wrapped(arms[name]["title"], note),
    )


def wrapped(title: str, note: str = "") -> str:
    """Return an arm's title with a note, not too long, and free of what matplotlib takes for mathematics.

    Examples
    --------
    >>> wrapped("plain SGD", "rate 1"), wrapped("a $ " + 40 * "x")
    ('plain SGD, rate 1', 'a \\\\$ xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…')
    """
    short = title if len(title) <= 36 else f"{title[:35]}…"
    return (f"{short}, {note}" if note else short).replace("$", r"\$")


def legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Put a legend below everything, where it covers no data, and make the figure higher by as much."""
    columns = 2 if len(handles) > 1 and max(len(str(handle.get_label())) for handle in handles) <= 34 else 1
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.24 * math.ceil(len(handles) / columns))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        fontsize=SMALL,
        frameon=False,
        handlelength=3.2,
        columnspacing=1.2,
    )


def plain_decades(axes: Axes) -> None:
    """Make y logarithmic, labelled 0.001, 1, 100: plain numbers, and enough of them where there are few decades."""
    axes.set_yscale("log")
    lowest, highest = axes.get_ylim()
    subs = (1, 2, 5) if highest < 30 * lowest else (1, 3) if highest < 300 * lowest else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: number(y)))
    axes.yaxis.set_minor_locator(NullLocator())


def rate_axis(axes: Axes, rates: Sequence[float]) -> None:
    """Make x an axis of learning rates, with a label at each decade."""
    axes.set_xscale("log")
    lowest, highest = (min(rates), max(rates)) if rates else (0.1, 10.0)
    axes.set_xlim(lowest / 1.6, highest * 1.6)
    decades = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)
    ticks = [10.0**k for k in decades if lowest / 1.6 <= 10.0**k <= highest * 1.6]
    axes.xaxis.set_major_locator(FixedLocator(ticks[:: math.ceil(len(ticks) / 8)] if len(ticks) > 1 else [lowest]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: number(x)))
    axes.xaxis.set_minor_locator(NullLocator())


def save(figure: Figure, folder: str | os.PathLike[str], name: str) -> tuple[Path, Path]:
    """Write ``name.png`` and ``name.svg`` into a folder; the same picture gives the same bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    folder : path
    name : str

    Returns
    -------
    tuple of Path
        Of the PNG and of the SVG.
    """
    png, svg = (Path(folder) / f"{name}.{kind}" for kind in ("png", "svg"))
    with replacing(png) as partial:
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
    with replacing(svg) as partial, rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(partial, format="svg", metadata={"Date": None})
    return png, svg


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name to write to, and put what was written in the place of ``path`` at the end: all of it or nothing.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "a.txt") as partial:
    ...         _ = partial.write_text("whole")
    ...     [entry.name for entry in Path(folder).iterdir()]
    ['a.txt']
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
