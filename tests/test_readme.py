"""The README: its two commands have the promised form, and its table is what the first of them gives.

Its Python examples are run by doctest.
"""

import json
import re
from pathlib import Path

import pytest

from rnnlab import cli
from rnnlab.experiments.arms import ARMS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_two_commands_are_one_line_each_and_set_up_everything():
    first, second = re.findall(r"^```bash\n(.+?)\n```$", README, re.M | re.S)
    for command in (first, second):
        assert "\n" not in command
        assert command.startswith(
            "python3 -m venv --without-pip .venv && python3 -m pip --python .venv/bin/python install"
        )
    assert first.endswith("&& .venv/bin/rnnlab compare")
    assert second.endswith("&& .venv/bin/python -m pytest -n auto")


def test_every_file_that_the_readme_names_is_there():
    names = re.findall(r"`(rnnlab/[\w/.]+)`", README) + re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(names) >= 4
    for name in names:
        assert (ROOT / name).exists(), name


@pytest.mark.slow
def test_the_table_is_what_the_first_command_gives(tmp_path):
    """Within a tenth of a bit: training is chaotic, so the last bits of another BLAS grow into the second digit."""
    rows = re.findall(r"^\| ([\w ]+) \| ([\d.]+) \| ([\d.]+) ± [\d.]+ \| (\d+)% \|$", README, re.M)
    assert cli.main(["compare", "--out", str(tmp_path / "run")]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert results["complete"] and [title for title, *_ in rows] == [ARMS[arm].title for arm in results["arms"]]
    for (_, rate, bits, diverged), arm in zip(rows, results["arms"].values(), strict=True):
        assert arm["best_learning_rate"] == float(rate) and not arm["best_at_edge"]
        assert arm["validation_bpc_mean"] == pytest.approx(float(bits), abs=0.1)
        assert 100 * arm["diverged_fraction"] == pytest.approx(float(diverged), abs=15)
        assert len(arm["runs"]) == 14
