"""The runs in docs/results are still runs of the experiments: a change of a plan must not orphan what was computed."""

import argparse
import json
import shlex
from pathlib import Path

import pytest

from rnnlab.commands import reproduce
from rnnlab.experiments.adjust import adjusted, read_rates, read_setting
from rnnlab.experiments.analysis import gather
from rnnlab.experiments.papers import EXPERIMENTS

RESULTS = sorted((Path(__file__).parent.parent / "docs" / "results").glob("*/results.json"))


def asked(command):
    """The arguments of a command ``rnnlab reproduce ...``."""
    parser = argparse.ArgumentParser()
    reproduce.add_arguments(parser)
    return parser.parse_args(shlex.split(command)[2:])


def records_of(folder):
    return [json.loads(line) for path in folder.glob("runs/*.jsonl") for line in path.read_text().splitlines()]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.parent.name)
def test_every_stored_run_is_one_of_the_plan_that_its_report_names(path):
    results = json.loads(path.read_text(encoding="utf-8"))
    arguments, experiment = asked(results["command"]), EXPERIMENTS[results["experiment"]]
    experiment = experiment.quickened() if arguments.quick else experiment
    settings = dict(read_setting(given) for given in arguments.set)
    rates, seeds = arguments.rates and read_rates(arguments.rates), arguments.seeds and range(arguments.seeds)
    experiment = adjusted(experiment, settings, rates, arguments.arm or None, seeds)
    records = records_of(path.parent)
    found = gather(experiment, records)
    assert found.done == results["done_runs"] == len(records) and found.other == 0
    assert list(experiment.changed) == results["changed"], "the report says what is not as declared"


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.parent.name)
def test_a_stored_report_has_its_pictures_and_its_verdict(path):
    report = (path.parent / "report.md").read_text(encoding="utf-8")
    for line in report.splitlines():
        if line.startswith("!["):
            assert (path.parent / line.rpartition("(")[2].rstrip(")")).is_file()
    assert (path.parent / "verdict.md").read_text(encoding="utf-8").strip() in report
