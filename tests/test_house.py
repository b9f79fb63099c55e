"""The house rules that a machine can check: who imports whom, what an import costs, no literal dtypes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rnnlab"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Each floor may import from those below it and from its own.
FLOORS = [
    ["backend"],
    ["activations", "initializers", "kernels"],
    ["cells"],
    ["recurrent"],
    ["layers", "losses", "combinators"],
    ["models"],
    ["optim", "gradcheck", "gates", "memory", "capture"],
    ["dynamics"],
    ["training", "checkpoint", "data", "monitor"],
    ["experiments", "interop", "plots", "report"],
    ["commands"],
    ["cli"],
]
FLOOR = {name: k for k, floor in enumerate(FLOORS) for name in floor}
NUMERICAL = ["activations", "cells", "combinators", "layers", "losses", "recurrent"]


def room(path):
    """The module or folder directly inside rnnlab that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rnnlab_imports(tree):
    """Names of what a file imports from rnnlab, at any depth of the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports inside rnnlab are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("rnnlab."))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downwards_only(path):
    if room(path) in ("__init__", "__main__"):
        return
    for name in rnnlab_imports(ast.parse(path.read_text())):
        if name in ("__version__",):
            continue
        assert FLOOR[name] <= FLOOR[room(path)], f"{path.name} imports rnnlab.{name} from above"


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room(p) in NUMERICAL], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_numerical_code_takes_its_array_library_and_dtype_from_the_data(path):
    allowed = {"ndarray", "random", "dtype", "integer", "float64"}
    if path.name in ("base.py", "layers.py"):
        allowed |= {"asarray", "arange", "zeros"}  # lengths and initial parameters are made on the host
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "np":
            assert node.attr in allowed, f"np.{node.attr} in {path.name}:{node.lineno}"
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("float32", "complex64", "complex128"), f"{path.name}:{node.lineno}"


def seconds(module):
    """Time of the processor, not of the clock: other programs may be running."""
    statement = f"import time; t = time.process_time(); import {module}; print(time.process_time() - t)"
    return float(subprocess.run([sys.executable, "-c", statement], check=True, capture_output=True).stdout)


def test_importing_rnnlab_takes_at_most_twice_the_time_of_importing_numpy():
    pairs = [(seconds("numpy"), seconds("rnnlab")) for _ in range(9)]
    numpy, rnnlab = (min(pair[k] for pair in pairs) for k in (0, 1))
    assert rnnlab < 2 * numpy


def test_importing_rnnlab_imports_nothing_heavy():
    statement = (
        "import sys, rnnlab; print([m for m in ('matplotlib', 'joblib', 'tqdm', 'cupy', 'lzma') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_public_name_exists_and_has_a_docstring():
    import rnnlab

    for name in rnnlab.__all__:
        assert getattr(rnnlab, name).__doc__, name
    for path in MODULES:
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_the_version_is_said_once_in_two_places_alike():
    import rnnlab

    assert f"version = {rnnlab.__version__}\n" in (PACKAGE.parent / "setup.cfg").read_text()


def test_cupy_asked_for_without_a_gpu_is_one_clear_error():
    import rnnlab as rl

    try:
        rl.to_backend((), "cupy")
    except rl.BackendError as error:
        assert "pip install 'rnnlab[cupy13]'" in str(error) and "\n" not in str(error)
    with pytest.raises(ValueError, match="backend must be one of numpy, cupy; got 'torch'"):
        rl.to_backend((), "torch")
