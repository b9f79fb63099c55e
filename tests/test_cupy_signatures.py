"""Every name of the array library that the package uses, and every argument given to it, exists in CuPy.

The package's source is read, not run: what it says to ``xp`` is held against what CuPy offers, as ``cupy_names.json``
keeps it and as the installed CuPy has it (importing CuPy needs no GPU).
"""

import ast
import inspect
import json
import re
from pathlib import Path

import make_cupy_names
import numpy as np
import pytest
from strict import signature_of

PACKAGE = Path(__file__).parents[1] / "rnnlab"
STORED = json.loads(make_cupy_names.FILE.read_text(encoding="utf-8"))
# Files whose arrays are NumPy's for good: data on the host, pictures, reports, numbers on paper.
HOST = ("data", "plots", "report", "commands", "interop", "experiments", "checkpoint.py")
# Methods of NumPy's arrays that other objects have too.
SHARED = {"copy", "sort", "item", "partition", "fill", "round", "dump", "dumps"}


def sources():
    return sorted(PACKAGE.rglob("*.py"))


# ------------------------------------------------------------------------------ what a source says


def path_of(node):
    """``("xp", "linalg.norm")`` for what is looked up in an array library, ``("cupyx", "scatter_add")``; or None."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    names.reverse()
    if isinstance(node, ast.Name):
        root = node.id
        if root in ("self", "case") and names[:1] == ["xp"]:
            root, names = "xp", names[1:]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("namespace", "library_of"):
        root = "xp"
    elif ast.unparse(node) == "sys.modules['cupy']":
        root = "xp"
    else:
        return None
    root = {"cupy": "xp"}.get(root, root)
    return (root, ".".join(names)) if names and root in ("xp", "cupyx") else None


def fits(parameters, call, skip_self=False):
    """Why a function with such parameters does not take a call, or None."""
    star = any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords)
    positional = [0] * (sum(not isinstance(a, ast.Starred) for a in call.args) + skip_self)
    keywords = {k.arg: 0 for k in call.keywords if k.arg is not None}
    try:
        signature = signature_of(parameters)
        (signature.bind_partial if star else signature.bind)(*positional, **keywords)
    except TypeError as error:
        return str(error)
    return None


def problems(source, table):
    """What a source asks of the array library that CuPy, by the table, does not have; ``line: what``."""
    tree = ast.parse(source)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    looked_up = [(n, path_of(n)) for n in ast.walk(tree) if isinstance(n, ast.Attribute) and id(n) not in inner]
    found = []
    for node, path in looked_up:
        if path is None or path[1].startswith("__"):
            continue
        names = table["names"] if path[0] == "xp" else table["cupyx"]
        if path[1] not in names:
            found.append(f"{node.lineno}: CuPy has no {path[1]}")
        elif id(node) in calls and names[path[1]] is not None:
            why = fits(names[path[1]], calls[id(node)])
            found += [f"{node.lineno}: {path[1]}({names[path[1]]}): {why}"] if why else []
    return found + method_problems(calls.values(), table)


def method_problems(calls, table):
    """The same of methods of arrays: of any object's method that NumPy's arrays have by that name."""
    found = []
    for call in calls:
        name = call.func.attr if isinstance(call.func, ast.Attribute) else None
        module = ast.unparse(call.func.value) if name else None
        if name is None or name.startswith("__") or name in SHARED or path_of(call.func):
            continue
        if not callable(getattr(np.ndarray, name, None)):
            continue
        if module.partition(".")[0] in ("np", "math", "rng") or isinstance(call.func.value, ast.Constant):
            continue  # no array, or one that a function of NumPy's has just made
        if name not in table["methods"]:
            found.append(f"{call.lineno}: CuPy has no array method {name}")
        elif table["methods"][name] is not None:
            why = fits(table["methods"][name], call, skip_self=True)
            found += [f"{call.lineno}: array method {name}({table['methods'][name]}): {why}"] if why else []
    return found


# ---------------------------------------------------------------------------------------- the tests


@pytest.fixture(params=["stored", "installed"], scope="module")
def table(request):
    """What CuPy has: as it was when it was written down, and as it is."""
    if request.param == "stored":
        return STORED
    pytest.importorskip("cupy", reason="CuPy is not installed: pip install cupy-cuda13x (it needs no GPU)")
    return make_cupy_names.collect()


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_cupy_has_what_is_asked_of_the_array_library(table, path):
    source = path.read_text(encoding="utf-8")
    found = problems(source, table)
    if path.relative_to(PACKAGE).parts[0] in HOST:
        found = [line for line in found if "array method" not in line]
    assert found == []


def test_enough_is_read_to_be_worth_it():
    """Were nothing found in the sources, nothing would be wrong."""
    used = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            used.add(path_of(node) if isinstance(node, ast.Attribute) else None)
    wanted = {"tanh", "where", "concatenate", "linalg.qr", "linalg.eigh", "zeros", "dot", "copyto", "take_along_axis"}
    assert {("xp", name) for name in wanted} <= used and ("cupyx", "scatter_add") in used
    assert len(used) > 40


GOOD = """
y = xp.where(x > 0, x, 0); z = xp.add(x, y, out=x); xp.multiply(x, y, x); s = x.sum(axis=0, keepdims=True)
n = xp.linalg.norm(x, axis=1); xp.concatenate([x, y], axis=1); xp.zeros(*shape, **options); w = x.astype(d, copy=False)
zeros = namespace(x=x).zeros_like; t = xp.float64; x.reshape(2, -1).transpose(1, 0); library_of(x, "x").tanh(x, out=x)
"""
BAD = {
    "xp.errstate(all='ignore')": "CuPy has no errstate",
    "xp.insert(x, 0, 1)": "CuPy has no insert",
    "xp.linalg.multi_dot([x, y])": "CuPy has no linalg.multi_dot",
    "xp.linalg.vector_norm(x)": "CuPy has no linalg.vector_norm",
    "f = namespace(x=x).nditer": "CuPy has no nditer",
    "self.xp.einsum_path('ij', x)": "CuPy has no einsum_path",
    "xp.add.reduceat(x, y)": "CuPy has no add.reduceat",
    "xp.add(x, y, where=m)": "unexpected keyword argument 'where'",
    "xp.add(x, y, z, 'same_kind')": "too many positional arguments",
    "xp.zeros((2, 2), like=x)": "unexpected keyword argument 'like'",
    "xp.sum(x, initial=0)": "unexpected keyword argument 'initial'",
    "xp.linalg.svd(x, hermitian=True)": "unexpected keyword argument 'hermitian'",
    "xp.clip(x)": "missing a required argument",
    "x.sum(axis=0, where=m)": "unexpected keyword argument 'where'",
    "x.max(initial=0)": "unexpected keyword argument 'initial'",
    "x.setfield(y, d)": "no array method setfield",
    "cupyx.scatter_mul(x, i, y)": "CuPy has no scatter_mul",
    "cupy.nothing()": "CuPy has no nothing",
}


def test_a_source_that_asks_for_what_there_is_passes(table):
    assert problems(GOOD, table) == []


@pytest.mark.parametrize("source", BAD)
def test_a_source_that_asks_for_more_is_told_what(table, source):
    (found,) = problems(source, table)
    assert BAD[source] in found


def test_the_table_is_that_of_the_installed_cupy():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed: pip install cupy-cuda13x (it needs no GPU)")
    if cupy.__version__ != STORED["cupy"]:
        pytest.skip(f"CuPy {cupy.__version__} is installed, the table is of {STORED['cupy']}")
    assert make_cupy_names.collect() == STORED


def test_the_table_is_of_a_cupy_that_the_package_allows():
    floors = re.findall(r"cupy-cuda1\dx>=(\d+)", (PACKAGE.parent / "setup.cfg").read_text(encoding="utf-8"))
    assert len(floors) == 2 and all(int(STORED["cupy"].split(".")[0]) >= int(floor) for floor in floors)
    for part in ("names", "methods", "cupyx"):
        for name, parameters in STORED[part].items():
            if parameters is not None:
                assert isinstance(signature_of(parameters), inspect.Signature), name
