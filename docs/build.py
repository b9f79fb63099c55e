"""Build these pages: ``python -m docs.build [--no-run] [--no-tutorials] [--out DIR]``.

The tutorials' notebooks are built first where they are missing or older than their source, which executes them. With
``--no-run`` nothing is executed: notebooks that are up to date are shown with their outputs, the others without.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]

HERE = Path(__file__).parent
ROOT = HERE.parent
SOURCES, BUILT, SHOWN = ROOT / "tutorials", ROOT / "tutorials" / "_build", HERE / "tutorials"
# An answer in words, whose marks are comments.
ANSWER = re.compile(r"<!-- ### BEGIN SOLUTION -->(.*?)<!-- ### END SOLUTION -->", re.S)
FOLDED = r'<details class="answer"><summary>Show an answer</summary>\n\n\1\n\n</details>'
FLAGS = ["-W", "--keep-going", "-n", "-q"]


def stale(source: Path) -> bool:
    """Return whether a tutorial's notebook is missing or older than its source."""
    notebook = BUILT / f"{source.stem}.ipynb"
    return not notebook.exists() or notebook.stat().st_mtime < source.stat().st_mtime


def place_notebooks(run: bool) -> None:
    """Put the notebooks where Sphinx finds them, solutions folded away."""
    sources = sorted(SOURCES.glob("[0-9][0-9]_*.py"))
    old = [source for source in sources if stale(source)]
    for notebook in SHOWN.glob("*.ipynb"):
        if notebook.stem not in {source.stem for source in sources}:
            notebook.unlink()
    if old and run:
        subprocess.run([sys.executable, "-m", "tutorials.build", *(s.stem for s in old)], cwd=ROOT, check=True)
        old = []
    for source in sources:
        write_notebook(source, executed=source not in old)


def write_notebook(source: Path, executed: bool) -> None:
    """Write the notebook of one tutorial."""
    import jupytext
    import nbformat

    notebook = nbformat.read(BUILT / f"{source.stem}.ipynb", 4) if executed else jupytext.read(source)
    for cell in notebook.cells:
        if cell.cell_type == "code" and "### BEGIN SOLUTION" in cell.source:
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
            cell.metadata["mystnb"] = {"code_prompt_show": "Show a solution", "code_prompt_hide": "Hide the solution"}
        elif cell.cell_type == "markdown":
            cell.source = ANSWER.sub(FOLDED, cell.source)
    path, text = SHOWN / f"{source.stem}.ipynb", nbformat.writes(notebook)
    if not path.exists() or path.read_text(encoding="utf-8") != text:  # Sphinx reads again what has been written
        path.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the pages; return Sphinx's status, or 2 if something that is needed is not installed."""
    parser = argparse.ArgumentParser(prog="python -m docs.build", description="Build the documentation.")
    parser.add_argument("--no-run", action="store_true", help="execute no notebook")
    parser.add_argument("--no-tutorials", action="store_true", help="leave the tutorials out")
    parser.add_argument("--out", metavar="DIR", type=Path, default=HERE / "_build" / "html", help="docs/_build/html")
    args = parser.parse_args(arguments)
    try:
        from sphinx.cmd.build import main as sphinx

        if not args.no_tutorials:
            place_notebooks(run=not args.no_run)
    except ImportError as error:
        print(f"{error.name} is missing; install it with: pip install 'rnnlab[docs]'", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        return error.returncode  # it has said what was wrong
    tags = ["-t", "no_tutorials"] if args.no_tutorials else []
    status = sphinx([*FLAGS, *tags, "-d", str(args.out.parent / "doctrees"), str(HERE), str(args.out)])
    if status == 0:
        print(args.out / "index.html")
    return status


if __name__ == "__main__":
    sys.exit(main())
