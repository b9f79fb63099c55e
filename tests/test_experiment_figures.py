"""The pictures of an experiment's report: which there are, and that they show the numbers they are given."""

from dataclasses import replace

import numpy as np
import pytest
from test_experiment_engine import record
from toy_experiment import ARMS, TOY, config

from rnnlab.experiments.analysis import gather
from rnnlab.experiments.experiment import Variant
from rnnlab.experiments.figures import (
    curves,
    histograms,
    options,
    pictures,
    save_pictures,
    sensitivity,
    statistics,
    traces,
)
from rnnlab.experiments.papers import EXPERIMENTS
from rnnlab.experiments.papers.long_memory import EXPERIMENT as LONG_MEMORY
from rnnlab.experiments.papers.long_memory import survival
from rnnlab.plots import experiments as draw
from rnnlab.plots.drawing import look_of

STEPS = [0, 10, 20]
PATHS = ("recurrent.layer0.weight_hh", "recurrent.layer1.weight_hh", "recurrent.layer1.weight_ih", "output.weight")


def monitored(run, **more):
    """The record of a run that watched spectra and weights."""
    monitor = {"step": STEPS, "spectral_norm.recurrent.weight_hh.r": [7.0] * 3}
    monitor |= {"spectral_radius.recurrent.weight_hh.r": [5.0] * 3}
    monitor |= {"spectral_norm.recurrent.weight_hh.n": [1.0, 1.5, 1.8 + run.rate]}
    monitor |= {"spectral_radius.recurrent.weight_hh.n": [0.9, None, 1.1]}
    for k, path in enumerate(PATHS):
        monitor |= {f"weight_{key}.{path}": [0.1 * k, 0.2, 0.3] for key in ("mean", "std", "skewness", "kurtosis")}
    bins = {path: {"low": -1.0, "high": 2.0, "counts": [1, 3, 4, 0]} for path in PATHS}
    return record(run, monitor=monitor, weights=bins, **more)


@pytest.fixture(scope="module")
def results():
    """The toy, whose clipped runs at a threshold of 1 fail."""
    return gather(TOY, [monitored(run, valid=run.rate, succeeded=run.option != 1.0) for run in TOY.plan()])


def names(found):
    """Variant and kind of every picture."""
    return {(picture.variant, picture.name.partition("-")[0]) for picture in found}


def test_what_is_on_record_is_drawn_and_nothing_else(results):
    kinds = {"sensitivity", "traces", "weights", "histograms"}
    expected = {(v, kind) for v in ("short", "long, ragged") for kind in kinds} | {("short", "options")}
    assert names(pictures(results)) == expected
    bare = gather(TOY, [record(run) for run in TOY.plan() if run.variant == "long, ragged"])
    assert names(pictures(bare)) == {("long, ragged", "sensitivity")}
    assert pictures(gather(TOY, [])) == []


def test_the_pictures_are_saved_under_names_of_their_own(results, tmp_path):
    found = save_pictures(tmp_path, results)
    assert {path.name for path in tmp_path.iterdir()} == {f"{p.name}.{kind}" for p in found for kind in ("png", "svg")}
    assert len({picture.name for picture in found}) == len(found) == 9


def test_a_second_grid_has_a_line_a_value(results):
    found = options(results, TOY.variants[0])
    assert list(found["arms"]) == ["clip"] and options(results, TOY.variants[1]) is None
    points = {(p["rate"], p["value"]): (p["metric"], p["success"]) for p in found["arms"]["clip"]["points"]}
    assert points == {(0.1, 0.5): (0.1, 1.0), (0.1, 1.0): (0.1, 0.0)}
    upper, lower = draw.option_sensitivity(found).axes[:2]
    assert sorted(line.get_ydata()[0] for line in upper.lines) == [1.5, 98.5]  # 0 and 100, set apart
    assert [line.get_ydata()[0] for line in lower.lines] == [0.1, 0.1]


def test_curves_are_of_every_seed_at_the_best_points():
    def learning(run):
        losses = {"training_loss": [3.0, run.rate], "validation_step": [19], "validation_loss": [None]}
        losses |= {"validation_loss": [run.rate + run.seed]} if run.arm != "wild" else {}
        plain = {"step": [9, 19], "gradient_norm_max": [1.0, None]}
        known = {} if run.arm == "wild" else {"valid_loss_constant": 1.25}  # the oldest runs have it not
        return record(run, valid=run.rate, curve=plain | losses, **known)

    found = curves(gather(TOY, [learning(run) for run in TOY.plan()]), TOY.variants[0])
    assert found["constant"] == 1.25
    assert {name: len(arm["runs"]) for name, arm in found["arms"].items()} == {"sgd": 2, "clip": 2, "wild": 2}
    assert found["arms"]["clip"]["title"] == "clip at 0.5, rate 0.1"
    training, validation = draw.learning_curves(found).axes
    assert [list(line.get_ydata()) for line in training.lines[:2]] == [[3.0, 0.01]] * 2
    assert [list(line.get_ydata()) for line in validation.lines[:4]] == [[0.01], [1.01], [0.1], [1.1]]
    assert {line.get_marker() for line in training.lines} == {""} and validation.lines[0].get_marker() == "o"
    assert np.isnan(validation.lines[4].get_ydata()).all()  # of what is not finite there is no point
    assert list(validation.lines[-1].get_ydata()) == [1.25, 1.25]


def test_traces_are_of_the_best_points_and_of_runs_that_failed(results):
    found = traces(results, TOY.variants[0])
    titles = [(run["title"], run["faint"]) for run in found["runs"]]
    assert titles == [
        ("clip at 1, rate 0.1, failed", True),
        ("sgd, rate 0.01", False),
        ("clip at 0.5, rate 0.1", False),
        ("wild, rate 1e+30", False),
    ]
    assert found["block"] == "weight_hh.n" and found["bound"] == 2.0
    longer = {**TOY.variants[0].config, "optimizer": {"gradient_factor": 35.0}}  # sums over 35 steps
    assert traces(results, replace(TOY.variants[0], config=longer))["runs"][1]["gradient_norm"] == [35.0, None]
    upper, lower = draw.traces(found).axes
    np.testing.assert_array_equal(upper.lines[1].get_ydata(), [1.0, np.nan])
    np.testing.assert_allclose(lower.lines[2].get_ydata(), [1.0, 1.5, 1.81])
    np.testing.assert_array_equal(lower.lines[3].get_ydata(), [0.9, np.nan, 1.1])


def test_weights_are_those_of_the_last_layer_of_the_best_points(results):
    found = statistics(results, TOY.variants[0])
    assert found["arrays"] == {
        "recurrent.layer1.weight_ih": "input weights",
        "recurrent.layer1.weight_hh": "recurrent weights, last layer",
        "output.weight": "output weights",
    }
    assert list(found["arms"]) == ["sgd", "clip"] and found["arms"]["sgd"]["title"] == "sgd, rate 0.01"
    assert found["arms"]["clip"]["title"] == "clip at 0.5, rate 0.1"
    figure = draw.weight_statistics(found)
    assert len(figure.axes) == 12
    np.testing.assert_allclose(figure.axes[5].lines[0].get_ydata(), [0.3, 0.2, 0.3])
    assert found["arms"]["sgd"]["statistics"]["output.weight"]["std"] == [0.1 * 3, 0.2, 0.3]


def test_one_look_at_the_weights_makes_no_course():
    def short(run):
        monitor = monitored(run)["monitor"]
        return record(run, monitor={key: values[:1] for key, values in monitor.items()})

    assert statistics(gather(TOY, [short(run) for run in TOY.plan()]), TOY.variants[0]) is None


def test_a_histogram_is_a_density(results):
    figure = draw.weight_histograms(histograms(results, TOY.variants[0]))
    for axes in figure.axes:
        centres, density = axes.lines[0].get_data()
        np.testing.assert_allclose(centres, [-0.25, 1.25])
        assert np.sum(density * 1.5) == pytest.approx(1.0)


def test_the_mean_is_not_magnified_to_show_rounding(results):
    found = statistics(results, TOY.variants[0])
    for arm in found["arms"].values():
        arm["statistics"]["output.weight"]["mean"] = [1e-6, 1.1e-6, 1e-6]
    low, high = draw.weight_statistics(found).axes[2].get_ylim()
    assert high - low == pytest.approx(0.01 * 0.2)


def test_the_picture_of_horizons_has_a_bar_for_each_pair_that_was_run():
    small = LONG_MEMORY.quickened()
    runs = [run for run in small.plan() if run.variant.startswith("adding")]
    made = [record(run, test=0.001 if run.variant == "adding-25" or "lstm" in run.arm else 0.16) for run in runs]
    found = survival(gather(small, made))
    assert list(found["tasks"]) == ["adding"]
    entry = found["tasks"]["adding"]
    lengths = [int(v.name.partition("-")[2]) for v in small.variants if v.name.startswith("adding")]
    assert entry["lengths"] == lengths
    assert entry["reached"]["lstm", "adam"] == lengths[-1] and entry["reached"]["gru", "adam"] == 25
    axes = draw.horizons(found).axes[0]
    bars = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 3]
    assert len(bars) == sum(T is not None for T in entry["reached"].values())
    assert {bar.get_xdata()[1] for bar in bars} == {1, len(lengths)}
    assert [name for name, _ in names(pictures(gather(small, made))) if name is None] == [None]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_two_arms_of_a_picture_look_alike(name):
    for variant in EXPERIMENTS[name].variants[:4]:
        few = replace(EXPERIMENTS[name], variants=(variant,), seeds=(0,))
        runs = few.plan()
        found = gather(few, [record(run, valid=run.rate + 10 * (run.arm == "lstm adam")) for run in runs])
        arms = sensitivity(found, variant)["arms"]
        looks = [look_of(arm, arms) for arm in arms]
        assert len(arms) == min(9, len(variant.arms)) and "lstm adam" not in arms
        assert len(arms) == len({look.color for look in looks}) == len({look.marker for look in looks})


def test_empty_pictures_say_so():
    nothing = Variant("v", config(6), ARMS[:1])
    empty = gather(replace(TOY, variants=(nothing,)), [])
    assert all(made(empty, nothing) is None for made in (curves, traces, statistics, histograms))
    for make, found in (
        (draw.option_sensitivity, {"metric": "m", "arms": {}}),
        (draw.learning_curves, {"constant": None, "arms": {}}),
        (draw.traces, {"block": "b", "bound": None, "runs": []}),
        (draw.weight_statistics, {"arrays": {}, "arms": {}}),
        (draw.weight_histograms, {"arrays": {}, "arms": {}}),
        (draw.horizons, {"rows": [], "bars": [], "tasks": {}}),
    ):
        make(found).canvas.draw()
