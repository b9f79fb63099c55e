"""What an experiment plans, what its folder keeps, and what is made of the runs."""

import json
import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_experiment import ARMS, TOY, config

from rnnlab import checkpoint
from rnnlab.experiments.analysis import Interval, Missing, gather, interval, student, verdicts
from rnnlab.experiments.config import ConfigError
from rnnlab.experiments.experiment import UNDECIDED, Arm, Experiment, Quick, Variant, identity
from rnnlab.experiments.figures import sensitivity
from rnnlab.experiments.store import StoreError, open_store
from rnnlab.experiments.summary import as_dict
from rnnlab.experiments.tables import best_table, grid_table, markdown, write_report


def record(run, valid=0.5, diverged=False, **more):
    """The record of a run that was never made."""
    plain = {
        "experiment": "toy",
        "variant": run.variant,
        "arm": run.arm,
        "rate": run.rate,
        "option": run.option,
        "seed": run.seed,
        "config": identity(run.tables),
        "measure": "mean squared error",
        "higher_is_better": False,
        "valid": valid,
        "test": None if valid is None else valid + 0.25,
        "valid_end": valid,
        "valid_loss": valid,
        "diverged": diverged,
        "succeeded": not diverged,
        "steps": 20,
        "best_step": 19,
        "seconds": 1.5,
        "curve": {"step": [9, 19], "gradient_norm_max": [1.0, None]},
        "monitor": None,
        "backend": "numpy",
        "machine": "a processor",
        "version": "0.1.0",
        "numpy": np.__version__,
    }
    return {**plain, **more}


# ------------------------------------------------------------------------------------------ planning


def test_a_plan_holds_every_point_once_and_a_whole_seed_before_the_next():
    plan = TOY.plan()
    assert len(plan) == len({identity(run.tables) for run in plan}) == 2 * (2 + 2 + 1 + 2)
    assert [run.seed for run in plan] == [0] * 7 + [1] * 7
    for run in plan:
        made = run.config
        assert made.optimizer["learning_rate"] == run.rate and made.training["seed"] == run.seed
        assert made.training["on_nonfinite"] == "stop"
        assert made.optimizer["clip_global_norm"] == run.option
        assert made.optimizer["momentum"] == (0.9 if run.arm == "wild" else None)


def test_the_name_of_a_configuration_stays_or_runs_on_record_are_lost():
    tables = {"data": {"name": "adding"}, "optimizer": {"learning_rate": 1.0}, "training": {"steps": 5}}
    assert identity(tables) == "1f244b7c2b4d2e1d"


def test_a_quick_plan_is_a_small_one_with_the_arms_changes_last():
    arms = (*ARMS[:2], Arm("longer", {"training": {"steps": 8}}, (0.1, 0.2)))
    variants = (replace(TOY.variants[0], arms=arms), TOY.variants[1])
    plan = replace(TOY, variants=variants).quickened().plan()
    expected = [("sgd", 0.1, None), ("clip", 0.1, 1.0), ("longer", 0.1, None), ("longer", 0.2, None)]
    assert [(run.arm, run.rate, run.option) for run in plan] == expected
    assert [run.config.training["steps"] for run in plan] == [4, 4, 8, 8]
    assert {run.variant for run in plan} == {"short"} and {run.seed for run in plan} == {0}
    small = TOY.quickened()
    assert not small.variants[0].reported and "small version of `--quick`" in small.about


def test_a_quick_plan_may_have_one_grid_for_all_and_fewer_arms():
    plan = replace(TOY, quick=Quick(arms=("sgd",), rates=(7.0,), seeds=(3,))).quickened().plan()
    assert [(run.variant, run.rate, run.seed) for run in plan] == [("short", 7.0, 3), ("long, ragged", 7.0, 3)]


def test_a_wrong_table_is_said_by_the_configuration():
    wrong = Experiment(
        "x", "", "", "", (), (Variant("v", config(6), (Arm("a", {"model": {"hiden": 3}}, (1.0,)),)),), (0,)
    )
    with pytest.raises(ConfigError, match="did you mean 'hidden'"):
        _ = wrong.plan()[0].config


# ---------------------------------------------------------------------------------------- the folder


def test_a_torn_last_line_is_cut_off(tmp_path):
    first, second = (record(run) for run in TOY.plan()[:2])
    with open_store(tmp_path, "toy") as store:
        store.append(first)
        size = (tmp_path / "runs" / "short.jsonl").stat().st_size
        store.append({**second, "variant": "short"})
    whole = (tmp_path / "runs" / "short.jsonl").read_bytes()
    for cut in (size, size + 1, (size + len(whole)) // 2, len(whole) - 2, len(whole) - 1):
        (tmp_path / "runs" / "short.jsonl").write_bytes(whole[:cut])
        with open_store(tmp_path, "toy") as store:
            assert store.records == [first]
            store.append({**second, "variant": "short"})
        assert (tmp_path / "runs" / "short.jsonl").read_bytes() == whole


def test_a_bad_line_before_the_last_is_an_error_that_names_it(tmp_path):
    with open_store(tmp_path, "toy") as store:
        store.append(record(TOY.plan()[0]))
        store.append(record(TOY.plan()[0]))
    path = tmp_path / "runs" / "short.jsonl"
    path.write_bytes(b'{"a": 1}\n' + path.read_bytes())
    with pytest.raises(StoreError, match=r"short\.jsonl, line 1: is no run"):
        open_store(tmp_path, "toy").__enter__()


def test_a_second_process_and_a_strange_folder_are_one_error_each(tmp_path):
    with open_store(tmp_path / "a", "toy") as store:
        store.append(record(TOY.plan()[0]))
        with pytest.raises(StoreError, match="is in use by process"), open_store(tmp_path / "a", "toy"):
            pass
    with pytest.raises(StoreError, match="holds runs of toy, not of other"), open_store(tmp_path / "a", "other"):
        pass
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("x")
    with pytest.raises(StoreError, match="nor does it hold an experiment"), open_store(tmp_path / "b", "toy"):
        pass
    with pytest.raises(StoreError, match="is no folder"), open_store(tmp_path / "b" / "mine.txt", "toy"):
        pass
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["mine.txt"]


def test_a_full_disk_leaves_the_runs_that_were_there(tmp_path, monkeypatch):
    from rnnlab.experiments import store as module

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with open_store(tmp_path, "toy") as store:
        store.append(record(TOY.plan()[0]))
        before = (tmp_path / "runs" / "short.jsonl").read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(module.os, "fsync", full)
            with pytest.raises(StoreError, match=r"short\.jsonl: cannot be written \(No space left"):
                store.append(record(TOY.plan()[0]))
        assert (tmp_path / "runs" / "short.jsonl").read_bytes() == before and len(store.records) == 1


def test_the_folder_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), open_store(tmp_path, "toy"):
        _ = 1 / 0
    with checkpoint.lock(tmp_path):
        pass


# ---------------------------------------------------------------------------------- intervals and points


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [
        (1, 12.7062),
        (2, 4.3027),
        (3, 3.1824),
        (4, 2.7764),
        (5, 2.5706),
        (9, 2.2622),
        (10, 2.2281),
        (29, 2.0452),
        (100, 1.984),
    ],
)
def test_students_t_is_that_of_the_printed_tables(freedom, quantile):
    assert student(freedom) == pytest.approx(quantile, abs=6e-5)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8))
def test_an_interval_is_the_textbooks(values):
    found = interval(values)
    n = len(values)
    assert found.seeds == n and found.mean == pytest.approx(statistics.fmean(values), abs=1e-9)
    assert found.half == pytest.approx(student(n - 1) * statistics.stdev(values) / math.sqrt(n), abs=1e-9)
    assert found.low <= found.mean <= found.high and found.overlaps(found)


def test_intervals_overlap_where_they_share_a_number():
    assert Interval(1.0, 0.5, 2).overlaps(Interval(2.0, 0.5, 2))
    assert not Interval(1.0, 0.4, 2).overlaps(Interval(2.0, 0.5, 2))
    assert not Interval(2.0, 0.5, 2).overlaps(Interval(1.0, 0.4, 2))


def grid(values, higher=False, **experiment):
    """Results of one arm over rates 1, 2, 3, ...: a list of (validation, diverged) over seeds for each rate."""
    rates = tuple(float(k + 1) for k in range(len(values)))
    seeds = tuple(range(max(map(len, values))))
    toy = replace(TOY, variants=(Variant("v", config(6), (Arm("a", {}, rates),)),), seeds=seeds, **experiment)
    runs = [r for r in toy.plan() if r.seed < len(values[int(r.rate) - 1])]
    made = [record(r, *values[int(r.rate) - 1][r.seed], higher_is_better=higher) for r in runs]
    return gather(toy, made).arm("v", "a")


def test_the_best_rate_is_chosen_on_validation():
    arm = grid([[(0.5, False), (0.7, False)], [(0.4, False), (0.6, False)], [(0.9, False), (0.2, False)]])
    assert arm.best.rate == 2.0 and math.isclose(arm.best.of("valid").mean, 0.5)
    arm = grid([[(0.5, False)], [(0.4, False)], [(0.45, False)]])
    assert arm.best.rate == 2.0 and not arm.at_edge and arm.best.of("test").mean == pytest.approx(0.65)
    assert grid([[(0.5, False)], [(0.4, False)]]).at_edge
    assert grid([[(0.5, False)], [(0.4, False)], [(0.45, False)]], higher=True).best.rate == 1.0


def test_a_rate_at_which_a_seed_diverged_cannot_be_best():
    arm = grid([[(0.5, False), (0.5, False)], [(0.1, False), (0.1, True)]])
    assert arm.best.rate == 1.0
    assert [point.success for point in arm.points] == [1.0, 0.5] and arm.success == 0.75
    assert grid([[(0.5, True)], [(0.1, True)]]).best is None


def test_a_rate_with_fewer_seeds_done_cannot_be_best():
    assert grid([[(0.5, False), (0.5, False)], [(0.1, False)]]).best.rate == 1.0


def test_a_figure_that_is_not_finite_is_not_left_out_of_a_mean():
    arm = grid([[(0.5, False), (0.5, False)]])
    point = arm.points[0]
    lame = replace(point, runs=({**point.runs[0], "test": None}, point.runs[1]))
    assert lame.of("test") is None and lame.of("valid").mean == 0.5


def test_level_accuracies_are_decided_by_the_loss():
    toy = replace(TOY, variants=(Variant("v", config(6), (Arm("a", {}, (1.0, 2.0)),)),), seeds=(0,))
    made = [record(r, 0.9, higher_is_better=True, valid_loss=1 / r.rate) for r in toy.plan()]
    assert gather(toy, made).arm("v", "a").best.rate == 2.0


def test_runs_of_other_settings_are_counted_and_left_out():
    longer = replace(TOY, variants=(replace(TOY.variants[0], config=config(7)), TOY.variants[1]))
    made = [record(run) for run in TOY.plan()]
    results = gather(longer, made)
    assert (results.done, results.planned, results.other) == (4, 14, 10)
    assert not results.arms["short"]["sgd"].runs and len(results.arm("long, ragged", "sgd").runs) == 4


def test_more_seeds_and_rates_in_the_folder_are_taken_in():
    more = tuple(replace(arm, rates=(*arm.rates, 5.0)) for arm in ARMS)
    wide = replace(TOY, seeds=(0, 1, 7), variants=(replace(TOY.variants[0], arms=more), TOY.variants[1]))
    made = [record(run) for run in wide.plan()]
    results = gather(TOY, made)
    assert results.complete and results.other == 0
    assert [p.rate for p in results.arm("short", "sgd").points] == [0.01, 0.1, 5.0]
    assert len(results.arm("short", "clip").at(5.0, 0.5).runs) == 3


# ------------------------------------------------------------------------------- claims and the report


def test_a_claim_about_what_was_not_run_is_not_decided():
    found = verdicts(gather(TOY, []))
    assert [v.verdict for v in found] == [UNDECIDED, UNDECIDED]
    assert found[0].why == "there is no run of sgd on short."
    found = verdicts(gather(TOY, [record(run) for run in TOY.plan()]))
    assert [v.verdict for v in found] == ["holds", UNDECIDED]
    assert found[0].why == "0.750 against 0.750."
    with pytest.raises(Missing, match="sgd was not run at rate 3"):
        gather(TOY, [record(run) for run in TOY.plan()]).arm("short", "sgd").at(3.0)
    with pytest.raises(Missing, match="diverged at every rate"):
        gather(TOY, [record(run, diverged=True) for run in TOY.plan()]).test("short", "sgd")


def test_the_table_says_what_is_not_known():
    half = [record(run) for run in TOY.plan() if run.arm == "sgd" and run.seed == 0]
    half += [record(run, None, True, test=None) for run in TOY.plan() if run.arm == "wild"]
    table = best_table(gather(TOY, half), TOY.variants[0])
    lines = table.splitlines()
    assert lines[0].endswith("| success, whole grid | reported by the paper |")
    assert lines[2] == "| sgd | 0.01 (edge of the grid) | 0.5 | 0.75 | 1 | 1 of 1 | 2 of 2 | 0.5 |"
    assert lines[3] == "| clip | no run done | – | – | – | – | – | – |"
    assert lines[4] == "| wild | none: a seed diverged at every rate | – | – | – | – | 0 of 2 | – |"
    assert "reported" not in best_table(gather(TOY, half), TOY.variants[1])


def test_the_report_says_what_is_missing_and_what_is_not_settled():
    done = [run for run in TOY.plan() if run.variant == "short" and run.arm != "wild"]
    some = [record(run, 0.5 + 0.1 * run.seed + (0.01 if run.arm == "clip" else 0.0)) for run in done]
    text = markdown(gather(TOY, some), verdicts(gather(TOY, some)), "rnnlab reproduce toy")
    assert "**Not complete:** 8 of 14 runs" in text and "Not run yet: long, ragged." in text
    assert "sgd is ahead on test, but its interval overlaps that of clip: that order is not settled." in text
    assert "- **holds**: Clipping is no worse." in text and "(8 of 14 runs are done.)" in text
    apart = [record(run, (1.0 if run.arm == "sgd" else 0.1) + 1e-3 * run.seed) for run in TOY.plan()]
    text = markdown(gather(TOY, apart), [], "rnnlab reproduce toy")
    assert "its interval overlaps that of no other arm" not in text  # wild is level with clip
    apart = [r for r in apart if r["arm"] != "wild"]
    assert "clip is ahead on test; its interval overlaps that of no other arm." in markdown(gather(TOY, apart), [], "")
    one = [record(run) for run in TOY.plan() if run.seed == 0]
    assert "On test all arms are level." in markdown(gather(TOY, one), [], "")
    one = [record(run, 0.1 if run.arm == "sgd" else 0.2) for run in TOY.plan() if run.seed == 0]
    assert "too few seeds for an interval" in markdown(gather(TOY, one), [], "")


def test_an_arm_with_two_grids_is_drawn_at_the_value_of_its_best_point():
    made = [record(run, 0.1 if run.option == 1.0 else 0.5) for run in TOY.plan()]
    drawn = sensitivity(gather(TOY, made), TOY.variants[0])["arms"]["clip"]
    assert drawn["title"] == "clip, clip_global_norm 1.0" and [run["valid"] for run in drawn["runs"]] == [0.1, 0.1]
    lost = [record(run, diverged=run.seed == 1 or run.option == 1.0) for run in TOY.plan()]
    assert sensitivity(gather(TOY, lost), TOY.variants[0])["arms"]["clip"]["title"] == "clip, clip_global_norm 0.5"


def test_the_files_are_strict_json_markdown_and_pictures(tmp_path):
    made = [record(run, None if run.arm == "wild" else 0.5, run.arm == "wild") for run in TOY.plan()]
    results = gather(TOY, made)
    path = write_report(tmp_path, results, "rnnlab reproduce toy")
    names = {"report.md", "results.json"}
    pictures = ("sensitivity-short", "sensitivity-long__ragged", "options-short")
    names |= {f"{name}.{kind}" for name in pictures for kind in ("png", "svg")}
    assert {p.name for p in tmp_path.iterdir()} == names and path.name == "report.md"
    for word in path.read_text().replace("(", " ").replace(")", " ").split():
        assert not word.endswith(".png") or (tmp_path / word).is_file()
    found = json.loads((tmp_path / "results.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert found == as_dict(results, verdicts(results), "rnnlab reproduce toy")
    assert found["variants"]["short"]["arms"]["wild"]["best"] is None
    assert found["variants"]["short"]["arms"]["sgd"]["best"]["test"] == {"mean": 0.75, "half_width_95": 0.0, "seeds": 2}


def test_what_was_written_by_hand_stands_on_top_and_is_left_as_it_is(tmp_path):
    results = gather(TOY, [record(run) for run in TOY.plan()])
    text = write_report(tmp_path, results, "rnnlab reproduce toy").read_text()
    assert text.startswith("# A toy\n\nIt shows that the engine runs.")
    (tmp_path / "verdict.md").write_text("Reproduced, **in part**.\n")
    for _ in range(2):
        text = write_report(tmp_path, results, "rnnlab reproduce toy").read_text()
        assert text.startswith("# A toy\n\nReproduced, **in part**.\n\n## What was run\n\nIt shows")
        assert (tmp_path / "verdict.md").read_text() == "Reproduced, **in part**.\n"


def test_a_report_says_machine_command_and_how_much_of_each_variant_is_done():
    some = [record(run) for run in TOY.plan() if run.seed == 0 and run.arm != "wild"]
    text = markdown(gather(TOY, some), [], "rnnlab reproduce toy --seeds 2")
    assert "6 of 14 runs are done" in text and "on a processor (" in text and "`rnnlab reproduce toy --seeds 2`" in text
    assert "## short\n\n**4 of 10 runs are done.**" in text and "## long, ragged\n\n**2 of 4 runs are done.**" in text


def test_the_papers_figures_at_points_of_a_grid_stand_beside_ours():
    grid = {"clip": {(0.1, 0.5): 0.25}}
    toy = replace(TOY, variants=(replace(TOY.variants[0], reported_grid=grid), TOY.variants[1]))
    results = gather(toy, [record(run) for run in toy.plan()])
    lines = grid_table(results, toy.variants[0]).splitlines()
    assert lines[0].endswith("| seeds | success | reported by the paper |")
    assert [line.split("|")[-2].strip() for line in lines if line.startswith("| clip")] == ["0.25", "–"]
    assert "reported" not in grid_table(results, toy.variants[1])
    text = markdown(results, [], "")
    assert text.count("<details>") == 1  # what stands beside a paper's figures is not folded away
    found = as_dict(results, [], "")["variants"]["short"]["reported_grid"]
    assert found == [{"arm": "clip", "rate": 0.1, "option": 0.5, "figure": 0.25}]
    assert not toy.quickened().variants[0].reported_grid


def test_success_is_what_a_run_says_and_not_that_it_did_not_diverge():
    made = [record(run, succeeded=run.seed == 0) for run in TOY.plan()]
    arm = gather(TOY, made).arm("short", "sgd")
    assert arm.success == 0.5 and arm.best is not None and arm.best.diverged == 0
    assert "| 1 of 2 | 2 of 4 |" in best_table(gather(TOY, made), TOY.variants[0])
