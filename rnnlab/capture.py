"""A training step captured once as a CUDA graph, and replayed: hundreds of launches for the price of one."""

from __future__ import annotations

import ctypes
import functools
import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rnnlab.backend import Array, Tree, namespace, tree_items, tree_map
from rnnlab.kernels import device_product, on_device

__all__ = ["Captured", "capture"]

WORKSPACE = 32 * 2**20  # bytes that cuBLAS may use, as its manual advises for recent GPUs
WARM_UP = 2  # runs before the capture: they compile the kernels and fill the memory pool
TF32 = 3  # CUBLAS_TF32_TENSOR_OP_MATH


def capture(step: Callable[..., Tree]) -> Captured:
    """Return a function that runs ``step`` once, and from then on replays what it did on the GPU.

    A small recurrent network leaves a GPU waiting for Python, which takes longer to launch a step's kernel than the
    kernel takes to run. A replay launches all of them at once. On NumPy arrays the result is ``step`` itself.

    Parameters
    ----------
    step : callable
        Takes trees of arrays and returns a tree of arrays, such as
        ``lambda params, batch: model.loss_and_grads(params, batch)``.

    Returns
    -------
    Captured
        To be called as ``step`` is.

    Notes
    -----
    A replay repeats the kernels and nothing else, so on CuPy arrays:

    - All arrays of a call must have the shapes and dtypes of the first call's; they are copied into the graph's own.
    - What is returned is overwritten by the next call: copy what is to be kept.
    - ``step`` may read no value on the host: no ``float()``, no ``if`` on an array. ``lengths`` are such an argument,
      on the GPU.
    - It multiplies matrices by `rnnlab.kernels.product`; CuPy refuses ``@`` during a capture. Of this package that is
      done by everything but the cells that have no kernels: an RNN with another activation than tanh, and half or
      complex numbers.
    - What Python counts stands still: keep optimizers out, as their step number and learning rate would not change.
    - Dropout is refused: its draws come from the host, and a replay would repeat them.
    - Arguments and results are arrays; a number of Python's, which a replay would not renew, is refused.
    - The graph keeps all memory that a step needs for itself, until the function is deleted.
    - float32 is multiplied in full precision, or in TF32 if the environment variable ``CUPY_TF32`` is 1.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> from rnnlab.capture import capture
    >>> double = capture(lambda x: {"y": 2 * x})
    >>> double(np.ones(2))
    {'y': array([2., 2.])}
    """
    return Captured(step)


class Captured:
    """A step with its graph, captured at the first call with CuPy arrays; see `capture`."""

    def __init__(self, step: Callable[..., Tree]) -> None:
        functools.update_wrapper(self, step)
        self.step = step
        self.graph: Any = None
        self.inputs: Tree = None
        self.result: Tree = None
        self._keep: tuple[Any, ...] = ()

    def __call__(self, *args: Tree) -> Tree:
        """Run or replay the step."""
        for path, leaf in tree_items(args, "argument"):
            if not hasattr(leaf, "dtype"):
                raise TypeError(f"{path} of a captured step must be an array; got {type(leaf).__name__}")
        xp = namespace(argument=args)
        if not on_device(xp):
            return self.step(*args)
        if self.graph is None:
            self._capture(xp, args)
        for (path, old), (_, new) in zip(self._leaves(self.inputs), self._leaves(args), strict=True):
            if old.shape != new.shape or old.dtype != new.dtype:
                raise ValueError(
                    f"{path} must be as it was captured, {old.shape} of {old.dtype}; got {new.shape} of {new.dtype}"
                )
        tree_map(_assign, self.inputs, args)
        self.graph.launch()
        return self.result

    @staticmethod
    def _leaves(args: Tree) -> list[tuple[str, Array]]:
        return list(tree_items(args, "argument"))

    def _capture(self, xp: Any, args: Tree) -> None:
        cuda = xp.cuda
        inputs = tree_map(lambda a: a.copy(), args)
        cuda.get_current_stream().synchronize()
        # A graph's kernels write where they wrote when captured: to memory that nobody else may be given.
        pool, stream = cuda.MemoryPool(), cuda.Stream(non_blocking=True)
        with cuda.using_allocator(pool.malloc), stream:
            products = Products(xp, stream)
            token = device_product.set(products)
            try:
                for _ in range(WARM_UP):
                    self._run(inputs)
                stream.synchronize()
                self.graph, self.result = self._record(stream, inputs)
            finally:
                device_product.reset(token)
        self.inputs, self._keep = inputs, (pool, stream, products)

    def _record(self, stream: Any, inputs: Tree) -> tuple[Any, Tree]:
        stream.begin_capture()
        try:
            result = self._run(inputs)
        except BaseException:
            with suppress(Exception):  # the error that matters is on its way
                stream.end_capture()
            raise
        return stream.end_capture(), result

    def _run(self, inputs: Tree) -> Tree:
        result = self.step(*inputs)
        for path, leaf in tree_items(result, "result"):
            if not hasattr(leaf, "dtype") or not on_device(namespace(result=leaf)):
                raise TypeError(f"{path} of a captured step must be a CuPy array; got {type(leaf).__name__}")
        return result


def _assign(old: Array, new: Array) -> None:
    if old is not new:
        old[...] = new


class Products:
    """Matrix products by cuBLAS itself, since CuPy refuses to call it while a graph is captured.

    Parameters
    ----------
    xp : module
    stream : cupy.cuda.Stream
    library : ctypes.CDLL, optional
    pointer : callable
        Where an array's memory begins.
    """

    def __init__(
        self, xp: Any, stream: Any, library: Any = None, pointer: Callable[[Array], int] = lambda a: a.data.ptr
    ) -> None:
        self.xp, self.pointer = xp, pointer
        version = xp.cuda.runtime.runtimeGetVersion() // 1000
        self.library = library or ctypes.CDLL(f"libcublas.so.{version}")
        self.workspace = xp.empty(WORKSPACE, "B")
        self.handle = ctypes.c_void_p()
        self._call("cublasCreate_v2", ctypes.byref(self.handle))
        finalizer = weakref.finalize(self, self.library.cublasDestroy_v2, self.handle)
        finalizer.atexit = False  # the driver may be gone by then
        self._call("cublasSetStream_v2", self.handle, ctypes.c_void_p(stream.ptr))
        room = ctypes.c_void_p(pointer(self.workspace)), ctypes.c_size_t(WORKSPACE)
        self._call("cublasSetWorkspace_v2", self.handle, *room)  # after the stream, which would take it away
        if os.environ.get("CUPY_TF32") == "1":
            self._call("cublasSetMathMode", self.handle, TF32)

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self.library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} failed with status {status} of cuBLAS")

    def __call__(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """Return ``a @ b`` of two matrices, or of a matrix and a stack of them."""
        if a.dtype != b.dtype or a.dtype.char not in "fd":
            raise TypeError(f"a captured product must be of float32 or float64; got {a.dtype} and {b.dtype}")
        shape = (*b.shape[:-2], a.shape[-2], b.shape[-1])
        if out is None:
            out = self.xp.empty(shape, a.dtype)
        if out.shape != shape or not out.flags.c_contiguous or out.dtype != a.dtype:
            raise ValueError(f"out of a captured product must be {shape}, C-contiguous; got {out.shape}")
        if 0 in (out.size, a.shape[1]):
            out.fill(0)
            return out
        self._gemm(a, b, out)
        return out

    def _gemm(self, a: Array, b: Array, out: Array) -> None:
        """cuBLAS counts along columns: there these matrices are their transposes, and ``out.T = b.T @ a.T``."""
        (a, a_op, a_step), (b, b_op, b_step) = self._operand(a), self._operand(b)
        m, n, k = a.shape[0], b.shape[-1], a.shape[1]
        number = ctypes.c_float if a.dtype.char == "f" else ctypes.c_double
        one, zero = ctypes.byref(number(1)), ctypes.byref(number(0))
        A, B, C = (ctypes.c_void_p(self.pointer(x)) for x in (a, b, out))
        sizes = self.handle, b_op, a_op, n, m, k, one
        kind = a.dtype.char.replace("f", "s").upper()
        if b.ndim == 2:
            self._call(f"cublas{kind}gemm_v2", *sizes, B, b_step, A, a_step, zero, C, n)
            return
        apart = [ctypes.c_longlong(x) for x in (b.strides[0] // b.itemsize, 0, m * n)]
        self._call(
            f"cublas{kind}gemmStridedBatched", *sizes, B, b_step, apart[0], A, a_step, apart[1], zero, C, n, apart[2],
            b.shape[0],
        )  # fmt: skip

    def _operand(self, x: Array) -> tuple[Array, int, int]:
        """Return the array, 1 if it lies in memory as its transpose, and how far its rows (or columns) are apart."""
        (rows, columns), (down, right) = x.shape[-2:], (s // x.itemsize for s in x.strides[-2:])
        if (right == 1 or columns == 1) and (down >= columns or rows == 1):
            return x, 0, max(down, columns) if rows > 1 else columns
        if (down == 1 or rows == 1) and (right >= rows or columns == 1):
            return x, 1, max(right, rows) if columns > 1 else rows
        return self._operand(self.xp.ascontiguousarray(x))
