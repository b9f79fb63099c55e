"""``rnnlab gradcheck``: check every cell of the library, or a layer of the user's."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from rnnlab.commands import InputError, add_backend, usable_backend
from rnnlab.gradcheck import LayerReport, check_all_cells, check_layer
from rnnlab.gradcheck.oracles import METHODS

__all__ = ["DESCRIPTION", "HELP", "add_arguments", "run"]

HELP = "check hand-written gradients"
DESCRIPTION = (
    "Check the gradients of every cell of rnnlab or, with module:Name, of a layer of your own: of its input, its "
    "initial state and every parameter, with and without lengths. Exit status 1 if a gradient is wrong."
)
SIZES = {"input_size": 3, "hidden_size": 4}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "layer",
        nargs="?",
        metavar="module:Name",
        help="a class, an object or a function that returns a layer; path/to/file.py:Name works too; the module is "
        "looked for in the current folder first",
    )
    parser.add_argument("--method", choices=tuple(METHODS), default="central", help="how slopes are measured (central)")
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs (0)")
    add_backend(parser)


def run(arguments: Any) -> int:
    """Run the command; return the exit status."""
    backend = usable_backend(arguments.backend)
    if arguments.seed < 0:
        raise InputError(f"--seed must be at least 0; got {arguments.seed}")
    if arguments.layer is None:
        return _check_cells(arguments.seed, arguments.method, backend)
    layer = make_layer(arguments.layer)
    report = check_layer(layer, arguments.method, rng=np.random.default_rng(arguments.seed), backend=backend)
    print(report)
    return 0 if report.passed else 1


def _check_cells(seed: int, method: str, backend: str) -> int:
    results = check_all_cells(seed, method, backend)
    print(table(results, METHODS[method].title))
    return 0 if all(report.passed for _, report in results) else 1


def table(results: list[tuple[str, LayerReport]], title: str) -> str:
    """Return the results as a table, the reports of failed checks below it."""
    width = max(len(name) for name, _ in results)
    lines = [f"{'layer':<{width}}  checks  largest error  verdict     ({title})"]
    for name, report in results:
        ran = [check for check in report.checks if check.status != "skipped"]
        passed = f"{len(ran) - len(report.failed)}/{len(ran)}"
        verdict = "ok" if report.passed else "FAILED"
        lines.append(f"{name:<{width}}  {passed:>6}  {report.max_relative_error:>13.1e}  {verdict}")
    lines += [f"\n{report}" for _, report in results if not report.passed]
    return "\n".join(lines)


# -------------------------------------------------------------------------------- the user's layer


def make_layer(spec: str) -> Any:
    """Return the layer that ``module:Name`` stands for; a class is called with sizes 3 and 4.

    Raises
    ------
    InputError
        The module cannot be imported, has no such name, or the name makes no layer.
    """
    where, colon, name = spec.rpartition(":")
    if not (colon and where and name):
        raise InputError(f"the layer must be named module:Name; got {spec!r}")
    found: Any = _module(where)
    for part in name.split("."):
        if not hasattr(found, part):
            raise InputError(f"{where} has no {name!r}")
        found = getattr(found, part)
    if not inspect.isclass(found) and not inspect.isfunction(found):
        return found
    layer = _call(found, name)
    if not (hasattr(layer, "forward") and hasattr(layer, "backward")):
        raise InputError(f"{name} must have methods forward and backward, or be a function that returns such a layer")
    return layer


def _module(where: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        if where.endswith(".py"):
            return _from_file(Path(where))
        return importlib.import_module(where)
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise InputError(f"cannot import {where!r}: {error}") from None
    except (Exception, SystemExit) as error:  # anything may go wrong while a user's file is read
        raise InputError(f"cannot import {where!r}: {type(error).__name__}: {error}{_line(error)}") from None


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}")
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # a file that ends in .py always has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _call(make: Any, name: str) -> Any:
    required = [
        parameter.name
        for parameter in inspect.signature(make).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if len(required) > len(SIZES):
        raise InputError(f"{name} needs the arguments {', '.join(required)}; name a function that needs none")
    sizes = [SIZES.get(parameter, size) for parameter, size in zip(required, SIZES.values(), strict=False)]
    try:
        return make(*sizes)
    except Exception as error:
        text = f"{name}({', '.join(map(str, sizes))}) raised {type(error).__name__}: {error}{_line(error)}"
        raise InputError(text) from None


def _line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
