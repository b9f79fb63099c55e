"""Weights pulled back to where they are allowed: spectral projection."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnlab.backend import Array, namespace
from rnnlab.kernels import on_device
from rnnlab.optim.parts import Flat, Projection, matching, number
from rnnlab.optim.spectral import Clipped, clip_singular_values, clip_step, norm_bound, refuse_not_finite

__all__ = ["clip_singular_values", "project_spectral_norm"]


class project_spectral_norm(Projection):  # used like a function
    r"""After each step, clip the singular values of a weight matrix.

    ``W = U S V^T`` becomes ``U min(S, max_norm) V^T``, which of all matrices with a spectral norm of at most
    ``max_norm`` is the nearest to W.

    For the candidate block of a GRU without biases and a ``max_norm`` below 2, the state 0 is then a stable fixed point
    under zero input: the Jacobian there is ``I/2 + W_hn/4``. That is a local statement; it does not bound gradients
    for any input or any gates.

    Parameters
    ----------
    max_norm : float
        The paper's ``2 - delta``.
    only : str
        A pattern for the matrices meant. ``"weight_hn"`` (or ``"layer0.weight_hn"`` and the like) names the candidate
        block of a GRU, the last H rows of its ``weight_hh``: all that Kanai et al. project.

    Raises
    ------
    ValueError
        By `init` and `step`, if the pattern names no parameter, or one that is no matrix.
    FloatingPointError
        By `step`, if the matrix holds a NaN or an infinity.

    Notes
    -----
    A decomposition is saved wherever it can be. The state keeps a matrix A, a bound of its norm and a few singular
    vectors, so all that follows holds however W came about. While Weyl's inequality bounds the norm of W from what is
    known of A, there is nothing to do. After that a Cholesky factorization tells whether there is something to clip.
    If it is a few values, they are found by starting from those of the step before, and proved to be all. Only if many
    values reach the limit, or lie close below it, is the matrix decomposed at every step.

    On a GPU nothing of the matrix's size is decomposed: products of it take that place. The host waits once for a step
    where Weyl's inequality suffices, and about ten times where there is something to clip.

    The result is that of the full decomposition: to rounding for up to 64 rows or columns, to a relative 1e-6 in
    float32 and 1e-8 in float64 for more, in the Frobenius norm. See ``rnnlab/optim/spectral.py`` for the proof.

    References
    ----------
    S. Kanai, Y. Fujiwara, S. Iwamura, Preventing gradient explosions in gated recurrent units, NIPS 2017,
    Eqs. 12-14.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> layer = rl.GRU(2, 4)
    >>> params = layer.init(np.random.default_rng(0))
    >>> optimizer = rl.optim.chain(rl.optim.sgd(0.1), rl.optim.project_spectral_norm(0.5, only="weight_hn"))
    >>> grads = {name: np.zeros_like(w) for name, w in params.items()}
    >>> params, _ = optimizer.step(params, grads, optimizer.init(params))
    >>> r, z, n = (round(float(np.linalg.norm(block, 2)), 6) for block in np.split(params["weight_hh"], 3))
    >>> r, z, n
    (1.0, 1.0, 0.5)
    """

    def __init__(self, max_norm: float, only: str) -> None:
        self.max_norm = number("max_norm", max_norm)
        if not isinstance(only, str):
            raise TypeError(f"only must be a string that names parameters; got {only!r}")
        self.only: str = only

    def check(self, params: Flat) -> None:
        """Raise ValueError if the pattern names no matrix."""
        self._rows(params)

    def init(self, params: Flat) -> dict[str, Any]:
        """Return the state: for each matrix nothing is known yet."""
        return {path: {} for path in self._rows(params)}

    def project(self, params: Flat, state: dict[str, Any]) -> tuple[Flat, dict[str, Any]]:
        """Return the projected parameters, and what is known of their norms."""
        params, state = dict(params), dict(state)
        for path, rows in self._rows(params).items():
            W = params[path][rows]
            if not on_device(namespace(params=W)):  # else what follows finds it, and the host waits for that only
                refuse_not_finite(path, W)
            known = _known(state.get(path), W)
            if known and _within(W, known, self.max_norm):
                continue
            new = clip_step(W, self.max_norm, path, known.basis if known else None)
            if new.matrix is not W:
                params[path][rows] = new.matrix  # the update has just made this array: nobody else holds it
            state[path] = {
                "matrix": new.matrix.copy(),
                "norm": np.array(new.norm),
                "basis": new.basis,
                "rest": np.array(new.rest),
            }
        return params, state

    def _rows(self, params: Flat) -> dict[str, slice]:
        """Return the rows meant of each matrix meant."""
        rows = {path: slice(None) for path in params if _fits(path, self.only, params)}
        prefix, dot, name = self.only.rpartition(".")
        if name == "weight_hn":
            whole = {path for path in params if _fits(path, f"{prefix}{dot}weight_hh", params)}
            thirds = {path: params[path].shape[0] // 3 for path in whole if _is_gru(params[path])}
            rows |= {path: slice(2 * third, 3 * third) for path, third in thirds.items()}
        if not rows:
            grus = [path[:-2] + "hn" for path in params if path.endswith("weight_hh") and _is_gru(params[path])]
            raise ValueError(
                f"only must name a parameter, one of {', '.join([*params, *grus]) or 'none'}; got {self.only!r}"
            )
        for path in rows:
            if params[path].ndim != 2:
                raise ValueError(
                    f"only must name matrices; got {self.only!r}, which means {path} of shape {params[path].shape}"
                )
        return rows


def _known(state: dict[str, Any] | None, W: Array) -> Clipped | None:
    """Return what the state says of a matrix near W, if it is of one like it."""
    if not state or state["matrix"].shape != W.shape:
        return None
    return Clipped(state["matrix"], float(state["norm"]), state["basis"], float(state["rest"]))


def _within(W: Array, known: Clipped, max_norm: float) -> bool:
    """Whether W is surely within the limit: the same as before, or by `norm_bound`, which cannot tell at the limit."""
    if known.norm >= max_norm:
        return bool((known.matrix == W).all())
    return norm_bound(W, known, max_norm) <= max_norm


def _fits(path: str, pattern: str, params: Flat) -> bool:
    try:
        return bool(matching({path: params[path]}, pattern))
    except ValueError:
        return False


def _is_gru(weight_hh: Array) -> bool:
    return bool(weight_hh.ndim == 2 and weight_hh.shape[0] == 3 * weight_hh.shape[1])
