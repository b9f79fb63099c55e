"""Singular values and eigenvalues of a matrix: of a gate's recurrent block, of a Jacobian."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rnnlab.backend import Array, to_numpy

__all__ = ["Spectrum", "spectral_norm", "spectral_radius", "spectrum"]


def spectral_norm(matrix: Array) -> float:
    """Return the largest singular value, the most by which the matrix stretches a vector.

    Parameters
    ----------
    matrix : Array, shape (M, K)

    Returns
    -------
    float
        NaN if the matrix holds a NaN or an infinity.

    Examples
    --------
    >>> import numpy as np
    >>> round(spectral_norm(np.array([[0.0, 3.0], [0.0, 0.0]])), 12)
    3.0
    """
    m = to_numpy(matrix)
    return float(np.linalg.norm(m, 2)) if np.isfinite(m).all() else float("nan")


def spectral_radius(matrix: Array) -> float:
    """Return the largest modulus of an eigenvalue, the rate at which high powers of the matrix grow.

    Parameters
    ----------
    matrix : Array, shape (M, M)

    Returns
    -------
    float
        NaN if the matrix holds a NaN or an infinity. Never larger than `spectral_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> spectral_radius(np.array([[0.0, 3.0], [0.0, 0.0]]))
    0.0
    """
    m = to_numpy(matrix)
    return float(np.abs(np.linalg.eigvals(m)).max()) if np.isfinite(m).all() else float("nan")


class Spectrum(NamedTuple):
    """The eigenvalues and the singular values of a matrix, the largest first."""

    eigenvalues: np.ndarray
    singular_values: np.ndarray


def spectrum(matrix: Array) -> Spectrum:
    """Return all eigenvalues and all singular values of a square matrix.

    The eigenvalues say what high powers of the matrix do, the singular values what one product with it can do. Only of
    a normal matrix (``W W^T = W^T W``), such as a symmetric or an orthogonal one, are their moduli the same.

    Parameters
    ----------
    matrix : Array, shape (..., M, M)
        One matrix, or a stack of them, such as `step_jacobians` returns.

    Returns
    -------
    Spectrum
        ``eigenvalues``, complex, by falling modulus, and ``singular_values``, real and falling; both numpy.ndarray of
        shape (..., M). All are NaN where a matrix holds a NaN or an infinity.

    Raises
    ------
    ValueError
        The matrix is not square.

    Examples
    --------
    >>> import numpy as np
    >>> found = spectrum(np.array([[0.5, 3.0], [0.0, -0.6]]))
    >>> found.eigenvalues, found.singular_values.round(2)
    (array([-0.6+0.j,  0.5+0.j]), array([3.1, 0.1]))
    """
    m = to_numpy(matrix)
    if m.ndim < 2 or m.shape[-1] != m.shape[-2]:
        raise ValueError(f"matrix must have shape (..., M, M); got {m.shape}")
    usable = np.isfinite(m).all(axis=(-2, -1))
    m = np.where(usable[..., None, None], m, 0)
    eigenvalues = np.linalg.eigvals(m).astype(complex)
    order = np.argsort(-np.abs(eigenvalues), axis=-1, kind="stable")
    eigenvalues = np.take_along_axis(eigenvalues, order, axis=-1)
    singular_values = np.linalg.svd(m, compute_uv=False)
    eigenvalues[~usable], singular_values[~usable] = np.nan, np.nan
    return Spectrum(eigenvalues, singular_values)
