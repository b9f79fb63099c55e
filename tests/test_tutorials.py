"""The tutorials: their form, that they run, that the students' versions hold no solution, and the builder."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # tutorials/ is not installed

from tutorials import build as builder  # noqa: E402

SOURCES = builder.sources()
HEADER = """\
# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---
"""
LIBRARIES = {"numpy", "matplotlib", "rnnlab"} | set(sys.stdlib_module_names)
MORE = dict.fromkeys(("10", "11", "12"), {"cupy", "threadpoolctl"})  # the others need NumPy and matplotlib alone
SECONDS = 180

each = pytest.mark.parametrize("name", SOURCES)


def needs_jupyter():
    for module in ("jupytext", "nbclient", "ipykernel"):
        pytest.importorskip(module, reason=f"{module} is not installed (pip install 'rnnlab[tutorials]')")


# Run a source as a script; then every check must stop at its exercise, if that alone is not solved.
RUN_WITHOUT_SOLUTIONS = """
import pathlib, re, runpy, sys
from tutorials.build import has_solution, hide_solutions

names = runpy.run_path(sys.argv[1], run_name="__main__")
cells = re.split("^# %%.*$", pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"), flags=re.M)
exercises = [(cell, check) for cell, check in zip(cells, cells[1:]) if has_solution(cell) and "<!--" not in cell]
for cell, check in exercises:
    exec(hide_solutions(cell), names)
    try:
        exec(check, names)
    except NotImplementedError:
        exec(cell, names)
    else:
        sys.exit("this check passes without a solution:" + check)
print(len(exercises), "exercises")
"""


def run(path, folder, *code):
    """Run a source as a plain script in an empty folder, figures drawn but not shown; or pass it to other code."""
    env = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    env |= {"MPLBACKEND": "Agg", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-W", "error", *code, path], env=env, cwd=folder, capture_output=True, text=True,
        timeout=4 * SECONDS,
    )  # fmt: skip


def cells(text):
    """The cells of a source, each as ``(is markdown, text)``."""
    parts = re.split(r"^# %%(.*)$", text, flags=re.M)
    return [("[markdown]" in mark, body) for mark, body in zip(parts[1::2], parts[2::2], strict=True)]


@each
def test_a_source_has_the_header_a_title_and_cells_that_parse(name):
    text = SOURCES[name].read_text(encoding="utf-8")
    assert text.startswith(HEADER)
    markdown, first = cells(text)[0]
    assert markdown and first.lstrip().startswith(f"# # {int(name[:2])}. ")
    assert re.search(r"^# ## Exercises", text, re.M)
    for markdown, body in cells(text):
        if markdown:
            assert all(line.startswith("#") for line in body.split("\n") if line), body
        else:
            ast.parse(body)
            assert body.strip(), "an empty cell"
            assert not re.search(r"^\s*[%!]", body, re.M), "a magic command is no Python"


@each
def test_a_source_is_in_the_list_of_the_readme(name):
    assert f"({name}.py)" in (builder.FOLDER / "README.md").read_text(encoding="utf-8")


@each
def test_a_source_imports_only_what_a_reader_has(name):
    allowed = LIBRARIES | MORE.get(name[:2], set())
    for node in ast.walk(ast.parse(SOURCES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module]
        else:
            continue
        assert {module.split(".")[0] for module in modules} <= allowed, ast.unparse(node)


@each
def test_every_function_and_class_of_a_source_is_used_in_it(name):
    tree = ast.parse(SOURCES[name].read_text(encoding="utf-8"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assert defined and defined <= used, f"never called: {sorted(defined - used)}"


@each
def test_a_source_has_exercises_whose_solutions_are_marked_and_checked(name):
    text = SOURCES[name].read_text(encoding="utf-8")
    marks = re.findall(r"### (BEGIN|END) SOLUTION", text)
    assert len(marks) >= 6 and marks == ["BEGIN", "END"] * (len(marks) // 2)
    following = [*cells(text)[1:], (True, "")]
    for (markdown, body), after in zip(cells(text), following, strict=True):
        assert body.count("### BEGIN SOLUTION") == body.count("### END SOLUTION") <= (2 if markdown else 1)
        if builder.has_solution(body) and not markdown:
            assert not after[0] and "assert" in after[1], f"no check follows:\n{body}"


@each
def test_a_source_runs_as_a_script_without_a_warning_and_its_checks_need_the_solutions(name, tmp_path):
    result = run(SOURCES[name], tmp_path, "-c", RUN_WITHOUT_SOLUTIONS)
    assert result.returncode == 0, result.stderr[-3000:]
    in_code = [cell for markdown, cell in cells(SOURCES[name].read_text("utf-8")) if not markdown]
    expected = sum(map(builder.has_solution, in_code))
    assert result.stdout.splitlines()[-1] == f"{expected} exercises"


@each
def test_the_students_version_holds_no_solution_and_still_compiles(name):
    text = SOURCES[name].read_text(encoding="utf-8")
    student = builder.hide_solutions(text)
    assert "SOLUTION" not in student
    assert student.count(builder.CODE_TO_DO) + student.count(builder.WORDS_TO_DO) == text.count("BEGIN SOLUTION")
    for match in builder.SOLUTION.finditer(text):
        answer = [line for line in match[0].splitlines()[1:-1] if len(line.strip(" #")) > 12]
        assert answer and not all(line in student for line in answer), f"the solution is elsewhere too:\n{match[0]}"
    compile(student, name, "exec")


@pytest.mark.skipif(not SOURCES, reason="there is no tutorial yet")
def test_the_students_version_of_the_first_tutorial_fails_as_a_script(tmp_path):
    source = next(iter(SOURCES.values()))
    path = tmp_path / source.name
    path.write_text(builder.hide_solutions(source.read_text(encoding="utf-8")), encoding="utf-8")
    result = run(path, tmp_path)
    assert result.returncode == 1 and "NotImplementedError: write your solution here" in result.stderr


TOY = (
    HEADER
    + """
# %% [markdown]
# # 1. A toy

# %%
def double(x):
    "Return 2*x."
    ### BEGIN SOLUTION
    return x + x
    ### END SOLUTION


# %%
print(double(2))
assert double(2) == 4, "the double of 2 is 4"

# %% [markdown]
# Why?
#
# <!-- ### BEGIN SOLUTION -->
# Because.
# <!-- ### END SOLUTION -->

# %%
double(3)
"""
)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A folder of tutorials with nothing but a toy in it."""
    monkeypatch.setattr(builder, "FOLDER", tmp_path)
    (tmp_path / "01_toy.py").write_text(TOY)
    return tmp_path


def build(*arguments):
    """Build notebooks as a user does."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tutorials.build", *arguments]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=4 * SECONDS)


def test_the_students_notebook_has_nbgraders_metadata_and_no_outputs(toy):
    needs_jupyter()
    import nbformat

    first, second = (builder.build("01_toy", toy / folder, student=True) for folder in ("a", "b"))
    assert first.read_text() == second.read_text(), "a second build differs"
    notebook = nbformat.read(first, as_version=4)
    title, exercise, check, words, last = notebook.cells
    assert exercise.source.endswith(f"    {builder.CODE_TO_DO}") and words.source == f"Why?\n\n{builder.WORDS_TO_DO}"
    graded = [cell.metadata.nbgrader for cell in (exercise, check, words)]
    assert [(g.solution, g.grade, g.locked) for g in graded] == [
        (True, False, False), (False, True, True), (True, True, False),
    ]  # fmt: skip
    assert [g.grade_id for g in graded] == ["exercise-1", "exercise-1-check", "exercise-2"]
    assert "nbgrader" not in title.metadata and "nbgrader" not in last.metadata
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert [path.name for path in first.parent.iterdir()] == ["01_toy.ipynb"]


def test_a_failing_cell_is_told_in_one_line_and_leaves_no_notebook(toy):
    needs_jupyter()
    (toy / "02_bad.py").write_text(TOY.replace("double(3)", "double(1) / 0"))
    result = subprocess.run(
        [sys.executable, "-c", f"""
import pathlib, sys
from tutorials import build
build.FOLDER = pathlib.Path({str(toy)!r})
sys.exit(build.main(["--out", {str(toy / "out")!r}, "--jobs", "2"]))"""],
        capture_output=True, text=True, timeout=SECONDS, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert result.stderr == "02_bad: cell 5 (double(1) / 0): ZeroDivisionError: division by zero\n"
    assert [path.name for path in (toy / "out").iterdir()] == ["01_toy.ipynb"]


def test_tutorials_are_named_in_full_by_number_or_by_path(toy):
    (toy / "02_more.py").write_text(TOY)
    assert builder.chosen([]) == ["01_toy", "02_more"]
    assert builder.chosen(["02"]) == builder.chosen(["tutorials/02_more.py"]) == ["02_more"]


def test_a_name_that_is_none_is_told_in_one_line_with_the_names_there_are(toy, capsys):
    assert builder.main(["01", "13_none"]) == 2
    told = capsys.readouterr().err
    assert told == "no tutorial 13_none; there are: 01_toy\n"


def test_what_is_not_installed_is_told_in_one_line_with_the_extra_to_install(toy, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jupytext", None)
    assert builder.main([]) == 2
    told = capsys.readouterr().err
    assert "jupytext" in told and told.endswith("missing; install with: pip install 'rnnlab[tutorials]'\n")


def test_a_folder_that_cannot_be_written_to_is_told_in_one_line(toy, capsys):
    needs_jupyter()
    (toy / "file").write_text("")
    assert builder.main(["--student", "--out", str(toy / "file")]) == 1
    told = capsys.readouterr().err
    assert "file" in told and told.count("\n") == 1


def test_jobs_that_make_no_sense_are_refused_in_one_line(toy, capsys):
    assert builder.main(["--jobs", "0"]) == 2
    assert capsys.readouterr().err == "--jobs must be at least 1; got 0\n"


@pytest.mark.skipif(not SOURCES, reason="there is no tutorial yet")
def test_a_tutorial_is_built_and_executed_as_a_notebook_with_its_pictures(tmp_path):
    needs_jupyter()
    import nbformat

    name = next(iter(SOURCES))
    result = build(name, "--out", str(tmp_path))
    assert result.returncode == 0, result.stderr
    notebook = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code if cell.source)
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs), "no picture came out"
    assert not any(output.get("name") == "stderr" for output in outputs), "something was written to stderr"
