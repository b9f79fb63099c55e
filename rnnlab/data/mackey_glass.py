"""The Mackey-Glass series: a chaotic solution of one delay differential equation, computed or read from a file."""

from __future__ import annotations

import math
import os

import numpy as np

from rnnlab.data.files import find, malformed, read_text, short
from rnnlab.data.ucr import numbers

__all__ = ["mackey_glass", "mackey_glass_file"]

ROWS = 10_000


def mackey_glass(
    length: int,
    *,
    tau: float = 17.0,
    n: float = 10.0,
    beta: float = 0.2,
    gamma: float = 0.1,
    step: float = 0.1,
    every: int = 10,
    discard: int = 0,
    initial: float = 1.2,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Integrate the Mackey-Glass equation by the classical Runge-Kutta method of order 4.

    With ``x(t) = initial`` for all ``t <= 0``::

        dx/dt = beta * x(t - tau) / (1 + x(t - tau)^n) - gamma * x(t)

    Parameters
    ----------
    length : int
        How many values are returned.
    tau : float
        The delay; with the other constants as they are, chaotic from about 17 on. A multiple of `step`.
    n, beta, gamma : float
        Positive.
    step : float
        Of the integration. Values half a step into the past are interpolated from values and slopes on both sides
        (cubic Hermite), so that the error falls as ``step^4``.
    every : int
        Of how many steps the last is kept: value k belongs to ``t = (discard + k) * every * step``.
    discard : int
        How many values at the beginning, still marked by the constant past, are left out.
    initial : float
        Positive.
    rng : numpy.random.Generator, optional
        With one, `initial` is multiplied by a number drawn uniformly from [0.9, 1.1): each call gives another
        stretch of the series.

    Returns
    -------
    numpy.ndarray of float64, shape (length,)

    Raises
    ------
    ValueError
        A parameter is out of range, or `tau` is no multiple of `step`.

    References
    ----------
    M. C. Mackey, L. Glass, Oscillation and chaos in physiological control systems, Science 197(4300), 1977, eq. 4b
    (there in other units).

    Examples
    --------
    >>> import rnnlab.data
    >>> rnnlab.data.mackey_glass(4, every=170).round(4)
    array([1.2   , 0.492 , 1.0323, 1.042 ])
    >>> rnnlab.data.mackey_glass(3, initial=1.0)  # where production and decay are equal, nothing moves
    array([1., 1., 1.])
    """
    _check(length=(length, 1), every=(every, 1), discard=(discard, 0))
    for name, value in (("tau", tau), ("n", n), ("beta", beta), ("gamma", gamma), ("step", step), ("initial", initial)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive; got {value}")
    delay = round(tau / step)
    if delay < 1 or not math.isclose(delay * step, tau):
        raise ValueError(f"tau must be a multiple of step; got tau={tau}, step={step}")
    if step * gamma > 1:
        raise ValueError(f"step * gamma must be at most 1, else the integration is unstable; got {step * gamma}")
    if rng is not None:
        initial = initial * rng.uniform(0.9, 1.1)
    steps = (discard + length - 1) * every
    return np.array(_integrate(steps, delay, step, n, beta, gamma, float(initial))[discard * every :: every])


def _check(**least: tuple[int, int]) -> None:
    for name, (value, smallest) in least.items():
        if value < smallest:
            raise ValueError(f"{name} must be at least {smallest}; got {value}")


def _integrate(steps: int, delay: int, h: float, n: float, beta: float, gamma: float, initial: float) -> list[float]:
    def production(x: float) -> float:
        try:
            rate: float = beta * x / (1 + x**n)
        except OverflowError:
            return 0.0
        return rate

    x, values = initial, [initial]
    whole = [production(x)] * (delay + 1)  # production one delay before step i, at i = 0, 1, ...
    half = whole[:-1]  # the same half a step later
    for i in range(steps):
        p0, p1, p2 = whole[i], half[i], whole[i + 1]
        k1 = p0 - gamma * x
        k2 = p1 - gamma * (x + h / 2 * k1)
        k3 = p1 - gamma * (x + h / 2 * k2)
        k4 = p2 - gamma * (x + h * k3)
        new = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        slope = p2 - gamma * new
        half.append(production((x + new) / 2 + h / 8 * (k1 - slope)))
        whole.append(production(new))
        values.append(new)
        x = new
    return values


def mackey_glass_file(root: str | os.PathLike[str] | None = None) -> np.ndarray:
    """Return the 10,000 values of the file ``MackeyGlass_t17.txt``, often used with echo state networks.

    Parameters
    ----------
    root : path, optional
        The folder that holds ``mackey_glass/``; by default see `rnnlab.data.files.folders`.

    Returns
    -------
    numpy.ndarray of float64, shape (10000,)
        For a delay of 17, shifted and squashed: about ``tanh(x - 1)`` of the equation's x, one time unit apart.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DataError
        It is malformed: the message names the line.

    Examples
    --------
    >>> import pathlib, tempfile, rnnlab.data
    >>> folder = tempfile.TemporaryDirectory()
    >>> place = pathlib.Path(folder.name, "mackey_glass")
    >>> place.mkdir()
    >>> _ = (place / "MackeyGlass_t17.txt").write_text("0.25\\n" * 10_000)
    >>> rnnlab.data.mackey_glass_file(root=folder.name)[:2]
    array([0.25, 0.25])
    >>> folder.cleanup()
    """
    path = find("mackey_glass/MackeyGlass_t17.txt", root)
    text = read_text(path)
    lines = text.rstrip("\n").split("\n")  # the original ends in an empty line
    values = numbers(lines)
    wrong = np.flatnonzero(np.isnan(values))
    if wrong.size:
        at = int(wrong[0])
        raise malformed(path, at + 1, f"found {short(lines[at])}; must be a finite number")
    if len(lines) != ROWS:
        raise malformed(path, None, f"found {len(lines)} numbers; must be {ROWS}, one a line")
    if not text.endswith("\n"):
        raise malformed(path, ROWS, "the file ends inside this line; every line must end with a newline")
    return values
