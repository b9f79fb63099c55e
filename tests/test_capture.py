"""Captured steps, with a stand-in for CUDA graphs, and matrix products by a stand-in for cuBLAS."""

from __future__ import annotations

import contextlib
import ctypes
import types

import numpy as np
import pytest
from compiled import compile_c, compiled  # noqa: F401  (compiled is a fixture)
from hypothesis import given
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab import capture as module
from rnnlab import kernels
from rnnlab.backend import tree_items
from rnnlab.capture import Products, capture

# cuBLAS as its manual describes it: matrices by columns, op(A) (m, k) times op(B) (k, n) to C (m, n).
CUBLAS = """
#include <stddef.h>
static int calls[8];
int *count(void) { return calls; }
int cublasCreate_v2(void **handle) { *handle = calls; return calls[0]++, 0; }
int cublasDestroy_v2(void *handle) { return calls[1]++, handle != calls; }
int cublasSetStream_v2(void *handle, void *stream) { calls[3] = 0; return handle != calls || stream != (void *)77; }
int cublasSetWorkspace_v2(void *handle, void *room, size_t bytes) { calls[3]++; return !room || bytes != 33554432; }
int cublasSetMathMode(void *handle, int mode) { calls[4] = mode; return 0; }
#define GEMM(NAME, BATCHED, T) \
int BATCHED(void *handle, int opa, int opb, int m, int n, int k, const T *alpha, const T *A, int lda, long long sa, \
            const T *B, int ldb, long long sb, const T *beta, T *C, int ldc, long long sc, int batch) { \
    if (handle != calls || !calls[3]) return 1; \
    if (m < 1 || n < 1 || k < 1 || lda < (opa ? k : m) || ldb < (opb ? n : k) || ldc < m) return 7; \
    for (int t = 0; t < batch; ++t) for (int i = 0; i < m; ++i) for (int j = 0; j < n; ++j) { \
        T sum = 0; \
        for (int l = 0; l < k; ++l) \
            sum += (opa ? A[t*sa + l + (long long)i*lda] : A[t*sa + i + (long long)l*lda]) \
                 * (opb ? B[t*sb + j + (long long)l*ldb] : B[t*sb + l + (long long)j*ldb]); \
        C[t*sc + i + (long long)j*ldc] = *alpha * sum + (*beta ? *beta * C[t*sc + i + (long long)j*ldc] : 0); \
    } \
    return 0; } \
int NAME(void *handle, int opa, int opb, int m, int n, int k, const T *alpha, const T *A, int lda, \
         const T *B, int ldb, const T *beta, T *C, int ldc) { \
    calls[5]++; return BATCHED(handle, opa, opb, m, n, k, alpha, A, lda, 0, B, ldb, 0, beta, C, ldc, 0, 1); }
GEMM(cublasSgemm_v2, cublasSgemmStridedBatched, float)
GEMM(cublasDgemm_v2, cublasDgemmStridedBatched, double)
"""


@pytest.fixture(scope="module")
def cublas():
    return compile_c(CUBLAS)


class Stream:
    """A stream that cannot capture twice at once, and whose graphs run the step again."""

    ptr = 77
    log: list = []

    def __init__(self, non_blocking=False):
        assert non_blocking, "the legacy default stream cannot be captured"
        self.capturing = False

    def __enter__(self):
        self.log.append("enter")
        return self

    def __exit__(self, *_):
        self.log.append("exit")

    def synchronize(self):
        assert not self.capturing
        self.log.append("synchronize")

    def begin_capture(self):
        assert not self.capturing
        self.capturing = True
        self.log.append("begin")

    def end_capture(self):
        assert self.capturing
        self.capturing = False
        self.log.append("end")
        return Graph()


class Graph:
    """What was captured; `again` runs the step on the graph's own arrays and writes where it wrote."""

    again = staticmethod(lambda: None)

    def launch(self):
        Stream.log.append("launch")
        self.again()


@pytest.fixture
def cuda(monkeypatch):
    """NumPy passes for CuPy, its arrays for arrays on a GPU."""
    names = {"__name__": "cupy", "runtime": types.SimpleNamespace(runtimeGetVersion=lambda: 13010)}
    names |= {"Stream": Stream, "MemoryPool": lambda: types.SimpleNamespace(malloc=None)}
    names |= {"using_allocator": lambda malloc: contextlib.nullcontext()}
    names |= {"get_current_stream": lambda: Stream(non_blocking=True)}
    xp = types.SimpleNamespace(__name__="cupy", cuda=types.SimpleNamespace(**names))
    monkeypatch.setattr(module, "namespace", lambda **trees: xp)
    monkeypatch.setattr(module, "Products", lambda xp, stream: "products")
    monkeypatch.setattr(Stream, "log", [])


def with_replay(captured, monkeypatch):
    """Let the stand-in's graph do what a graph does."""

    def again():
        for (_, old), (_, new) in zip(
            tree_items(captured.result), tree_items(captured.step(*captured.inputs)), strict=True
        ):
            old[...] = new

    monkeypatch.setattr(Graph, "again", staticmethod(again))
    return captured


# --------------------------------------------------------------------------------------- capture


def test_on_numpy_a_captured_step_is_the_step():
    model = rl.models.LanguageModel(7, 3, rl.LSTM(3, 4))
    rng = np.random.default_rng(0)
    params, batch = model.init(rng), tuple(rng.integers(0, 7, (2, 5, 2)))
    captured = capture(lambda params, batch: model.loss_and_grads(params, batch))
    for (_, a), (_, b) in zip(
        tree_items(captured(params, batch)), tree_items(model.loss_and_grads(params, batch)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert captured.graph is None


def test_a_step_is_warmed_up_captured_once_and_replayed_on_new_values(cuda, monkeypatch):
    seen = []

    def step(params, x):
        seen.append(kernels.device_product.get())
        return {"y": params["w"] * x}, None

    captured = with_replay(capture(step), monkeypatch)
    w, x = np.array([2.0, 3.0]), np.array([1.0, 10.0])
    first, _ = captured({"w": w}, x)
    np.testing.assert_array_equal(first["y"], [2, 30])
    order = ["synchronize", "enter", "synchronize", "begin", "end", "exit", "launch"]
    assert Stream.log == order
    assert seen[:3] == ["products"] * 3, "two to warm up and one captured, all with cuBLAS's own products"
    assert kernels.device_product.get() is None

    w += 1
    second, _ = captured({"w": w}, x + 1)
    np.testing.assert_array_equal(second["y"], [6, 44])
    assert second["y"] is first["y"], "what is returned is overwritten by the next call"
    assert Stream.log == [*order, "launch"]


def test_the_callers_arrays_are_not_the_graphs(cuda, monkeypatch):
    captured = with_replay(capture(lambda x: x + 1), monkeypatch)
    x = np.zeros(2)
    captured(x)
    captured(np.ones(2))
    np.testing.assert_array_equal(x, 0)


def test_another_shape_dtype_or_structure_is_refused(cuda, monkeypatch):
    captured = with_replay(capture(lambda batch: batch["x"] + 1), monkeypatch)
    captured({"x": np.zeros((2, 3))})
    message = r"argument\.0\.x must be as it was captured, \(2, 3\) of float64; got \(2, 4\) of float64"
    with pytest.raises(ValueError, match=message):
        captured({"x": np.zeros((2, 4))})
    with pytest.raises(ValueError, match="got .* of float32"):
        captured({"x": np.zeros((2, 3), "f")})
    with pytest.raises(ValueError, match="same keys"):
        captured({"y": np.zeros((2, 3))})


@pytest.mark.parametrize("value", [3, 0.5, "text", np.random.default_rng(0)])
def test_what_a_replay_would_not_renew_is_refused(cuda, value):
    with pytest.raises(TypeError, match=r"argument\.1 of a captured step must be an array; got"):
        capture(lambda x, value: x)(np.zeros(2), value)
    with pytest.raises(TypeError, match=r"result\.1 of a captured step must be a CuPy array; got"):
        capture(lambda x: (x, value))(np.zeros(2))
    assert kernels.device_product.get() is None


def test_an_error_during_the_capture_ends_it_and_is_the_error_that_arrives(cuda):
    def step(x):
        if Stream.log[-1] == "begin":
            raise NotImplementedError("calling cuBLAS API during stream capture")
        return x

    captured = capture(step)
    with pytest.raises(NotImplementedError, match="cuBLAS"):
        captured(np.zeros(2))
    assert Stream.log[-3:] == ["begin", "end", "exit"]
    assert captured.graph is None
    assert kernels.device_product.get() is None


# -------------------------------------------------------------------------------------- products


def products(cublas):
    xp = types.SimpleNamespace(
        empty=np.empty,
        ascontiguousarray=np.ascontiguousarray,
        cuda=types.SimpleNamespace(runtime=types.SimpleNamespace(runtimeGetVersion=lambda: 13010)),
    )
    return Products(xp, types.SimpleNamespace(ptr=77), cublas, lambda a: a.ctypes.data)


def matrix(rng, rows, columns, layout, dtype, stack=()):
    """The same kind of matrix in several layouts."""
    if layout == "transposed":
        return rng.standard_normal((*stack, columns, rows)).astype(dtype).swapaxes(-1, -2)
    if layout == "part":
        return rng.standard_normal((*stack, rows + 2, columns + 3)).astype(dtype)[..., 1:-1, 2:-1]
    if layout == "spread":
        return rng.standard_normal((*stack, 2 * rows, 3 * columns)).astype(dtype)[..., ::2, ::3]
    return rng.standard_normal((*stack, rows, columns)).astype(dtype)


layouts = st.sampled_from(["plain", "transposed", "part", "spread"])
sizes = st.integers(1, 5)


@given(seed=st.integers(0, 99), m=sizes, k=sizes, n=sizes, a=layouts, b=layouts, dtype=st.sampled_from("fd"))
def test_products_of_matrices_in_every_layout(cublas, seed, m, k, n, a, b, dtype):
    rng = np.random.default_rng(seed)
    A, B = matrix(rng, m, k, a, dtype), matrix(rng, k, n, b, dtype)
    out = np.full((m, n), np.nan, dtype)
    product = products(cublas)
    assert product(A, B, out) is out
    for result in (out, product(A, B)):
        assert result.dtype == np.dtype(dtype)
        np.testing.assert_allclose(result, A @ B, rtol=1e-4 if dtype == "f" else 1e-12, atol=1e-5)


@given(seed=st.integers(0, 99), T=sizes, m=sizes, k=sizes, n=sizes, a=layouts, b=layouts)
def test_products_of_a_matrix_with_a_stack(cublas, seed, T, m, k, n, a, b):
    rng = np.random.default_rng(seed)
    A, B = matrix(rng, m, k, a, "d"), matrix(rng, k, n, b, "d", (T,))
    np.testing.assert_allclose(products(cublas)(A, B), A @ B, rtol=1e-12, atol=1e-12)


def test_products_of_nothing_are_zero(cublas):
    product = products(cublas)
    np.testing.assert_array_equal(product(np.ones((2, 0)), np.ones((0, 3))), np.zeros((2, 3)))
    assert product(np.ones((2, 4)), np.ones((4, 0))).shape == (2, 0)


def test_what_cublas_cannot_do_is_refused(cublas):
    product = products(cublas)
    with pytest.raises(TypeError, match="must be of float32 or float64; got float32 and float64"):
        product(np.ones((2, 2), "f"), np.ones((2, 2)))
    with pytest.raises(ValueError, match="out of a captured product must be"):
        product(np.ones((2, 2)), np.ones((2, 2)), np.empty((2, 3)))
    product.handle = ctypes.c_void_p(1)
    with pytest.raises(RuntimeError, match="cublasDgemm_v2 failed with status 1 of cuBLAS"):
        product(np.ones((2, 2)), np.ones((2, 2)))


@pytest.mark.parametrize(("setting", "mode"), [(None, 0), ("0", 0), ("1", 3)])
def test_tf32_only_where_cupy_would_use_it(cublas, monkeypatch, setting, mode):
    monkeypatch.delenv("CUPY_TF32", raising=False)
    if setting is not None:
        monkeypatch.setenv("CUPY_TF32", setting)
    cublas.count.restype = ctypes.POINTER(ctypes.c_int)
    cublas.count()[4] = 0
    products(cublas)
    assert cublas.count()[4] == mode


def test_a_layer_computes_the_same_with_these_products(cublas, compiled, monkeypatch):  # noqa: F811
    for layer in (rl.RNN(3, 4), rl.LSTM(3, 4), rl.GRU(3, 4), rl.GRU(3, 4, reset="before")):
        rng = np.random.default_rng(0)
        params = layer.init(rng)
        x, dy = rng.standard_normal((5, 2, 3)), rng.standard_normal((5, 2, 4))

        def run(layer=layer, params=params, x=x, dy=dy):
            y, state, tape = layer.forward(params, x)
            return y, state, layer.backward(params, tape, dy)

        expected = run()
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "on_device", lambda xp: True)
            token = kernels.device_product.set(products(cublas))
            got = run()
            kernels.device_product.reset(token)
        for (_, a), (_, b) in zip(tree_items(got), tree_items(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
