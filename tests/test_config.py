"""The configuration of `rnnlab train`: what is allowed, what every error says, and what is built of it."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab.experiments.build import make_optimizer, make_recurrent
from rnnlab.experiments.config import SCHEMA, ConfigError, differences, load_config, parse_config

SMALL = {"data": {"name": "adding"}, "optimizer": {"learning_rate": 0.5}, "training": {"steps": 5}}
EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.toml"))


def with_(**tables):
    """The smallest configuration, with keys of some tables set; None takes a key away."""
    result = copy.deepcopy(SMALL)
    for table, keys in tables.items():
        merged = {**result.get(table, {}), **keys}
        result[table] = {key: value for key, value in merged.items() if value is not None}
    return result


def refused(tables, message):
    with pytest.raises(ConfigError) as caught:
        parse_config(tables)
    assert message in str(caught.value) and "\n" not in str(caught.value), str(caught.value)


# ------------------------------------------------------------------------------- what is allowed


def test_defaults_are_filled_in_and_what_is_not_said_is_not_there():
    config = parse_config(SMALL)
    assert config.data["batch_size"] == 32 and config.model["hidden"] == 128 and config.training["seed"] == 0
    assert config.monitor is None and config.optimizer["schedule"] is None
    assert parse_config({**SMALL, "monitor": {}}).monitor["every"] == 10
    for table in ("data", "model", "optimizer", "training"):
        assert set(getattr(config, table)) == set(SCHEMA[table])


def test_every_default_is_a_value_that_its_key_allows():
    for table, keys in SCHEMA.items():
        for name, key in keys.items():
            assert key.default is None or key.test(key.default), (table, name)


@given(st.sampled_from([(table, key) for table, keys in SCHEMA.items() for key in keys]), st.data())
def test_a_key_with_a_letter_too_much_or_too_few_is_refused_with_the_right_name(where, data):
    table, key = where
    at = data.draw(st.integers(1, len(key) - 1))
    wrong = key[:at] + key[at + 1 :] if data.draw(st.booleans()) and len(key) > 4 else key[:at] + "q" + key[at:]
    if wrong in SCHEMA[table]:
        return
    with pytest.raises(ConfigError) as caught:
        parse_config(with_(**{table: {wrong: 1}}))
    message = str(caught.value)
    assert message.startswith(f"[{table}] {wrong}: unknown key; did you mean ")
    suggested = re.search("did you mean '(.*)'", message)[1]
    assert suggested in SCHEMA[table]
    if len(key) > 5:
        assert suggested == key


def test_an_unknown_key_is_refused_with_the_nearest():
    refused(with_(model={"hiden": 3}), "[model] hiden: unknown key; did you mean 'hidden'?")
    refused(with_(optimizer={"clip_globl_norm": 3}), "did you mean 'clip_global_norm'?")
    refused(
        with_(optimizer={"schedule": {"factr": 3}}), "[optimizer.schedule] factr: unknown key; did you mean 'factor'"
    )
    refused(with_(training={"zzz": 3}), "[training] zzz: unknown key; there are epochs, steps, seed")


def test_an_unknown_table_or_none_is_refused():
    refused({**SMALL, "optimiser": {}}, "[optimiser]: unknown table; did you mean 'optimizer'?")
    refused({**SMALL, "xyz": {}}, "[xyz]: unknown table; there are data, model, optimizer, training, monitor")
    refused({**SMALL, "model": 3}, "model must be a table [model]; got 3")
    for table in SMALL:
        refused({name: keys for name, keys in SMALL.items() if name != table}, f"[{table}]: this table is missing")


# A value of every kind that TOML knows; each key must refuse all that are not of its own kind.
VALUES = {"string": "zzz", "empty": "", "true": True, "negative": -1, "zero": 0, "half": 0.5, "nan": float("nan"),
          "infinity": float("inf"), "list": ["zzz"], "table": {"zzz": 1}}  # fmt: skip
ACCEPTED = {
    "data.root": ["string"], "data.target": ["string"], "data.valid": ["string"], "data.test": ["string"],
    "data.valid_share": ["half"], "data.standardize": ["true"],
    "model.bidirectional": ["true"], "model.bias": ["true"], "model.dropout": ["zero", "half"],
    "model.forget_bias": ["negative", "zero", "half"],
    "optimizer.learning_rate": ["half"], "optimizer.momentum": ["zero", "half"], "optimizer.alpha": ["zero", "half"],
    "optimizer.nesterov": ["true"], "optimizer.eps": ["half"], "optimizer.weight_decay": ["zero", "half"],
    "optimizer.l1": ["half"], "optimizer.l2": ["half"], "optimizer.centralize": ["true"], "optimizer.wgn": ["true"],
    "optimizer.block_normalize": ["true"], "optimizer.clip_value": ["half"], "optimizer.clip_norm": ["half"],
    "optimizer.clip_global_norm": ["half"], "optimizer.project_spectral_norm": ["half"],
    "optimizer.project_only": ["string"], "optimizer.wgn_only": ["string", "list"],
    "optimizer.wgn_eps": ["zero", "half"],
    "optimizer.wgn_center": ["true"], "optimizer.gradient_factor": ["half"], "model.embedding_factor": ["half"],
    "model.recurrent_scale": ["half"], "model.input_scale": ["half"], "optimizer.schedule": ["table"],
    "training.seed": ["zero"], "monitor.max_share": ["half"],
}  # fmt: skip


@pytest.mark.parametrize("where", [f"{table}.{key}" for table, keys in SCHEMA.items() for key in keys])
@pytest.mark.parametrize("kind", VALUES)
def test_a_value_of_a_wrong_kind_is_refused_naming_key_value_and_what_is_allowed(where, kind):
    table, key = where.split(".")
    value, allowed = VALUES[kind], SCHEMA[table][key].allowed
    if where == "data.name":
        assert SCHEMA[table][key].test(value) == (kind == "string")  # whether there is such data is asked later
        return
    assert SCHEMA[table][key].test(value) == (kind in ACCEPTED.get(where, []))
    if kind not in ACCEPTED.get(where, []):
        refused(with_(**{table: {key: value}}), f"[{table}] {key} must be {allowed}; got ")


@pytest.mark.parametrize("where", ["data.batch_size", "model.hidden", "model.layers", "training.keep", "monitor.every"])
def test_whole_numbers_are_whole(where):
    table, key = where.split(".")
    assert getattr(parse_config(with_(**{table: {key: 3}})), table)[key] == 3
    for wrong in (0, -3, 3.0, "3", True):
        refused(with_(**{table: {key: wrong}}), f"[{table}] {key} must be a positive integer; got")


def test_what_must_be_given_is_asked_for():
    refused(with_(data={"name": None}), "[data] name is missing: it must be one of shakespeare, ptb, ettm1")
    refused(
        with_(optimizer={"learning_rate": None}), "[optimizer] learning_rate is missing: it must be a positive number"
    )


def test_keys_that_contradict_each_other_or_say_nothing_are_refused():
    refused(with_(training={"epochs": 3}), "[training] needs either epochs or steps; got both")
    refused(with_(training={"steps": None}), "[training] needs either epochs or steps; got neither")
    refused(with_(model={"reset": "before"}), "[model] reset goes with cell = 'gru'; got cell = 'lstm'")
    refused(with_(model={"cell": "gru", "activation": "tanh"}), "[model] activation goes with cell = 'rnn'")
    refused(with_(model={"cell": "rnn", "forget_bias": 1}), "[model] forget_bias goes with cell = 'lstm'")
    refused(with_(optimizer={"project_only": "weight_hh"}), "project_only goes with project_spectral_norm")
    refused(with_(optimizer={"wgn_eps": 0.1}), "[optimizer] wgn_eps goes with wgn = true, which is missing")
    refused(with_(optimizer={"wgn": False, "wgn_center": False}), "wgn_center goes with wgn = true")
    refused(with_(model={"input_scale": 0.1}), "[model] input_scale goes with input_init, which is missing")


def test_the_quantities_of_the_monitor_are_checked_by_name():
    refused({**SMALL, "monitor": {"quantities": ["gradient_nrm"]}}, "must be a list of gradient_norm, update_ratio")
    chosen = ["saturation", "gradient_norm"]
    assert parse_config({**SMALL, "monitor": {"quantities": chosen}}).monitor["quantities"] == chosen
    assert parse_config({**SMALL, "monitor": {"max_share": False}}).monitor["max_share"] is False


# ------------------------------------------------------------------------------- data by name


def test_the_data_is_named_or_a_text_file_beside_the_configuration(tmp_path, monkeypatch):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "my.txt").write_text("hello")
    for name in ("ucr:Coffee", "mnist-permuted", "jsb"):
        assert parse_config(with_(data={"name": name})).data["name"] == name
    found = parse_config(with_(data={"name": "texts/my.txt"}), base=tmp_path)
    assert found.data["name"] == str((tmp_path / "texts" / "my.txt").resolve())
    monkeypatch.chdir(tmp_path / "texts")
    assert parse_config(with_(data={"name": "my.txt"})).data["name"] == found.data["name"]
    with pytest.raises(ConfigError, match="there is no text file '.*other.txt'"):
        parse_config(with_(data={"name": "other.txt"}), base=tmp_path)
    refused(with_(data={"name": "shakespear"}), "got 'shakespear'; did you mean 'shakespeare'?")
    refused(with_(data={"name": "ucr:"}), "[data] name must be one of")


# ------------------------------------------------------------------------------- files


def test_a_file_is_read_with_its_text(tmp_path):
    source = '[data]\nname = "adding"\n[optimizer]\nlearning_rate = 0.5\n[training]\nsteps = 5\n'
    (tmp_path / "a.toml").write_text(source)
    assert load_config(tmp_path / "a.toml") == (parse_config(SMALL), source)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"[data\n", "is no TOML: Expected ']'"),
        (b"[data]\nname = 'a'\nname = 'b'\n", "is no TOML: "),
        (b"\xff\xfe", "must be UTF-8; byte 0 is not"),
        (b"[data]\nnam = 'adding'\n", "[data] nam: unknown key"),
        (b"", "[data]: this table is missing"),
        (b"name = 3\n", "[name]: unknown table"),
    ],
)
def test_a_file_that_is_none_of_ours_is_one_line_that_names_it(tmp_path, content, message):
    path = tmp_path / "a.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_valid(path):
    config, _ = load_config(path)
    make_recurrent(config.model, 3)
    make_optimizer(config.optimizer, config.model["cell"])


def test_differences_name_table_and_key():
    one = parse_config(SMALL)
    assert differences(one, parse_config(copy.deepcopy(SMALL))) == []
    other = parse_config({**with_(model={"hidden": 3}, training={"seed": 1}), "monitor": {}})
    assert differences(one, other) == ["[model] hidden", "[training] seed", "[monitor]"]


# ------------------------------------------------------------------------------- the optimizer


def optimizer_of(cell="lstm", **table):
    return make_optimizer(parse_config(with_(optimizer=table)).optimizer, cell)


def test_the_parts_stand_in_their_order_whatever_the_order_of_the_keys():
    table = {"clip_global_norm": 5.0, "wgn": True, "l2": 0.1, "clip_value": 2.0, "l1": 0.2, "centralize": True,
             "block_normalize": True, "clip_norm": 3.0, "project_spectral_norm": 1.8}  # fmt: skip
    optimizer = optimizer_of(**table)
    assert [type(part).__name__ for part in optimizer.transforms] == [
        *["l1", "l2", "centralize_gradients", "normalize_weight_gradients", "block_normalize_gradients"],
        *["clip_by_value", "clip_by_norm", "clip_by_global_norm"],
    ]
    assert optimizer.transforms[-1].max_norm == 5 and optimizer.transforms[-2].max_norm == 3
    assert type(optimizer.update).__name__ == "SGD" and len(optimizer.projections) == 1
    assert not optimizer_of(wgn=False).transforms and not optimizer_of().projections


@pytest.mark.parametrize("update", ["sgd", "rmsprop", "adagrad", "adam", "adamw"])
def test_a_step_is_that_of_the_optimizer_written_in_python(update):
    rng = np.random.default_rng(0)
    params, grads = {"w": rng.normal(size=(3, 2))}, {"w": rng.normal(size=(3, 2))}
    ours = optimizer_of(update=update, clip_global_norm=0.1)
    theirs = rl.optim.chain(rl.optim.clip_by_global_norm(0.1), getattr(rl.optim, update)(0.5))
    steps = [o.step(params, grads, o.init(params))[0]["w"] for o in (ours, theirs)]
    np.testing.assert_array_equal(*steps)
    assert not np.array_equal(steps[0], params["w"])


def test_options_reach_the_update():
    assert optimizer_of(momentum=0.9, nesterov=True).update.momentum == 0.9
    assert tuple(optimizer_of(update="adam", betas=[0.5, 0.6]).update.betas) == (0.5, 0.6)


def test_options_reach_weight_gradient_normalization():
    (part,) = optimizer_of(wgn=True).transforms
    assert vars(part) == vars(rl.optim.normalize_weight_gradients())
    options = {"eps": 0.01, "denominator": "sqrt(var+eps)", "center": False, "per": "gate"}
    (part,) = optimizer_of(wgn=True, **{f"wgn_{key}": value for key, value in options.items()}).transforms
    assert {**vars(part), "only": None} == {**options, "only": None}


def test_weight_gradient_normalization_of_some_arrays_leaves_the_others():
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=(3, 2)) for name in ("weight_ih", "weight_hh", "bias")}
    grads = {name: rng.normal(size=(3, 2)) for name in params}
    optimizer = optimizer_of(wgn=True, wgn_only=["weight_ih", "weight_hh"], wgn_eps=0)
    new, _ = optimizer.step(params, grads, optimizer.init(params))
    np.testing.assert_allclose(new["bias"], params["bias"] - 0.5 * grads["bias"])
    for name in ("weight_ih", "weight_hh"):
        g = grads[name]
        np.testing.assert_allclose(new[name], params[name] - 0.5 * (g - g.mean()) / g.std())


def test_the_gradients_of_a_sum_over_time_are_clipped_as_such():
    params, grads = {"w": np.zeros(1)}, {"w": np.array([0.2])}
    for T, step in ((1.0, 0.2), (35.0, 5.0)):
        optimizer = optimizer_of(gradient_factor=T, clip_global_norm=5.0, learning_rate=1.0)
        np.testing.assert_allclose(optimizer.step(params, grads, optimizer.init(params))[0]["w"], -step)


@pytest.mark.parametrize(("cell", "only"), [("gru", "weight_hn"), ("lstm", "weight_hh"), ("rnn", "weight_hh")])
def test_what_is_projected_depends_on_the_cell_unless_it_is_said(cell, only):
    assert optimizer_of(cell, project_spectral_norm=1.5).projections[0].only == only
    assert optimizer_of(cell, project_spectral_norm=1.5, project_only="*hh").projections[0].only == "*hh"


def rate(**schedule):
    optimizer = optimizer_of(schedule=schedule)
    return lambda step: optimizer.learning_rate({"step": np.array(step), "observed": {"cut": np.array(1.0)}})


def test_schedules_give_their_rates():
    assert rate()(100) == 0.5
    assert rate(name="step_decay", factor=0.5, every=10)(25) == 0.125
    assert rate(name="cosine", steps=10, final=0.1)(10) == pytest.approx(0.1)
    assert rate(warmup=4)(0) == 0.125 and rate(warmup=4)(9) == 0.5
    assert rate(name="step_decay", factor=0.5, every=10, warmup=4)(14) == 0.25
    assert [rate(name="step_decay", factor=0.5, every=10, hold=20)(k) for k in (0, 29, 30, 45)] == [
        *[0.5, 0.5, 0.25, 0.125],
    ]
    assert rate(name="step_decay", factor=0.5, every=10, hold=20, warmup=4)(33) == 0.5
    assert rate(name="step_decay", factor=0.5, every=10, hold=20, warmup=4)(34) == 0.25
    plateau = optimizer_of(schedule={"name": "reduce_on_plateau", "patience": 2, "warmup": 4})
    assert isinstance(plateau.update.learning_rate, rl.optim.schedules.reduce_on_plateau)
    assert plateau.update.learning_rate.patience == 2 and plateau.update.learning_rate(0) == 0.125


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"alpha": 0.5}, "[optimizer] alpha does not go with update = 'sgd', which has momentum, nesterov"),
        ({"update": "adam", "momentum": 0.5}, "[optimizer] momentum does not go with update = 'adam'"),
        ({"schedule": {"factor": 0.5}}, "factor does not go with name = 'constant', which has no options"),
        ({"schedule": {"name": "step_decay", "factor": 0.5}}, "[optimizer.schedule] name = 'step_decay' needs every"),
        ({"schedule": {"name": "cosine", "factor": 0.5}}, "factor does not go with name = 'cosine'"),
        ({"schedule": {"name": "reduce_on_plateau", "factor": 2.0}}, "[optimizer.schedule] factor must be"),
    ],
)
def test_options_that_do_not_belong_are_refused(table, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        optimizer_of(**table)


# ------------------------------------------------------------------------------- the layers


def layers_of(input_size=3, **table):
    return make_recurrent(parse_config(with_(model=table)).model, input_size)


def test_layers_are_stacked_and_have_both_directions():
    single = layers_of(cell="rnn", hidden=4, activation="relu", bias=False)
    assert isinstance(single, rl.RNN) and single.cell.activation.name == "relu" and not single.bias
    stack = layers_of(cell="lstm", hidden=4, layers=2, dropout=0.3, bidirectional=True, forget_bias=1)
    assert [layer.input_size for layer in stack.layers] == [3, 8] and stack.dropout.rate == 0.3
    assert stack.hidden_size == 8 and stack.layers[0].forward_layer is not stack.layers[0].backward_layer
    assert stack.layers[1].backward_layer.forget_bias == 1
    assert layers_of(cell="gru", reset="before").cell.reset == "before"


def test_the_recurrent_matrix_is_drawn_as_told():
    W = layers_of(cell="rnn", hidden=4, recurrent_init="identity").init(np.random.default_rng(0))["weight_hh"]
    np.testing.assert_array_equal(W, np.eye(4))
    layer = layers_of(cell="gru", hidden=40, recurrent_init="orthogonal", recurrent_scale=0.5, input_init="normal",
                      input_scale=3.0, bias=False, input_size=50)  # fmt: skip
    params = layer.init(np.random.default_rng(0))
    for block in np.split(params["weight_hh"], 3):
        np.testing.assert_allclose(block @ block.T, 0.25 * np.eye(40), atol=1e-12)
    assert 2.8 < params["weight_ih"].std() < 3.2 and "bias" not in params
    drawn = layers_of(cell="rnn", input_init="uniform", input_scale=0.02).init(np.random.default_rng(0))["weight_ih"]
    assert 0.018 < drawn.max() <= 0.02 and -0.02 <= drawn.min() < -0.018
