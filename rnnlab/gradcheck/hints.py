"""What a wrong gradient looks like: the gate it lies in, and the usual mistakes that fit the numbers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from rnnlab.backend import Array

__all__ = ["gate_of", "gates", "hints"]

GATES = {3: "rzn", 4: "ifgo"}  # the order of the blocks in weight_ih, weight_hh and bias
NEAR = 1e-6  # relative to the largest entry


def gates(path: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, slice]:
    """Return which rows of a recurrent layer's parameter belong to which gate.

    Parameters
    ----------
    path : str
        The parameter, such as ``"recurrent.weight_ih"``.
    shapes : mapping of str to tuple of int
        The shapes of all parameters by path: ``weight_hh (G*H, H)`` tells the number of gates G.

    Returns
    -------
    dict of str to slice
        Empty for what has no gates.

    Examples
    --------
    >>> gates("bias", {"weight_hh": (8, 2), "bias": (8,)})["o"]
    slice(6, 8, None)
    >>> gates("bias_hn", {"weight_hh": (6, 2), "bias_hn": (2,)})
    {'n': slice(0, 2, None)}
    """
    prefix, _, name = path.rpartition(".")
    shape = shapes.get(f"{prefix}.weight_hh" if prefix else "weight_hh", ())
    if len(shape) != 2 or not shape[1] or shape[0] % shape[1] or shape[0] // shape[1] not in GATES:
        return {}
    size, names = shape[1], GATES[shape[0] // shape[1]]
    if name == "bias_hn":
        return {"n": slice(0, size)}
    if name not in ("weight_ih", "weight_hh", "bias") or shapes[path][0] != shape[0]:
        return {}
    return {gate: slice(k * size, (k + 1) * size) for k, gate in enumerate(names)}


def gate_of(path: str, index: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Return the gate that one entry of a parameter belongs to, or None.

    Examples
    --------
    >>> gate_of("weight_ih", (5, 0), {"weight_hh": (6, 2), "weight_ih": (6, 3)})
    'n'
    """
    for gate, rows in gates(path, shapes).items():
        if rows.start <= index[0] < rows.stop:
            return gate
    return None


def hints(analytic: Array, numeric: Array, blocks: Mapping[str, slice]) -> list[str]:
    """Return the usual mistakes that fit a wrong gradient.

    Parameters
    ----------
    analytic : numpy.ndarray
    numeric : numpy.ndarray, of the same shape
        NaN where nothing was measured.
    blocks : mapping of str to slice
        The rows of each gate, from `gates`.

    Returns
    -------
    list of str

    Examples
    --------
    >>> numeric = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> hints(-numeric, numeric, {})
    ['the analytic gradient has the wrong sign everywhere']
    >>> hints(numeric.T.copy(), numeric, {})
    ['the analytic gradient is the numeric one transposed']
    """
    seen = np.isfinite(numeric)
    size = float(np.abs(numeric[seen]).max(initial=0.0))
    if not size:
        return ["the loss does not depend on it at all: does the function use the parameters that it is passed?"]
    if not np.any(analytic[seen]):
        return ["the analytic gradient is zero everywhere: is it ever computed, and returned?"]
    found = _factor(analytic[seen], numeric[seen], size)
    if found or not seen.all():
        return found
    if numeric.ndim == 2 and numeric.shape[0] == numeric.shape[1] and _near(analytic.T, numeric, size):
        return ["the analytic gradient is the numeric one transposed"]
    return _swapped(analytic, numeric, blocks, size) or _where(analytic, numeric, blocks, size)


def _near(analytic: Array, numeric: Array, size: float) -> bool:
    return bool(np.all(np.abs(analytic - numeric) <= NEAR * size))


def _factor(analytic: Array, numeric: Array, size: float) -> list[str]:
    large = np.abs(numeric) > 1e-3 * size
    ratio = float(np.median(analytic[large] / numeric[large]))
    if numeric.size < 2 or not _near(analytic, ratio * numeric, abs(ratio) * size):
        return []
    if abs(ratio + 1) < NEAR:
        return ["the analytic gradient has the wrong sign everywhere"]
    if abs(ratio - 1) < NEAR:
        return ["the analytic gradient is nearly right: is something computed with few digits?"]
    return [f"the analytic gradient is {ratio:.4g} times the numeric one everywhere: a factor is wrong or missing"]


def _swapped(analytic: Array, numeric: Array, blocks: Mapping[str, slice], size: float) -> list[str]:
    return [
        f"the gates {a} and {b} are swapped"
        for a, b in itertools.combinations(blocks, 2)
        if not _near(analytic[blocks[a]], numeric[blocks[a]], size)
        and _near(analytic[blocks[a]], numeric[blocks[b]], size)
        and _near(analytic[blocks[b]], numeric[blocks[a]], size)
    ]


def _where(analytic: Array, numeric: Array, blocks: Mapping[str, slice], size: float) -> list[str]:
    rows_of = range(len(numeric) if numeric.ndim else 0)
    parts: dict[str, slice] = dict(blocks) or {str(k): slice(k, k + 1) for k in rows_of}
    wrong = [name for name, rows in parts.items() if not _near(analytic[rows], numeric[rows], size)]
    if not 0 < len(wrong) < len(parts) or (not blocks and len(wrong) > 8):
        return []
    where = ("gate " if blocks else "the first axis at ") + ", ".join(wrong)
    return [f"it is wrong only in {where}"]
