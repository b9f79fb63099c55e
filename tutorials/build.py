"""Build the notebooks from the tutorials' sources: ``python -m tutorials.build [--student] [--no-run] [NAME ...]``."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "TutorialError", "build", "has_solution", "hide_solutions", "main", "sources"]

FOLDER = Path(__file__).parent
BUILT = FOLDER / "_build"
CODE_TO_DO = 'raise NotImplementedError("write your solution here")'
WORDS_TO_DO = "*Write your answer here.*"
# Indented in code; after "# " in a source's markdown, where the marks are HTML comments.
SOLUTION = re.compile(r"^([ \t]*|# )(<!-- )?### BEGIN SOLUTION\b.*?### END SOLUTION\b[^\n]*$", re.M | re.S)


class TutorialError(Exception):
    """A cell failed; the message is one line."""


def sources() -> dict[str, Path]:
    """Return the tutorials' sources by name, in their order."""
    return {path.stem: path for path in sorted(FOLDER.glob("[0-9][0-9]_*.py"))}


def has_solution(text: str) -> bool:
    """Return whether a cell or a source holds a solution."""
    return SOLUTION.search(text) is not None


def hide_solutions(text: str) -> str:
    """Return a cell or a source without its solutions.

    Examples
    --------
    >>> print(hide_solutions("def f(x):\\n    ### BEGIN SOLUTION\\n    return x\\n    ### END SOLUTION"))
    def f(x):
        raise NotImplementedError("write your solution here")
    """
    return SOLUTION.sub(lambda match: match[1] + (WORDS_TO_DO if match[2] else CODE_TO_DO), text)


def read(path: Path) -> Any:
    """Read a source into a notebook whose cells have the same ids at every build."""
    import jupytext

    notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    notebook.metadata.pop("jupytext", None)  # it would tie the notebook to a source that need not be there
    for k, cell in enumerate(notebook.cells):
        cell.id = f"cell-{k:03d}"
    return notebook


def make_student(notebook: Any) -> None:
    """Hide the solutions, and give the exercises and their checks the metadata that nbgrader reads."""
    exercise, checked = 0, False  # whether the next code cell checks the exercise before it
    for cell in notebook.cells:
        if has_solution(cell.source):
            exercise += 1
            checked = cell.cell_type == "code"
            # Words are graded by hand, in the cell itself.
            _grade(cell, f"exercise-{exercise}", grade=not checked, solution=True, locked=False)
            cell.source = hide_solutions(cell.source)
        elif checked and cell.cell_type == "code":
            checked = False
            _grade(cell, f"exercise-{exercise}-check", grade=True, solution=False, locked=True)


def _grade(cell: Any, grade_id: str, grade: bool, solution: bool, locked: bool) -> None:
    about = {"schema_version": 3, "grade_id": grade_id, "grade": grade, "solution": solution, "locked": locked}
    cell.metadata["nbgrader"] = {**about, "task": False, **({"points": 1} if grade else {})}


def execute(name: str, notebook: Any) -> None:
    """Run all cells in a fresh kernel, in an empty folder; raise `TutorialError` if one fails."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError

    env = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}  # the kernel shows figures inline
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(FOLDER.parent), env.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory(prefix="rnnlab-tutorial-") as folder:
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, kernel_name="python3", timeout=None, record_timing=False, resources=resources)
        try:
            client.execute(env=env, stderr=subprocess.DEVNULL)  # what its cells write to stderr goes into the notebook
        except CellExecutionError as error:
            raise TutorialError(f"{name}: {_failed(notebook)}: {error.ename}: {_line(error.evalue)}") from None
        except (CellControlSignal, DeadKernelError) as error:
            raise TutorialError(f"{name}: the kernel stopped: {_line(str(error))}") from None


def _failed(notebook: Any) -> str:
    """Name the cell that failed: its number among all cells, and its first line."""
    for k, cell in enumerate(notebook.cells, start=1):
        if any(output.output_type == "error" for output in cell.get("outputs", ())):
            return f"cell {k} ({_line(cell.source)})"
    return "a cell"


def _line(text: str) -> str:
    """Return a text's first line, or ``""``."""
    return next(iter(text.strip().splitlines()), "")


def build(name: str, folder: Path, student: bool = False, run: bool = True) -> Path:
    """Write one notebook into a folder and return its path; it appears there only when it is complete.

    A notebook for students has no solutions and is not executed. A cell that fails raises `TutorialError`.
    """
    import nbformat

    notebook = read(sources()[name])
    if student:
        make_student(notebook)
    elif run:
        execute(name, notebook)
    nbformat.validate(notebook)
    folder.mkdir(parents=True, exist_ok=True)
    path, unfinished = folder / f"{name}.ipynb", folder / f".{name}.{os.getpid()}.tmp"
    try:
        nbformat.write(notebook, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tutorials.build", description="Build the tutorials' notebooks.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="a tutorial, or its number: 02 (all of them)")
    parser.add_argument("--student", action="store_true", help="leave the solutions out; nothing is executed")
    parser.add_argument("--no-run", action="store_true", help="do not execute the cells")
    parser.add_argument("--out", metavar="DIR", type=Path, help=f"where to (tutorials/{BUILT.name}, or student in it)")
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="so many notebooks at the same time (1)")
    return parser.parse_args(arguments)


def chosen(names: Sequence[str]) -> list[str]:
    """Return the full names of the tutorials that were asked for by name, number or path; all by default."""
    known = list(sources())
    found = {name: [k for k in known if Path(name).stem in (k, k[:2])] for name in names}
    unknown = [name for name, matches in found.items() if not matches]
    if unknown:
        raise ValueError(f"no tutorial {', '.join(unknown)}; there are: {', '.join(known)}")
    return sorted({k for matches in found.values() for k in matches}) or known


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the notebooks; return 0, 1 if one could not be made, or 2 if this cannot be done as asked."""
    args = parse(arguments)
    needed = ["jupytext", "nbformat"] + ["nbclient", "ipykernel"] * (not args.student and not args.no_run)
    missing = [module for module in needed if sys.modules.get(module, find_spec(module)) is None]
    try:
        names = chosen(args.names)
        if args.jobs < 1:
            raise ValueError(f"--jobs must be at least 1; got {args.jobs}")
        if missing:
            raise ValueError(f"{', '.join(missing)} missing; install with: pip install 'rnnlab[tutorials]'")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    folder = args.out or (BUILT / "student" if args.student else BUILT)

    def one(name: str) -> bool:
        start = time.monotonic()
        try:
            path = build(name, folder, args.student, not args.no_run)
        except (TutorialError, OSError) as error:
            print(error, file=sys.stderr)
            return False
        print(f"{path} ({time.monotonic() - start:.0f} s)", flush=True)
        return True

    with ThreadPoolExecutor(args.jobs) as pool:
        return 0 if all(list(pool.map(one, names))) else 1


if __name__ == "__main__":
    sys.exit(main())
