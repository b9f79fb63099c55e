"""`rnnlab train`: what it writes, that a killed run goes on to the same numbers, and one line for every bad input."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import rnnlab as rl
from rnnlab import checkpoint, cli
from rnnlab.experiments.config import parse_config
from rnnlab.experiments.problems import HELD_OUT, KINDS, hold_out, make_problem, score
from rnnlab.monitor import read_record

ADDING = """
[data]
name = "adding"
length = 12
batch_size = 4
batches = 6
[model]
cell = "gru"
hidden = 5
[optimizer]
learning_rate = 0.1
clip_global_norm = 1.0
[training]
steps = 20
seed = 3
checkpoint_every = 4
[monitor]
quantities = ["gradient_norm", "update_ratio", "spectral_norm", "saturation"]
every = 2
max_share = false
"""
RESULTS = ("history.csv", "monitor.csv", "best.npz", "last.npz")


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run the command inside an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RNNLAB_BACKEND", raising=False)

    def run(text, *argv):
        if text is not None:
            (tmp_path / "a.toml").write_text(text)
        try:
            status = cli.main(["train", "a.toml", *map(str, argv)])
        except SystemExit as end:
            status = end.code
        out = capsys.readouterr()
        return status, out.out, out.err

    return run


def refused(result, words, folder):
    status, out, err = result
    assert status == 2 and out == "", result
    assert err.count("\n") == 1 and words in err and "Traceback" not in err, err
    assert not [path for path in folder.iterdir() if path.is_dir()], "something was written"


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# ------------------------------------------------------------------------------- what it writes


def test_it_writes_a_folder_with_everything_and_says_the_test_result(call, tmp_path):
    status, out, err = call(ADDING)
    assert status == 0 and err == "", err
    folder = tmp_path / "rnnlab-train-a"
    names = {path.name for path in folder.iterdir() if not path.name.startswith("checkpoint-")}
    assert names == {"config.toml", "summary.json", "lock", *RESULTS}
    assert (folder / "config.toml").read_text() == ADDING
    assert len(list(folder.glob("checkpoint-*.npz"))) == 3
    history = rows(folder / "history.csv")
    assert [int(row["step"]) for row in history] == list(range(20))
    assert history[6]["validation_loss"] == "" and float(history[5]["validation_loss"]) > 0  # an epoch has 6 batches
    record = read_record(folder / "monitor.csv")
    np.testing.assert_array_equal(record["step"], range(0, 20, 2))
    np.testing.assert_array_equal(record["loss"], [float(row["training_loss"]) for row in history[::2]])
    np.testing.assert_allclose(
        record["gradient_norm"], [float(row["gradient_norm"]) for row in history[::2]], rtol=1e-6
    )
    summary = json.loads((folder / "summary.json").read_text())
    assert f"test mean squared error: {summary['test']:.4f}" in out and "adding: GRU(input_size=2" in out
    assert summary["steps"] == 20 and summary["stopped"] == "steps"


def test_the_summary_is_that_of_the_best_parameters_on_data_of_its_own(call, tmp_path):
    call(ADDING.replace("learning_rate = 0.1", "learning_rate = 2.0"), "--out", "o")
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    best = checkpoint.read(tmp_path / "o" / "best.npz")["params"]
    problem = make_problem(parse_config({"data": {"name": "adding", "length": 12, "batch_size": 4},
                                         "model": {"cell": "gru", "hidden": 5}, "optimizer": {"learning_rate": 1.0},
                                         "training": {"steps": 1}}))  # fmt: skip
    losses = {}
    for part in ("valid", "test"):
        source = getattr(problem, part)
        batches = [source.epoch(None)[k][0] for k in range(HELD_OUT)]
        errors = [((problem.model.predict(best, x) - y) ** 2).mean() for x, y in batches]
        losses[part] = float(np.mean(errors))
        np.testing.assert_allclose(summary[part], losses[part], rtol=1e-5)
    assert losses["valid"] != losses["test"]
    validated = [float(r["validation_loss"]) for r in rows(tmp_path / "o" / "history.csv") if r["validation_loss"]]
    np.testing.assert_allclose(summary["valid"], min(validated), rtol=1e-5)
    assert summary["valid"] < validated[-1], "the last must not be the best, else this shows nothing"


def test_without_a_monitor_nothing_is_recorded_and_without_validation_the_last_are_the_best(call, tmp_path, data_root):
    text = f"""
[data]
name = "ucr:Coffee"
root = '{data_root}'
[model]
hidden = 3
[optimizer]
learning_rate = 0.1
[training]
steps = 2
"""
    status, out, err = call(text, "--out", "o")
    assert status == 0 and "test accuracy" in out and "validation" not in out, err
    assert not list((tmp_path / "o").glob("monitor*"))
    best, last = (checkpoint.read(tmp_path / "o" / f"{name}.npz")["params"] for name in ("best", "last"))
    np.testing.assert_array_equal(best["recurrent"]["weight_hh"], last["recurrent"]["weight_hh"])


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_the_record_has_the_format_that_is_asked_for(call, tmp_path, ending):
    assert call(f'{ADDING}format = "{ending}"\n', "--out", "o")[0] == 0
    assert len(read_record(tmp_path / "o" / f"monitor.{ending}")["step"]) == 10


def test_a_text_file_beside_the_configuration_is_learnt(call, tmp_path):
    (tmp_path / "my.txt").write_text("abcd" * 200)
    text = ADDING.replace('"adding"', '"my.txt"').replace("batches = 6\n", "").replace("every = 4", "every = 5")
    status, out, err = call(text.replace("learning_rate = 0.1", 'learning_rate = 0.05\nupdate = "adam"'), "--out", "o")
    assert status == 0, err
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert summary["unit"] == "bits per character" and "bits per character: " in out
    assert 0 < summary["test"] < 2  # four characters: two bits for who knows nothing


# ------------------------------------------------------------------------------- every kind of data

SETS = ["ptb", "ucr:Coffee", "ucr:JapaneseVowels", "ettm1", "nottingham", "jsb", "mnist", "mnist-pixels",
        "mnist-permuted", "adding", "copying", "temporal-order", "shakespeare"]  # fmt: skip
MEASURES = {"ptb": "perplexity", "ettm1": "mean squared error", "nottingham": "negative log-likelihood",
            "jsb": "negative log-likelihood", "adding": "mean squared error", "copying": "cross entropy",
            "shakespeare": "bits per character"}  # fmt: skip
REAL = {
    "ptb",
    "ucr:Coffee",
    "ucr:JapaneseVowels",
    "ettm1",
    "nottingham",
    "jsb",
    "mnist",
    "mnist-pixels",
    "mnist-permuted",
}


def problem_of(name, root=None, **keys):
    config = {"data": {"name": name, **({} if root is None else {"root": str(root)}), **keys.pop("data", {})}}
    config |= {"optimizer": {"learning_rate": 1.0}, "training": {"steps": 1}, "model": {"hidden": 3, **keys}}
    return make_problem(parse_config(config))


@pytest.mark.parametrize("name", SETS)
def test_model_and_sources_of_every_kind_of_data_fit_together(name, request):
    root = request.getfixturevalue("data_root") if name in REAL else None
    share = {"valid_share": 0.2} if name.startswith(("ucr", "mnist")) else {}
    problem = problem_of(name, root, data=share)
    assert problem.measure.name == MEASURES.get(name, "accuracy")
    params = problem.model.init(np.random.default_rng(0), np.float32)
    for source in (problem.train, problem.valid, problem.test):
        batch, anew = source.epoch(np.random.default_rng(0))[0]
        loss, grads, _ = problem.model.loss_and_grads(params, batch)
        assert anew and np.isfinite(loss) and np.isfinite(grads["recurrent"]["weight_hh"]).all()


def test_the_kinds_are_those_that_the_configuration_names():
    from rnnlab.experiments.config import DATA_NAMES

    assert set(KINDS) == {*DATA_NAMES, "text", "tokens", "ucr"}


def test_validation_and_test_data_are_no_training_data():
    shakespeare = problem_of("shakespeare")
    train, valid, test = shakespeare.train.tokens, shakespeare.valid.tokens, shakespeare.test.tokens
    whole = rl.data.Vocabulary(rl.data.shakespeare()).encode(rl.data.shakespeare())
    np.testing.assert_array_equal(np.concatenate([train, valid, test]), whole)
    adding = problem_of("adding")
    drawn = [adding.valid.epoch(None)[0][0][0], adding.test.epoch(None)[0][0][0]]
    assert not np.array_equal(*drawn)


def test_of_each_class_a_share_is_held_out():
    labels = np.array([0] * 10 + [1] * 20 + [2])
    kept, held = hold_out(labels, 0.3, seed=1)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(31))
    np.testing.assert_array_equal(np.bincount(labels[held], minlength=3), [3, 6, 0])
    assert not np.array_equal(held, hold_out(labels, 0.3, seed=2)[1])
    with pytest.raises(ValueError, match="valid_share = 0.01 of 31 sequences holds out none"):
        hold_out(labels, 0.01, seed=1)


def test_what_is_held_out_of_labelled_series_is_cut_alike_from_series_and_labels(data_root):
    problem = problem_of("ucr:JapaneseVowels", data_root, data={"valid_share": 0.25})
    whole = rl.data.ucr("JapaneseVowels", data_root).train
    kept, held = hold_out(whole.y, 0.25, seed=0)
    for source, chosen in ((problem.train, kept), (problem.valid, held)):
        np.testing.assert_array_equal(source.x, whole.x[:, chosen])
        np.testing.assert_array_equal(source.y, whole.y[chosen])
        np.testing.assert_array_equal(source.lengths, whole.lengths[chosen])


def test_labelled_series_are_standardized_by_the_training_part_where_that_is_asked_for(data_root):
    counts, scaled = (problem_of("ucr:Chinatown", data_root, data=more) for more in ({}, {"standardize": True}))
    mean, std = counts.train.x.mean(), counts.train.x.std()
    assert mean > 100 and scaled.train.x.dtype == counts.train.x.dtype
    for part in ("train", "test"):
        x, raw = getattr(scaled, part).x, getattr(counts, part).x
        np.testing.assert_allclose(x, (raw - mean) / std, rtol=1e-4, atol=1e-4)
    vowels = problem_of("ucr:JapaneseVowels", data_root, data={"standardize": True}).train
    there = np.arange(len(vowels.x))[:, None] < vowels.lengths
    assert not vowels.x[~there].any(), "there is nothing beyond the end of a sequence"
    np.testing.assert_allclose(vowels.x[there].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(vowels.x[there].std(axis=0), 1, rtol=1e-5)


def test_the_forecast_series_are_standardized_by_the_training_part_alone(data_root):
    problem = problem_of("ettm1", data_root, data={"target": "OT", "horizon": 5, "context": 7})
    np.testing.assert_allclose(problem.train.values.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(problem.train.values.std(axis=0), 1, rtol=1e-9)
    assert abs(problem.test.values.mean(axis=0)).max() > 0.1
    (x, y), _ = problem.valid.epoch(np.random.default_rng(0))[0]
    assert x.shape[0] == 7 and x.shape[2] == 7 and y.shape[0] == 5 and y.shape[2] == 1
    np.testing.assert_array_equal(y[0, 0], problem.valid.values[7, -1:])


def test_a_limit_takes_the_first_of_the_training_data_and_leaves_the_rest(data_root):
    digits, music = problem_of("mnist", data_root, data={"limit": 70}), problem_of("jsb", data_root, data={"limit": 9})
    assert len(digits.train.y) == 70 and len(digits.test.y) == 10_000
    assert len(music.train.rolls) == 9 and len(music.test.rolls) == 77


def test_a_limit_of_what_is_held_out_leaves_the_training_data(data_root):
    digits = problem_of("mnist", data_root, data={"held_out_limit": 50, "valid_share": 0.1})
    assert (len(digits.train.y), len(digits.valid.y), len(digits.test.y)) == (
        54_001,
        50,
        50,
    )  # shares are rounded by class
    words = problem_of("ptb", data_root, data={"held_out_limit": 500, "limit": 3000})
    assert [len(source.tokens) for source in (words.train, words.valid, words.test)] == [3000, 500, 500]


def test_a_small_vocabulary_keeps_the_frequent_words_and_makes_the_others_unknown(data_root):
    whole, small = problem_of("ptb", data_root), problem_of("ptb", data_root, data={"vocabulary": 100})
    assert small.model.embedding.vocab_size == 100 and small.test.tokens.max() == 99
    frequent = whole.test.tokens < 100
    np.testing.assert_array_equal(small.test.tokens[frequent], whole.test.tokens[frequent])
    (unknown,) = np.unique(small.test.tokens[~frequent])
    assert rl.data.penn_treebank(data_root).vocabulary[unknown] == "<unk>"


def test_tunes_are_cut_into_pieces_that_predict_every_frame_once(data_root):
    whole, cut = problem_of("jsb", data_root), problem_of("jsb", data_root, data={"length": 20})
    assert max(len(roll) for roll in cut.train.rolls) == 21
    first = whole.train.rolls[0]
    joined = [cut.train.rolls[0][:1]]
    for roll in cut.train.rolls[: -(-(len(first) - 1) // 20)]:
        joined.append(roll[1:])
    np.testing.assert_array_equal(np.concatenate(joined), first)
    assert sum(len(r) - 1 for r in cut.train.rolls) == sum(len(r) - 1 for r in whole.train.rolls)
    assert len(cut.test.rolls) == 77 and len(cut.test.rolls[0]) == len(whole.test.rolls[0])


@pytest.mark.parametrize("name", ["mnist-pixels", "mnist-permuted"])
def test_digits_of_fewer_pixels_are_means_of_squares_in_one_order(name, data_root):
    small = problem_of(name, data_root, data={"length": 49, "limit": 30})
    image = rl.data.mnist(data_root).train.x[:, 7]  # rows
    means = image.reshape(7, 4, 7, 4).mean(axis=(1, 3)).ravel()
    order = np.random.default_rng(0).permutation(49) if name == "mnist-permuted" else np.arange(49)
    assert small.train.x.shape == (49, 30, 1)
    np.testing.assert_allclose(small.train.x[:, 7, 0], means[order], rtol=1e-5)
    whole = problem_of(name, data_root, data={"length": 784, "limit": 30})
    as_ = name.removeprefix("mnist-")
    np.testing.assert_array_equal(whole.train.x, rl.data.mnist(data_root, as_).train.x[:, :30])
    with pytest.raises(ValueError, match="must be one of 16, 49, 196, 784; got 50"):
        problem_of(name, data_root, data={"length": 50})


def test_the_forecast_may_be_judged_by_the_absolute_error_on_a_split_by_shares(data_root):
    keys = {"horizon": 5, "context": 7, "split": "70/15/15", "limit": 300, "held_out_limit": 200}
    problem = problem_of("ettm1", data_root, data={**keys, "measure": "absolute"})
    assert problem.measure.name == "mean absolute error"
    squared = problem_of("ettm1", data_root, data=keys)
    params = problem.model.init(np.random.default_rng(0))
    x, y = problem.test.epoch(np.random.default_rng(0))[0][0]
    error = problem.model.predict(params, x) - y
    np.testing.assert_allclose(problem.model.loss(params, (x, y))[0], np.abs(error).mean())
    trained = [p.model.loss_and_grads(params, (x, y))[0] for p in (problem, squared)]
    np.testing.assert_allclose(trained, (error**2).mean())
    assert squared.measure.name == "mean squared error"
    values = rl.data.ettm1(data_root).values
    part = (values[48_776:48_976] - values[:48_776].mean(axis=0)) / values[:48_776].std(axis=0)
    np.testing.assert_allclose(problem.valid.values, part)


def test_embedded_words_go_on_times_their_factor_and_so_does_their_gradient():
    model = problem_of("copying", embedding_factor=0.25, embedding=4).model
    plain = problem_of("copying", embedding=4).model
    params = model.init(np.random.default_rng(0))
    batch = tuple(np.random.default_rng(1).integers(0, 10, (2, 5, 3)))
    smaller = {**params, "embedding": {"weight": 0.25 * params["embedding"]["weight"]}}
    (loss, grads, _), (other, others, _) = model.loss_and_grads(params, batch), plain.loss_and_grads(smaller, batch)
    np.testing.assert_allclose(loss, other, rtol=1e-12)
    np.testing.assert_allclose(grads["embedding"]["weight"], 0.25 * others["embedding"]["weight"], rtol=1e-9)
    assert rl.check_gradients(lambda p: model.loss_and_grads(p, batch)[:2], params).passed


def test_dropout_acts_around_the_layers_of_a_language_model_and_between_them():
    model = problem_of("copying", dropout=0.3, layers=2, embedding=7).model
    assert model.dropout.rate == model.recurrent.dropout.rate == 0.3 and model.embedding.embedding_size == 7


def test_the_accuracy_is_the_share_of_right_answers():
    problem = problem_of("temporal-order", data={"length": 20})
    params = problem.model.init(np.random.default_rng(0), np.float64)
    batches = [problem.test.epoch(None)[k][0] for k in range(HELD_OUT)]
    right = [np.argmax(problem.model.predict(params, x), axis=1) == labels for x, labels, _ in batches]
    assert score(problem, params, problem.test) == np.mean(right)
    assert 0 < np.mean(right) < 1


@pytest.mark.parametrize(("name", "loss", "value"), [("shakespeare", np.log(2), 1.0), ("adding", 0.3, 0.3)])
def test_units(name, loss, value):
    np.testing.assert_allclose(problem_of(name).measure.of_loss(loss), value, rtol=1e-12)


def test_the_perplexity_of_a_uniform_guess_is_the_number_of_words(data_root):
    problem = problem_of("ptb", data_root, data={"limit": 5000})
    assert len(problem.train.tokens) == 5000
    np.testing.assert_allclose(problem.measure.of_loss(np.log(10_000)), 10_000, rtol=1e-12)
    assert problem.measure.of_loss(1e9) > 1e300  # no overflow


# ------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("hidden = 5", "hiden = 5", "a.toml: [model] hiden: unknown key; did you mean 'hidden'?"),
        ("hidden = 5", "hidden = '5'", "[model] hidden must be a positive integer; got '5'"),
        ("[model]", "[modell]", "[modell]: unknown table; did you mean 'model'?"),
        ("[model]", "[model", "a.toml: is no TOML"),
        ("length = 12", "length = 1", "[data] length must be at least 2; got 1"),
        ("length = 12", "context = 12", "[data] context does not go with name = 'adding', which has length, batches"),
        ("hidden = 5", "embedding = 5", "[model] embedding goes with data made of symbols"),
        ("hidden = 5", "embedding_factor = 0.5", "[model] embedding_factor goes with data made of symbols"),
        ("hidden = 5", "dropout = 0.5", "[model] dropout acts between layers"),
        ("clip_global_norm = 1.0", "project_spectral_norm = 1.0\nproject_only = 'w_x'", "[optimizer] "),
        ('"adding"', '"ucr:Nothing"', "there is no data set 'Nothing' in"),
        ('"adding"', '"shakespeare"', "[data] batches does not go with name = 'shakespeare'"),
        ('"adding"\nlength = 12', '"shakespeare"\nlimit = 4', "tokens must be at least 8"),
        ("hidden = 5", "bidirectional = true", None),
    ],
)
def test_a_bad_configuration_is_one_line_and_writes_nothing(call, tmp_path, monkeypatch, old, new, words):
    monkeypatch.setenv("RNNLAB_DATA", str(tmp_path))
    text = ADDING.replace(old, new, 1)
    assert text != ADDING
    if '"ucr' in new:
        text = text.replace("length = 12\n", "").replace("batches = 6\n", "")
    if "limit" in new:
        text = text.replace("batches = 6\n", "")
    if words is None:  # allowed with a forecaster, not with what predicts the next symbol
        assert call(text)[0] == 0
        text = text.replace('"adding"', '"shakespeare"').replace("batches = 6\n", "")
        (tmp_path / "rnnlab-train-a").rename(tmp_path.parent / f"{tmp_path.name}-done")
        words = "[model] bidirectional = true would read the future"
    refused(call(text), words, tmp_path)


@pytest.mark.parametrize(
    "key", ["[training]\npatience = 2", '[optimizer.schedule]\nname = "reduce_on_plateau"\n[training]']
)
def test_what_needs_validation_data_says_so(call, tmp_path, data_root, key):
    text = f"[data]\nname = 'ucr:Coffee'\nroot = '{data_root}'\n[optimizer]\nlearning_rate = 1.0\n{key}\nsteps = 2\n"
    refused(call(text), "needs validation data: give [data] valid_share", tmp_path)


def test_a_configuration_that_is_not_there_and_an_unknown_backend(call, tmp_path, monkeypatch):
    refused(call(None), "a.toml: cannot be read (No such file or directory)", tmp_path)
    monkeypatch.setenv("RNNLAB_BACKEND", "torch")
    refused(call(ADDING), "must be one of numpy, cupy; got 'torch'", tmp_path)


def test_folders_in_the_way_are_left_alone(call, tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(call(ADDING, "--out", "file"), "--out file: is no folder", tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    for more in ([], ["--resume"]):
        status, out, err = call(ADDING, "--out", "mine", *more)
        assert (status, out) == (2, "") and "--out mine: exists and is not an empty folder" in err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_run_that_diverges_is_a_failure_of_one_line_unless_updates_may_be_skipped(call, tmp_path):
    wild = ADDING.replace("learning_rate = 0.1\nclip_global_norm = 1.0", "learning_rate = 1e38")
    status, out, err = call(wild, "--out", "o")
    assert status == 1 and out == "" and err.count("\n") == 1, (out, err)
    assert "not finite" in err and "the last good checkpoint is" in err
    status, out, err = call(wild.replace("seed = 3", "seed = 3\non_nonfinite = 'skip'"), "--out", "p")
    assert status == 0 and "updates left out because something was not finite: " in out, err
    assert json.loads((tmp_path / "p" / "summary.json").read_text())["skipped"] > 0


# ------------------------------------------------------------------------------- stopped and resumed


def contents(folder):
    """The bytes of all results, and what the summary says but for the time it took."""
    summary = json.loads((folder / "summary.json").read_text())
    return {name: (folder / name).read_bytes() for name in RESULTS} | {**summary, "seconds": None}


def test_a_run_that_was_there_is_not_overwritten(call, tmp_path):
    assert call(ADDING, "--out", "o")[0] == 0
    before = contents(tmp_path / "o")
    status, out, err = call(ADDING, "--out", "o")
    assert status == 2 and "--out o: holds a run already; go on with it by --resume" in err and err.count("\n") == 1
    assert contents(tmp_path / "o") == before


def test_resuming_a_finished_run_changes_nothing(call, tmp_path):
    call(ADDING, "--out", "o")
    before = contents(tmp_path / "o")
    status, out, err = call(ADDING, "--out", "o", "--resume")
    assert status == 0 and "test mean squared error" in out, err
    assert contents(tmp_path / "o") == before


def test_resuming_where_nothing_is_begins(call, tmp_path):
    assert call(ADDING, "--out", "o", "--resume")[0] == 0
    call(ADDING, "--out", "p")
    assert contents(tmp_path / "o") == contents(tmp_path / "p")


def test_a_longer_run_continues_a_shorter_one_to_the_same_numbers(call, tmp_path):
    longer = ADDING.replace("steps = 20", "steps = 30")
    call(ADDING, "--out", "o")
    assert call(longer, "--out", "o", "--resume")[0] == 0
    assert len(rows(tmp_path / "o" / "history.csv")) == 30
    assert (tmp_path / "o" / "config.toml").read_text() == longer


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("hidden = 5", "hidden = 6", "[model] hidden"),
        ("learning_rate = 0.1", "learning_rate = 0.2", "[optimizer] learning_rate"),
        ("seed = 3", "seed = 4", "[training] seed"),
        ("every = 2\nmax", "every = 5\nmax", "[monitor] every"),
    ],
)
def test_a_resume_with_another_configuration_is_refused_by_key(call, tmp_path, old, new, key):
    call(ADDING, "--out", "o")
    before = contents(tmp_path / "o")
    status, out, err = call(ADDING.replace(old, new), "--out", "o", "--resume")
    assert status == 2 and err.count("\n") == 1 and f"differs from the run in o in {key}" in err, err
    assert contents(tmp_path / "o") == before and (tmp_path / "o" / "config.toml").read_text() == ADDING


def process(folder, *argv):
    command = [sys.executable, "-m", "rnnlab", "train", "a.toml", *argv]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(rl.__file__).parents[1])
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


LONG = ADDING.replace("steps = 20", "steps = 1500").replace("checkpoint_every = 4", "checkpoint_every = 50")


def test_a_killed_run_resumes_to_the_numbers_of_one_never_stopped(call, tmp_path):
    assert call(LONG, "--out", "whole")[0] == 0
    moments, kills = random.Random(0), 0
    for _ in range(5):
        running = process(tmp_path, "--out", "part", "--resume")
        before, begun = checkpoint.checkpoints(tmp_path / "part"), time.monotonic()
        while running.poll() is None and time.monotonic() - begun < 60:  # until it trains
            if checkpoint.checkpoints(tmp_path / "part") != before:
                break
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.1))
        if running.poll() is None:
            running.send_signal(signal.SIGKILL)
            kills += 1
        running.communicate()
    assert kills >= 2, "the runs were over before they could be killed"
    last = process(tmp_path, "--out", "part", "--resume")
    out, err = last.communicate()
    assert last.returncode == 0, err
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")


def test_a_second_process_on_the_same_folder_is_refused(call, tmp_path):
    call(ADDING, "--out", "o")
    with checkpoint.lock(tmp_path / "o"):
        status, out, err = call(ADDING, "--out", "o", "--resume")
    assert status == 2 and err.count("\n") == 1 and "is in use by process" in err


def test_a_record_that_was_changed_is_one_line(call, tmp_path):
    call(ADDING, "--out", "o")
    (tmp_path / "o" / "monitor.csv").write_text("")
    status, out, err = call(ADDING.replace("steps = 20", "steps = 30"), "--out", "o", "--resume")
    assert status == 2 and err.count("\n") == 1 and "monitor.csv must begin with the 10 rows" in err


def test_ctrl_c_says_how_to_go_on(call, tmp_path, monkeypatch):
    from rnnlab.commands import train

    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "fit", stop)
    status, out, err = call(ADDING, "--out", "o")
    assert (status, out, err) == (130, "", "rnnlab train: stopped; go on with --resume\n")
