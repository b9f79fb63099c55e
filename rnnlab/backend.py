"""Which array library an array belongs to, and how to move between them.

Numerical code asks once, at the top of a public function, ``xp = namespace(x=x, params=params)``
and writes ``xp.tanh(...)`` below: arrays decide where the work is done. CuPy is imported only
when one of its arrays arrives or when it is asked for by name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

__all__ = [
    "Array",
    "BackendError",
    "Tree",
    "default_backend",
    "library_of",
    "namespace",
    "scatter_add",
    "to_backend",
    "to_numpy",
    "tree_items",
    "tree_map",
]

Array = Any  # a numpy.ndarray, a cupy.ndarray, or what stands in for them in tests
Tree = Any  # an Array, None, or a dict / tuple / list of Trees

BACKENDS = ("numpy", "cupy")


class BackendError(RuntimeError):
    """An array library was asked for that cannot be used on this machine."""


# ---------------------------------------------------------------------------- trees of arrays


def tree_items(tree: Tree, path: str = "") -> Iterator[tuple[str, Array]]:
    """Yield ``(path, array)`` for every array of a nested dict, tuple or list.

    Parameters
    ----------
    tree : Tree
        An array, None (which holds nothing), or a dict, tuple or list of trees.
    path : str
        The name to put before every path.

    Yields
    ------
    path : str
        Keys and positions joined by dots, such as ``"recurrent.weight_hh"``.
    array : Array

    Examples
    --------
    >>> import numpy as np
    >>> tree = {"recurrent": {"bias": np.zeros(3)}, "state": (np.ones(2), None)}
    >>> [name for name, _ in tree_items(tree)]
    ['recurrent.bias', 'state.0']
    """
    if tree is None:
        return
    if isinstance(tree, Mapping):
        children: Iterator[tuple[Any, Tree]] = iter(tree.items())
    elif isinstance(tree, (tuple, list)):
        children = enumerate(tree)
    else:
        yield path, tree
        return
    for key, child in children:
        yield from tree_items(child, f"{path}.{key}" if path else str(key))


def tree_map(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply a function to every array of a tree, or to the arrays in the same place of several.

    Parameters
    ----------
    function : callable
        Takes as many arrays as there are trees.
    tree, *others : Tree
        Trees of one structure.

    Returns
    -------
    Tree
        Of the structure of ``tree``; None stays None.

    Raises
    ------
    ValueError
        The structures differ.

    Examples
    --------
    >>> tree_map(lambda a, b: a + b, {"w": 1, "b": (2, None)}, {"w": 10, "b": (20, None)})
    {'w': 11, 'b': (22, None)}
    """
    if isinstance(tree, Mapping):
        if any(not isinstance(o, Mapping) or o.keys() != tree.keys() for o in others):
            raise ValueError(f"trees must have the same keys; one has {sorted(map(str, tree))}, another does not")
        return {k: tree_map(function, v, *(o[k] for o in others)) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        if any(not isinstance(o, (tuple, list)) or len(o) != len(tree) for o in others):
            raise ValueError(f"trees must have the same structure; one is a {type(tree).__name__} of {len(tree)}")
        return type(tree)([tree_map(function, *parts) for parts in zip(tree, *others, strict=True)])
    if tree is None:
        return None
    return function(tree, *others)


# ------------------------------------------------------------------------------ array libraries


def library_of(array: Any, name: str) -> Any:
    """Return the array library of one array, called ``name`` in an error; `namespace` for one array, and faster."""
    if isinstance(array, (np.ndarray, np.generic)):
        return np
    if type(array).__module__.partition(".")[0] == "cupy":
        return sys.modules["cupy"]
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    raise TypeError(f"{name} must be a NumPy or CuPy array; got {type(array).__name__}")


def namespace(**trees: Tree) -> Any:
    """Return the array library of the arguments: the module ``numpy`` or ``cupy``.

    Parameters
    ----------
    **trees : Tree
        Arrays, or trees of them, under the names that an error should use. None is skipped.

    Returns
    -------
    module

    Raises
    ------
    TypeError
        An argument is no array, or belongs to another library than those before it.

    Examples
    --------
    >>> import numpy as np
    >>> namespace(x=np.zeros(3), params={"bias": np.zeros(2)}) is np
    True
    >>> namespace(x=[1.0, 2.0])
    Traceback (most recent call last):
    TypeError: x.0 must be a NumPy or CuPy array; got float
    """
    found, found_name = None, ""
    for name, tree in trees.items():
        for path, array in tree_items(tree, name):
            library = library_of(array, path)
            if found is None:
                found, found_name = library, path
            elif library is not found:
                raise TypeError(
                    f"{path} is a {library.__name__} array but {found_name} is a {found.__name__} array; "
                    "move one with rnnlab.to_backend"
                )
    return np if found is None else found


def default_backend(name: str | None = None) -> str:
    """Return the backend's name: the argument, else ``RNNLAB_BACKEND``, else ``"numpy"``.

    Raises
    ------
    ValueError
        The name is neither "numpy" nor "cupy".
    """
    import os

    source = "backend" if name else "the environment variable RNNLAB_BACKEND"
    chosen = name or os.environ.get("RNNLAB_BACKEND") or "numpy"
    if chosen not in BACKENDS:
        raise ValueError(f"{source} must be one of {', '.join(BACKENDS)}; got {chosen!r}")
    return chosen


def _import_cupy() -> Any:
    hint = "install the CuPy that fits your CUDA: pip install 'rnnlab[cupy13]' (CUDA 13) or 'rnnlab[cupy12]' (CUDA 12)"
    try:
        import cupy
    except ImportError as error:
        raise BackendError(f"backend 'cupy' needs CuPy, which cannot be imported ({error}); {hint}") from None
    try:
        usable = cupy.is_available()
    except (ImportError, RuntimeError):
        usable = False
    if not usable:
        raise BackendError(
            f"backend 'cupy' needs a CUDA GPU with its driver, and CuPy {cupy.__version__} finds none; {hint}"
        )
    return cupy


def to_backend(tree: Tree, backend: str) -> Tree:
    """Move a tree of arrays to NumPy or to CuPy.

    Parameters
    ----------
    tree : Tree
        An array, or nested dicts, tuples and lists of them.
    backend : {"numpy", "cupy"}

    Returns
    -------
    Tree
        The same structure; arrays that are there already are not copied.

    Raises
    ------
    ValueError
        The backend's name is unknown.
    BackendError
        CuPy was asked for, and it is not installed or finds no GPU.

    Examples
    --------
    >>> import numpy as np
    >>> to_backend({"w": np.ones(2)}, "numpy")
    {'w': array([1., 1.])}
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {backend!r}")
    if backend == "numpy":
        return to_numpy(tree)
    return tree_map(_import_cupy().asarray, tree)


def to_numpy(tree: Tree) -> Tree:
    """Return a tree with every array as a NumPy array; NumPy arrays are not copied.

    Examples
    --------
    >>> import numpy as np
    >>> to_numpy((np.arange(2), None))
    (array([0, 1]), None)
    """
    return tree_map(lambda a: a.get() if hasattr(a, "get") else np.asarray(a), tree)


def scatter_add(target: Array, index: Array, values: Array) -> None:
    """Add ``values[k]`` to ``target[index[k]]`` in place, repeated indices adding up.

    Parameters
    ----------
    target : Array, shape (V, E)
    index : Array of integers, shape (K,)
    values : Array, shape (K, E)

    Examples
    --------
    >>> import numpy as np
    >>> target = np.zeros((3, 1))
    >>> scatter_add(target, np.array([0, 2, 0]), np.ones((3, 1)))
    >>> target.ravel()
    array([2., 0., 1.])
    """
    if type(target).__module__.partition(".")[0] == "cupy":
        import cupyx

        cupyx.scatter_add(target, index, values)
        return
    if index.size == 0:
        return
    # Sorting and summing runs is many times faster than np.add.at over rows.
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    target[ordered[starts]] += np.add.reduceat(values[order], starts, axis=0)
