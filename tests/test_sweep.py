"""The runs of an experiment: what is recorded, that nothing depends on who runs them, and that nothing is lost."""

import itertools
import os
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import threadpoolctl
from toy_experiment import TOY, config

import rnnlab as rl
from rnnlab.data import DataError
from rnnlab.experiments import worker as module
from rnnlab.experiments.config import ConfigError
from rnnlab.experiments.experiment import Arm, Experiment, Run, Variant, identity
from rnnlab.experiments.problems import make_problem, score
from rnnlab.experiments.store import open_store
from rnnlab.experiments.sweep import check, missing, sweep
from rnnlab.experiments.worker import Task, train
from rnnlab.training import evaluate, fit

VOLATILE = ("seconds",)


def plain(records):
    """Records in an order of their own, without what the clock says."""
    kept = [{key: value for key, value in record.items() if key not in VOLATILE} for record in records]
    return sorted(kept, key=lambda r: (r["variant"], r["arm"], r["rate"], r["option"] or 0, r["seed"]))


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """The records of the toy, one run after the other."""
    with open_store(tmp_path_factory.mktemp("serial"), "toy") as store:
        assert sweep("toy", TOY.plan(), store) == 14
        return plain(store.records)


def one(arm="sgd", **training):
    """A single run."""
    arms = [replace(a, rates=a.rates[-1:]) for a in TOY.variants[0].arms if a.name == arm]
    variant = Variant("short", config(6, **training), tuple(arms))
    return replace(TOY, variants=(variant,), seeds=(3,)).plan()[0]


# ---------------------------------------------------------------------------------------- one run


def test_a_record_says_what_fit_says():
    run = one(validate_every=6)
    found = train(Task("toy", run))
    problem, settings = make_problem(run.config), dict(run.config.training)
    result = fit(problem.model, problem.train, rl.optim.sgd(0.1), valid=problem.valid, **settings)
    assert {k: found[k] for k in ("experiment", "variant", "arm", "rate", "option", "seed")} == {
        "experiment": "toy", "variant": "short", "arm": "sgd", "rate": 0.1, "option": None, "seed": 3
    }  # fmt: skip
    assert found["config"] == identity(run.tables) and found["version"] == rl.__version__
    first = problem.model.init(np.random.default_rng(3).spawn(3)[0], "float32")
    steps, losses = result.curve("validation_loss")
    assert found["valid_loss_start"] == evaluate(problem.model, first, problem.valid)
    assert found["valid_loss"] == min(losses) == found["valid"] and found["valid_loss_end"] == losses[-1]
    assert found["test"] == score(problem, result.params, problem.test)
    assert (found["steps"], found["best_step"], found["stopped"]) == (20, result.best_step, "steps")
    assert found["curve"]["training_loss"] == [row["training_loss"] for row in result.history]
    assert found["curve"]["gradient_norm_max"] == [row["gradient_norm"] for row in result.history]
    assert found["curve"]["validation_step"] == steps.tolist() == [5, 11, 17, 19]
    assert found["curve"]["validation_loss"] == losses.tolist()
    assert not found["diverged"] and found["monitor"] is None


def test_the_test_figure_is_that_of_the_parameters_best_on_validation():
    run = one(validate_every=2)
    tables = {**run.tables, "optimizer": {"learning_rate": 0.5, "momentum": 0.9}}
    found = train(Task("toy", run._replace(tables=tables)))
    problem, settings = make_problem(run.config), dict(run.config.training)
    optimizer = rl.optim.sgd(0.5, momentum=0.9)
    result = fit(problem.model, problem.train, optimizer, valid=problem.valid, **settings)
    best, last = (score(problem, params, problem.test) for params in (result.params, result.last_params))
    assert found["test"] == best != last and found["valid"] < found["valid_end"] == found["valid_loss_end"]


def test_curves_and_monitored_quantities_have_at_most_100_points():
    run = one(steps=250, validate_every=2)
    tables = {**run.tables, "monitor": {"quantities": ["spectral_norm"], "every": 2, "max_share": False}}
    found = train(Task("toy", run._replace(tables=tables)))
    sizes = {name: len(values) for name, values in found["curve"].items()}
    assert set(sizes.values()) == {100}, sizes
    assert found["curve"]["step"][-1] == found["curve"]["validation_step"][-1] == 249
    monitored = found["monitor"]
    assert {len(values) for values in monitored.values()} == {100} and monitored["step"][-1] == 248
    assert any(name.startswith("spectral_norm.") for name in monitored)


def test_accuracy_is_the_higher_the_better_and_measured_as_such():
    tables = {**config(10), "data": {"name": "temporal-order", "length": 10, "batches": 5}}
    tables["optimizer"] = {"learning_rate": 0.1}
    run = Run("v", "a", 0.1, None, 0, tables)
    found = train(Task("toy", run))
    assert found["higher_is_better"] and found["measure"] == "accuracy"
    assert 0 < found["valid"] <= 1 and found["valid_loss"] > 1


def test_a_run_that_blows_up_or_ends_worse_than_it_began_diverged():
    wild = train(Task("toy", one("wild")))
    assert wild["diverged"] and wild["stopped"] == "nonfinite" and wild["steps"] < 20
    run, clipped = one(), {"learning_rate": 100.0, "clip_global_norm": 1.0}
    worse = train(Task("toy", run._replace(tables={**run.tables, "optimizer": clipped})))
    assert worse["stopped"] == "steps" and worse["valid_loss_end"] > worse["valid_loss_start"] and worse["diverged"]
    assert worse["valid_loss"] <= worse["valid_loss_end"]


def test_a_record_says_whether_a_solution_was_found_and_how_the_weights_are_distributed():
    tables = {**config(10), "data": {"name": "temporal-order", "length": 10, "batches": 5}}
    tables |= {"optimizer": {"learning_rate": 1e-6}, "training": {"steps": 20}}
    found = train(Task("toy", Run("v", "a", 1e-6, None, 0, tables)))
    assert not found["diverged"] and not found["succeeded"] and found["weights"] is None
    assert found["valid_loss_constant"] == pytest.approx(np.log(4), abs=0.05)
    assert found["training_loss_constant"] == pytest.approx(np.log(4), abs=0.05)
    tables |= {"optimizer": {"update": "adam", "learning_rate": 0.01}, "training": {"steps": 300}}
    tables |= {"model": {"cell": "gru", "hidden": 16}, "monitor": {"quantities": ["weight_statistics"]}}
    found = train(Task("toy", Run("v", "a", 0.01, None, 0, tables)))
    assert found["succeeded"] and found["valid_loss_end"] < 1.2
    bins = found["weights"]["recurrent.weight_hh"]
    assert len(bins["counts"]) == 60 and sum(bins["counts"]) == 3 * 16 * 16 and bins["low"] < 0 < bins["high"]
    assert set(found["weights"]) == {"recurrent.weight_ih", "recurrent.weight_hh", "output.weight"}


def test_a_run_uses_one_blas_thread(monkeypatch):
    seen = []

    def spying(*arguments, **options):
        seen.extend(lib["num_threads"] for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas")
        return fit(*arguments, **options)

    monkeypatch.setattr(module, "fit", spying)
    with threadpoolctl.threadpool_limits(2):
        train(Task("toy", one()))
    assert seen and set(seen) == {1}


def test_a_long_run_stops_at_the_deadline_and_goes_on_to_the_same_numbers(tmp_path, monkeypatch):
    run = one(steps=30, checkpoint_every=4, validate_every=5)
    tables = {**run.tables, "monitor": {"quantities": ["gradient_norm"], "every": 3, "max_share": False}}
    run = run._replace(tables=tables)
    straight = train(Task("toy", run))
    task = Task("toy", run, folder=str(tmp_path / "run"), deadline=6.5, long=0.0)
    sittings = []
    for _ in range(20):  # in each of them the clock strikes 7 in the seventh step
        strokes = itertools.count(1)
        clock = SimpleNamespace(time=lambda strokes=strokes: next(strokes), perf_counter=time.perf_counter)
        monkeypatch.setattr(module, "time", clock)
        sittings.append(train(task))
        if sittings[-1] is not None:
            break
    assert len(sittings) == 7  # six steps are done in each, of which four are kept
    assert plain(sittings[-1:]) == plain([straight])
    assert sittings[-1]["seconds"] > 0


def test_a_short_run_keeps_no_checkpoints_and_a_long_one_does(tmp_path):
    assert train(Task("toy", one(), folder=str(tmp_path / "short"))) is not None
    assert not (tmp_path / "short").exists()
    assert train(Task("toy", one(), folder=str(tmp_path / "long"), long=1e-9)) is not None
    assert list((tmp_path / "long").glob("checkpoint-*.npz"))


# ---------------------------------------------------------------------------------------- all of them


def test_two_processes_do_the_same_runs(serial, tmp_path):
    with open_store(tmp_path, "toy") as store:
        assert sweep("toy", TOY.plan(), store, jobs=2) == 14
        assert plain(store.records) == serial
    with open_store(tmp_path, "toy") as store:
        assert plain(store.records) == serial and missing(TOY.plan(), store) == []
        assert sweep("toy", TOY.plan(), store, jobs=2) == 0


def test_a_sweep_that_was_stopped_goes_on_and_can_be_added_to(serial, tmp_path):
    def impatient(records, total):
        for k, record in enumerate(records):
            if k == 3:
                raise KeyboardInterrupt
            yield record

    with open_store(tmp_path, "toy") as store:
        with pytest.raises(KeyboardInterrupt):
            sweep("toy", TOY.plan(), store, progress=impatient)
        assert len(store.records) == 3
    with open_store(tmp_path, "toy") as store:
        first = [run for run in TOY.plan() if run.seed == 0]
        assert sweep("toy", first, store) == 4
        assert sweep("toy", TOY.plan(), store) == 7
        assert plain(store.records) == serial
        more = replace(TOY, seeds=(0, 1, 2))
        assert sweep("toy", more.plan(), store) == 7


def test_after_the_time_no_run_is_started(tmp_path):
    with open_store(tmp_path, "toy") as store:
        assert sweep("toy", TOY.plan(), store, minutes=1e-9) == 0
        assert 0 < sweep("toy", TOY.plan(), store, minutes=1e-3) <= 14  # 60 ms


def test_checkpoints_of_a_run_go_with_its_record(tmp_path):
    with open_store(tmp_path, "toy") as store:
        runs = [one()]
        sweep("toy", runs, store, long=1e-9)
        assert len(store.records) == 1 and list((tmp_path / "running").iterdir()) == []


def test_what_is_wrong_shows_before_anything_is_run(data_root):
    wrong = replace(TOY.variants[0], arms=(Arm("a", {"optimizer": {"alpha": 0.5}}, (1.0,)),))
    with pytest.raises(ConfigError, match=r"^short, a: \[optimizer\] alpha does not go with update = 'sgd'"):
        check(replace(TOY, variants=(wrong,)).plan())
    series = {"data": {"name": "ucr:Coffee", "root": str(data_root)}, "training": {"steps": 1}}
    bare = Experiment("x", "", "", "", (), (Variant("coffee", series, TOY.variants[1].arms),), (0,))
    with pytest.raises(ConfigError, match="valid_share is missing"):
        check(bare.plan())
    series["data"]["root"] = "no/such/folder"
    with pytest.raises((DataError, OSError), match="there is no folder"):
        check(bare.plan())


# ------------------------------------------------------------------------------------------------ Dask


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of distributed when a worker dies
def test_a_dask_cluster_loses_nothing_when_a_worker_dies(tmp_path):
    distributed = pytest.importorskip("distributed", reason="pip install 'rnnlab[dask]'")
    longer = Experiment(
        "toy", "", "", "", (), (Variant("short", config(9, steps=150), TOY.variants[0].arms[:2]),), (0, 1)
    )
    with open_store(tmp_path / "serial", "toy") as store:
        sweep("toy", longer.plan(), store)
        serial = plain(store.records)
    busy = []
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        open_store(tmp_path / "dask", "toy") as store,
    ):

        def murderous(records, total):
            for k, record in enumerate(records):
                if k == 0:
                    busy.append(busy_worker(cluster))
                    os.kill(cluster.workers[busy[0]].pid, signal.SIGKILL)
                yield record

        assert sweep("toy", longer.plan(), store, dask=cluster.scheduler_address, progress=murderous) == 8
        assert plain(store.records) == serial and len(serial) == 8


def busy_worker(cluster):
    """Return the name of a worker that is in the middle of a run."""
    for _ in range(2000):
        for state in cluster.scheduler.workers.values():
            if state.processing:
                return state.name
        time.sleep(0.005)
    raise AssertionError("no worker has anything to do")


@pytest.mark.slow
def test_a_dask_scheduler_that_is_not_there_is_one_line(tmp_path):
    pytest.importorskip("distributed", reason="pip install 'rnnlab[dask]'")
    with open_store(tmp_path, "toy") as store, pytest.raises(ConfigError, match="no Dask scheduler answers there"):
        sweep("toy", TOY.plan(), store, dask="tcp://127.0.0.1:1")
