"""Array libraries and trees of arrays: which library, moving, mapping, adding at repeated indices."""

import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab import backend

library = types.ModuleType("otherlib")


class Other:
    """An array of another library, as the array API standard lets it say so."""

    def __array_namespace__(self):
        return library


def of_cupy(**attributes):
    """An instance of a class that says it comes from the module cupy._core.core."""
    return type("ndarray", (), {"__module__": "cupy._core.core", **attributes})()


@pytest.fixture
def fake_cupy(monkeypatch):
    """Put a stand-in for CuPy where an import finds it."""

    def put(**attributes):
        module = types.ModuleType("cupy")
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, "cupy", module)
        return module

    return put


# ------------------------------------------------------------------------------- namespace


def test_the_namespace_is_the_arrays_library_and_numpy_for_nothing():
    assert backend.namespace() is np and backend.namespace(x=None, state=(None, {})) is np
    assert backend.namespace(x=np.ones(2), state=(None, np.float32(1)), params={"a": {"b": np.ones(1)}}) is np
    assert backend.namespace(x=Other(), state=None, params={"w": Other()}) is library


def test_cupys_arrays_are_known_by_their_module(fake_cupy):
    module = fake_cupy()
    assert backend.namespace(x=of_cupy(), state=None) is module


@pytest.mark.parametrize(
    ("trees", "message"),
    [
        (
            {"x": np.ones(1), "params": {"recurrent": {"bias": Other()}}},
            "params.recurrent.bias is a otherlib array but x is a numpy array; move one with rnnlab.to_backend",
        ),
        (
            {"x": Other(), "state": (Other(), np.ones(1))},
            "state.1 is a numpy array but x is a otherlib array; move one with rnnlab.to_backend",
        ),
        ({"params": {"a": np.ones(1), "b": Other()}}, "params.b is a otherlib array but params.a is a numpy array"),
        ({"x": np.ones(1), "lengths": 3}, "lengths must be a NumPy or CuPy array; got int"),
        ({"x": [1.0]}, "x.0 must be a NumPy or CuPy array; got float"),
        ({"x": "text"}, "x must be a NumPy or CuPy array; got str"),
    ],
)
def test_mixed_libraries_and_non_arrays_are_named(trees, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        backend.namespace(**trees)


def test_a_mixed_call_of_a_layer_and_of_a_loss_names_the_argument(fake_cupy):
    fake_cupy()
    layer = rl.GRU(2, 3)
    params = layer.init(np.random.default_rng(0))
    with pytest.raises(TypeError, match="params.weight_hh is a cupy array but"):
        layer.forward({**params, "weight_hh": of_cupy()}, np.ones((4, 2, 2)))
    with pytest.raises(TypeError, match="targets is a cupy array but logits is a numpy array"):
        rl.losses.cross_entropy(np.ones((2, 3)), of_cupy())


# ------------------------------------------------------------------------------- trees

trees = st.recursive(
    st.one_of(st.none(), st.integers().map(np.asarray)),
    lambda children: st.one_of(
        st.lists(children, max_size=3),
        st.lists(children, max_size=3).map(tuple),
        st.dictionaries(st.text("abc", min_size=1, max_size=2), children, max_size=3),
    ),
    max_leaves=8,
)


def lookup(tree, path):
    for key in path.split(".") if path else ():
        tree = tree[int(key) if isinstance(tree, (tuple, list)) else key]
    return tree


@given(trees)
def test_the_paths_of_a_tree_lead_to_its_arrays(tree):
    items = list(backend.tree_items(tree))
    assert len({path for path, _ in items}) == len(items)
    for path, array in items:
        assert lookup(tree, path) is array
    assert [p for p, _ in backend.tree_items(tree, "top")] == [f"top.{p}" if p else "top" for p, _ in items]


@given(trees)
def test_mapping_keeps_the_structure_and_reaches_every_array_once(tree):
    seen = []
    result = backend.tree_map(lambda a: seen.append(a) or a + 1, tree)
    assert [id(a) for a in seen] == [id(a) for _, a in backend.tree_items(tree)]
    assert backend.tree_map(lambda a: None, tree) == backend.tree_map(lambda a: None, result)
    total = backend.tree_map(lambda a, b: b - a, tree, result)
    assert all(d == 1 for _, d in backend.tree_items(total))


def test_mapping_keeps_tuples_lists_and_none_apart():
    tree = {"a": (np.ones(1), None), "b": [np.ones(1)], "c": None, "d": {}}
    assert backend.tree_map(lambda a: 7, tree) == {"a": (7, None), "b": [7], "c": None, "d": {}}


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, r"trees must have the same keys; one has \['a', 'b'\], another does not"),
        ({"a": 1}, (1,), "trees must have the same keys"),
        ((1, 2), (1,), "trees must have the same structure; one is a tuple of 2"),
        ([1], np.ones(1), "trees must have the same structure; one is a list of 1"),
        ({"a": (1, 2)}, {"a": (1,)}, "trees must have the same structure"),
    ],
)
def test_mapping_over_trees_of_different_structure_is_refused(one, other, message):
    with pytest.raises(ValueError, match=message):
        backend.tree_map(lambda a, b: a, one, other)


# ------------------------------------------------------------------------------- moving


def test_to_numpy_copies_no_numpy_array_and_fetches_the_others():
    x = np.ones(3)
    device = of_cupy(get=lambda self: np.arange(2))
    tree = {"x": x, "state": (device, None), "n": 4}
    for moved in (rl.to_numpy(tree), rl.to_backend(tree, "numpy")):
        assert moved["x"] is x and moved["state"][1] is None
        np.testing.assert_array_equal(moved["state"][0], [0, 1])
        assert isinstance(moved["n"], np.ndarray) and list(moved) == list(tree)


def test_to_backend_cupy_maps_every_array_through_cupys_asarray(fake_cupy):
    fake_cupy(is_available=lambda: True, asarray=lambda a: ("moved", a), __version__="14")
    tree = {"w": np.ones(1), "state": [None]}
    assert rl.to_backend(tree, "cupy") == {"w": ("moved", tree["w"]), "state": [None]}


def test_an_unknown_backend_is_named():
    with pytest.raises(ValueError, match="backend must be one of numpy, cupy; got 'jax'"):
        rl.to_backend({}, "jax")


HINT = r"; install the CuPy that fits your CUDA: pip install 'rnnlab\[cupy13\]' .*'rnnlab\[cupy12\]'"


def test_cupy_that_is_not_installed_is_one_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(rl.BackendError, match="backend 'cupy' needs CuPy, which cannot be imported .*" + HINT) as info:
        rl.to_backend(np.ones(1), "cupy")
    assert "\n" not in str(info.value)
    assert isinstance(info.value, RuntimeError) and info.value.__suppress_context__


@pytest.mark.parametrize("trouble", [None, RuntimeError("no driver"), ImportError("libcuda.so.1")])
def test_cupy_without_a_gpu_is_one_error_that_says_so(fake_cupy, trouble):
    def is_available():
        if trouble is not None:
            raise trouble
        return False

    fake_cupy(is_available=is_available, __version__="14.1")
    with pytest.raises(rl.BackendError, match="needs a CUDA GPU with its driver, and CuPy 14.1 finds none" + HINT):
        rl.to_backend(np.ones(1), "cupy")


def test_the_default_backend_is_the_argument_then_the_environment_then_numpy(monkeypatch):
    monkeypatch.delenv("RNNLAB_BACKEND", raising=False)
    assert backend.default_backend() == "numpy" and backend.default_backend("cupy") == "cupy"
    monkeypatch.setenv("RNNLAB_BACKEND", "cupy")
    assert backend.default_backend() == "cupy" and backend.default_backend("numpy") == "numpy"
    monkeypatch.setenv("RNNLAB_BACKEND", "")
    assert backend.default_backend() == "numpy"
    monkeypatch.setenv("RNNLAB_BACKEND", "torch")
    with pytest.raises(ValueError, match="RNNLAB_BACKEND must be one of numpy, cupy; got 'torch'"):
        backend.default_backend()
    with pytest.raises(ValueError, match="^backend must be one of numpy, cupy; got 'jax'"):
        backend.default_backend("jax")


# ------------------------------------------------------------------------------- scatter_add


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(0, 20),
    st.sampled_from(["i8", "i4", "u1"]),
    st.sampled_from(["f4", "f8", "c16"]),
)
def test_scatter_add_is_numpys_add_at(seed, V, E, K, index_dtype, dtype):
    rng = np.random.default_rng(seed)
    target, index = rng.normal(size=(V, E)).astype(dtype), rng.integers(0, V, K).astype(index_dtype)
    values = rng.normal(size=(K, E)).astype(dtype)
    expected, kept = target.copy(), (index.copy(), values.copy())
    np.add.at(expected, index, values)
    assert backend.scatter_add(target, index, values) is None
    np.testing.assert_allclose(target, expected, rtol=1e-4 if dtype == "f4" else 1e-11, atol=1e-5)
    np.testing.assert_array_equal(index, kept[0])
    np.testing.assert_array_equal(values, kept[1])
