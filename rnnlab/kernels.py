"""What one step launches on a GPU: one matrix product, and one kernel for everything elementwise.

A cell states the elementwise part of its step twice, side by side: as array operations, which NumPy runs, and as the
same formula for one unit of one sequence, which CuPy compiles. Tests compile the formulas as C and hold the two
against each other, so that they are proved equal without a GPU too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from rnnlab.backend import Array

__all__ = ["Kernel", "PREAMBLE", "device_product", "has_kernels", "on_device", "product"]

# Of an array (B*H, N) made of B blocks, GATE(k) is the place of this unit in block k: "i" runs over (H, N).
PREAMBLE = """
#define GATE(k) (i + (k) * _ind.size())
#define sigmoid(x) (1 / (1 + exp(-(x))))
"""

# What multiplies matrices instead of CuPy, which refuses cuBLAS while a graph is captured: see rnnlab.capture.
device_product: ContextVar[Callable[..., Array] | None] = ContextVar("device_product", default=None)


class Kernel:
    """An elementwise formula for the GPU, in CUDA C++ on one unit of one sequence; compiled at its first call.

    Parameters
    ----------
    name : str
    inputs, outputs : str
        As `cupy.ElementwiseKernel` takes them: arrays ``(H, N)``, or what broadcasts to it, by their elements;
        ``raw`` arrays, made of blocks of that shape, by ``GATE(k)``. An output keeps what is not assigned to it,
        and may be read. ``T`` is the arrays' type. CuPy keeps the names ``i`` and ``n`` for itself.
    source : str
        Without literals such as 0.5, which would make float a double.

    Examples
    --------
    >>> from rnnlab.kernels import Kernel
    >>> Kernel("axpy", "T a, T x", "T y", "y += a * x;").name
    'axpy'
    """

    def __init__(self, name: str, inputs: str, outputs: str, source: str) -> None:
        self.name, self.inputs, self.outputs, self.source = name, inputs, outputs, source
        self._launch: Callable[..., Any] | None = None

    def __call__(self, *arrays: Any) -> None:
        """Run the kernel on CuPy arrays, inputs and then outputs."""
        if self._launch is None:
            make = sys.modules["cupy"].ElementwiseKernel
            self._launch = make(self.inputs, self.outputs, self.source, f"rnnlab_{self.name}", preamble=PREAMBLE)
        self._launch(*arrays)


def on_device(xp: Any) -> bool:
    """Return whether a library's arrays lie on a GPU."""
    return bool(xp.__name__ == "cupy")


def has_kernels(xp: Any, dtype: Any) -> bool:
    """Return whether kernels can work on arrays of that library and dtype: CuPy's, of float or double."""
    return on_device(xp) and dtype.char in "fd" and hasattr(xp, "ElementwiseKernel")


def product(xp: Any, a: Array, b: Array, out: Array | None = None) -> Array:
    """Return ``a @ b`` for two matrices, or a matrix and a stack of them, written to ``out`` if given.

    Examples
    --------
    >>> import numpy as np
    >>> product(np, np.ones((1, 2)), np.ones((2, 1)))
    array([[2.]])
    """
    other = device_product.get() if on_device(xp) else None
    if other is not None:
        return other(a, b, out)
    if out is None:  # unlike dot, copies no operand that is part of a larger array
        return a @ b
    result: Array = xp.dot(a, b, out) if b.ndim == 2 else xp.matmul(a, b, out=out)
    return result
