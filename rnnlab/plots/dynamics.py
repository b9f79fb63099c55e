"""One picture for each instrument of `rnnlab.dynamics`, drawn from what it returns.

Each function takes results by name, such as ``{"tanh": ..., "relu": ...}``, and returns a `matplotlib.figure.Figure`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rnnlab.backend import Array, to_numpy
from rnnlab.dynamics import JacobianProduct, Saturation, Spectrum, WeightStatistics
from rnnlab.plots.drawing import DOTTED, LARGE, SMALL, dress, empty_figure, handle, legend, look_of, plain_decades, say
from rnnlab.plots.series import Series, positive

__all__ = [
    "gradient_norm_against_distance",
    "jacobian_matrix",
    "product_of_jacobians",
    "saturation_shares",
    "singular_values_and_eigenvalues",
    "statistics_of_weights",
]

BLUE, ORANGE = "#0072B2", "#D55E00"


def gradient_norm_against_distance(norms: Mapping[str, Array]) -> Figure:
    """Draw how large the gradient is after so many steps back, on a logarithmic axis.

    Parameters
    ----------
    norms : mapping
        Name -> norms, shape (T,), as `rnnlab.dynamics.gradient_norm_through_time` returns them. A norm of zero, which
        the axis cannot show, ends its line.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> figure = gradient_norm_against_distance({"0.9": 0.9 ** np.arange(50), "1.1": 1.1 ** np.arange(50)})
    >>> figure.axes[0].get_yscale()
    'log'
    """
    arms = _arms(norms)
    figure = empty_figure()
    axes = figure.subplots()
    values = {name: positive(to_numpy(y)) for name, y in norms.items()}
    for name, y in values.items():
        _line(axes, np.arange(len(y)), y, name, arms)
    dress(axes, "distance from the last step (steps)", "gradient norm")
    if any(np.isfinite(y).any() for y in values.values()):
        plain_decades(axes)
        axes.axhline(1.0, **DOTTED, zorder=1)
    else:
        say(axes, "no gradient above zero")
    legend(figure, [handle(name, arms) for name in arms])
    return figure


def jacobian_matrix(jacobian: Array, states: Sequence[str] = ("h",)) -> Figure:
    """Draw a Jacobian as a field of colours: red is positive, blue negative, white zero.

    Parameters
    ----------
    jacobian : Array, shape (S, S)
        Of one step and one sequence.
    states : sequence of str
        What the state consists of, ``("h", "c")`` for an LSTM; parts of equal size.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        The shape is that of no Jacobian of such a state.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> layer = rl.LSTM(2, 8)
    >>> J = rl.dynamics.step_jacobians(layer, layer.init(np.random.default_rng(0)), np.ones((5, 1, 2)))
    >>> figure = jacobian_matrix(J[4, 0], states=("h", "c"))
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ["h'", "c'"]
    """
    J = to_numpy(jacobian)
    if J.ndim != 2 or J.shape[0] != J.shape[1] or J.shape[0] % len(states):
        raise ValueError(f"jacobian must have shape (S, S) with S a multiple of {len(states)}; got {J.shape}")
    figure = empty_figure(extra=0.6)
    axes = figure.subplots()
    largest = float(np.nanmax(np.abs(np.where(np.isfinite(J), J, np.nan)), initial=0.0)) or 1.0
    image = axes.imshow(J, cmap="RdBu_r", norm=Normalize(-largest, largest), interpolation="nearest")
    size = J.shape[0] // len(states)
    for k in range(1, len(states)):
        axes.axhline(k * size - 0.5, color="0.35", linewidth=1.2)
        axes.axvline(k * size - 0.5, color="0.35", linewidth=1.2)
    middles = [(k + 0.5) * size - 0.5 for k in range(len(states))]
    dress(axes, "state before the step", "state after it")
    axes.grid(False)
    axes.set_xticks(middles, states, fontsize=LARGE)
    axes.set_yticks(middles, [f"{name}'" for name in states], fontsize=LARGE)
    bar = figure.colorbar(image, ax=axes)
    bar.set_label("derivative", fontsize=LARGE)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


def product_of_jacobians(products: Mapping[str, JacobianProduct]) -> Figure:
    """Draw the norm of products of Jacobians against their number, and the rates at which all directions grow.

    Of several sequences the mean is drawn: of the logarithms on the left, of the rates on the right. The dotted lines
    are at no growth. The left axis counts in powers of ten, which need not be numbers that a float can hold.

    Parameters
    ----------
    products : mapping
        Name -> what `rnnlab.dynamics.jacobian_product` returns.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> steps = np.random.default_rng(0).normal(size=(1000, 4, 4))
    >>> figure = product_of_jacobians({"normal": rl.dynamics.jacobian_product(steps)})
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['number of steps', 'direction']
    """
    arms = _arms(products)
    figure = empty_figure()
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    for name, (log_norms, rates) in products.items():
        powers = _shown(log_norms.reshape(len(log_norms), -1).mean(axis=1) / np.log(10))
        _line(left, np.arange(len(powers)), powers, name, arms)
        rates = _shown(rates.reshape(-1, rates.shape[-1]).mean(axis=0))
        _line(right, 1 + np.arange(len(rates)), rates, name, arms)
    left.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    left.yaxis.set_major_formatter(FuncFormatter(lambda power, _: f"$10^{{{power:.0f}}}$"))
    right.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for axes in (left, right):
        axes.axhline(0.0, **DOTTED, zorder=1)
    dress(left, "number of steps", "norm of the product")
    dress(right, "direction", "growth per step (nats)")
    legend(figure, [handle(name, arms) for name in arms])
    return figure


def singular_values_and_eigenvalues(spectra: Mapping[str, Spectrum]) -> Figure:
    """Draw eigenvalues in the complex plane, with the circle of modulus 1, and singular values in falling order.

    Parameters
    ----------
    spectra : mapping
        Name -> what `rnnlab.dynamics.spectrum` returns for one matrix.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> W = rl.LSTM(2, 16).init(np.random.default_rng(0))["weight_hh"]
    >>> blocks = rl.dynamics.recurrent_blocks(W)
    >>> figure = singular_values_and_eigenvalues({name: rl.dynamics.spectrum(b) for name, b in blocks.items()})
    >>> len(figure.axes)
    2
    """
    arms = _arms(spectra)
    figure = empty_figure()
    left, right = figure.subplots(1, 2)
    turn = np.linspace(0, 2 * np.pi, 200)
    left.plot(np.cos(turn), np.sin(turn), **DOTTED, zorder=1)
    right.axhline(1.0, **DOTTED, zorder=1)
    for name, (eigenvalues, singular_values) in spectra.items():
        look = look_of(name, arms)
        left.plot(eigenvalues.real, eigenvalues.imag, linestyle="", marker=look.marker, markersize=5, color=look.color,
                  alpha=0.8)  # fmt: skip
        _line(right, 1 + np.arange(len(singular_values)), singular_values, name, arms)
    left.set_aspect("equal", adjustable="datalim")
    largest = max((float(s.max()) for _, s in spectra.values() if np.isfinite(s).all()), default=1.0)
    right.set_ylim(0, 1.1 * max(1.0, largest))
    right.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    dress(left, "real part of eigenvalue", "imaginary part")
    dress(right, "rank", "singular value")
    legend(figure, [handle(name, arms) for name in arms])
    return figure


def saturation_shares(shares: Mapping[str, Saturation]) -> Figure:
    """Draw which share of each gate's values is saturated: to the left at its low end, to the right at its high end.

    Parameters
    ----------
    shares : mapping
        Name -> Saturation, as `rnnlab.dynamics.gate_saturation` returns them.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> layer = rl.GRU(2, 8)
    >>> shares = rl.dynamics.gate_saturation(layer, layer.init(np.random.default_rng(0)), np.ones((5, 4, 2)))
    >>> [label.get_text() for label in saturation_shares(shares).axes[0].get_yticklabels()]
    ['r', 'z', 'n']
    """
    figure = empty_figure(extra=0.3 * max(len(shares) - 8, 0))
    axes = figure.subplots()
    rows = np.arange(len(shares))
    low, high = (np.array([getattr(share, side) for share in shares.values()], float) for side in ("low", "high"))
    axes.barh(rows, -100 * low, color=BLUE, hatch="//", edgecolor="white", height=0.6)
    axes.barh(rows, 100 * high, color=ORANGE, height=0.6)
    axes.axvline(0.0, color="0.35", linewidth=1.0)
    axes.set_xlim(-100, 100)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{abs(share):.0f} %"))
    dress(axes, "share of the gate's values", "gate")
    _names(axes, rows, shares)
    ends = ((BLUE, "low end (below 0.1; tanh: below -0.9)"), (ORANGE, "high end (above 0.9)"))
    legend(figure, [Line2D([], [], color=color, linewidth=8, label=label) for color, label in ends])
    return figure


def statistics_of_weights(statistics: Mapping[str, WeightStatistics]) -> Figure:
    """Draw mean and standard deviation of each array, and its skewness and excess kurtosis.

    The dotted line on the right is where a normal distribution lies.

    Parameters
    ----------
    statistics : mapping
        Name -> WeightStatistics, as `rnnlab.dynamics.weight_statistics` returns them.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> params = rl.GRU(2, 8).init(np.random.default_rng(0))
    >>> figure = statistics_of_weights({name: rl.dynamics.weight_statistics(w) for name, w in params.items()})
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['mean ± standard deviation', 'skewness and excess kurtosis']
    """
    figure = empty_figure(extra=0.3 * max(len(statistics) - 8, 0))
    left, right = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(statistics))
    table = _shown(np.array(list(statistics.values()), float).reshape(-1, 4))
    left.errorbar(table[:, 0], rows, xerr=table[:, 1], linestyle="", marker="o", color="0.2", capsize=4, linewidth=2)
    right.axvline(0.0, **DOTTED, zorder=1)
    for column, color, marker in ((2, BLUE, "o"), (3, ORANGE, "s")):
        right.plot(table[:, column], rows, linestyle="", marker=marker, color=color, markersize=8)
    dress(left, "mean ± standard deviation")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(4))
    dress(right, "skewness and excess kurtosis")
    _names(left, rows, statistics)
    legend(figure, [Line2D([], [], linestyle="", marker="o", color=BLUE, markersize=8, label="skewness"),
                    Line2D([], [], linestyle="", marker="s", color=ORANGE, markersize=8, label="excess kurtosis"),
                    ])  # fmt: skip
    return figure


def _arms(results: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"title": name} for name in results}


def _line(axes: Axes, x: np.ndarray, y: Series, name: str, arms: Mapping[str, Any]) -> None:
    """Draw one line with few markers, which stand apart where the lines of several names lie upon each other."""
    look, every = look_of(name, arms), max(1, len(y) // 5)
    first = list(arms).index(name) * every // len(arms)
    axes.plot(x, y, color=look.color, linestyle=look.line, marker=look.marker, markersize=6, linewidth=2,
              markevery=(first, every))  # fmt: skip


def _names(axes: Axes, rows: np.ndarray, names: Mapping[str, Any]) -> None:
    """Label the rows, the first one on top."""
    axes.set_yticks(rows, [name.replace("$", r"\$") for name in names])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(False, axis="y")


def _shown(values: np.ndarray) -> Series:
    """The values with NaN, which is not drawn, for what is not finite."""
    return np.where(np.isfinite(values), values, np.nan)
