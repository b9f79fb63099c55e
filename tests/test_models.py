"""The four models: gradients of every parameter by complex step, dropout, state, and what their losses mean."""

import numpy as np
import pytest
from cases import leaves
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab.backend import tree_items, tree_map

RECURRENT = {
    "rnn": lambda D: rl.RNN(D, 3),
    "lstm": lambda D: rl.LSTM(D, 3),
    "gru": lambda D: rl.GRU(D, 4),
    "bidirectional": lambda D: rl.Bidirectional(rl.GRU(D, 2, reset="before"), rl.LSTM(D, 3)),
    "stacked": lambda D: rl.Stacked([rl.LSTM(D, 3), rl.Bidirectional(rl.RNN(3, 2), rl.GRU(3, 2))]),
}


def language_model(recurrent, rng):
    model = rl.models.LanguageModel(5, 2, recurrent(2), dropout=0.5)
    return model, (rng.integers(0, 5, (4, 3)), rng.integers(0, 5, (4, 3)))


def classifier(recurrent, rng, lengths=True):
    model = rl.models.SequenceClassifier(recurrent(2), 3)
    ragged = rng.integers(0, 6, 4) if lengths else None
    return model, (rng.normal(size=(5, 4, 2)), rng.integers(0, 3, 4), ragged)


def forecaster(recurrent, rng):
    model = rl.models.Forecaster(recurrent(3), horizon=2, num_targets=2)
    return model, (rng.normal(size=(5, 3, 3)), rng.normal(size=(2, 3, 2)))


def piano_roll(recurrent, rng, lengths=True):
    model = rl.models.PianoRollModel(recurrent(6), num_notes=6)
    ragged = np.array([5, 0, 2, 1]) if lengths else None
    return model, ((rng.random((5, 4, 6)) < 0.3).astype(float), ragged)


MODELS = {
    "language": language_model,
    "classifier": classifier,
    "classifier-full": lambda recurrent, rng: classifier(recurrent, rng, lengths=False),
    "forecaster": forecaster,
    "piano": piano_roll,
    "piano-full": lambda recurrent, rng: piano_roll(recurrent, rng, lengths=False),
}
models = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def draw(make, recurrent, seed):
    rng = np.random.default_rng(seed)
    model, batch = make(RECURRENT[recurrent], rng)
    params = tree_map(lambda p: p + 0.3 * rng.normal(size=p.shape), model.init(rng))
    return model, params, batch


@models
@pytest.mark.parametrize("recurrent", RECURRENT)
def test_every_gradient_by_complex_step(make, recurrent):
    @settings(max_examples=3)
    @given(st.integers(0, 2**32 - 1))
    def check(seed):
        model, params, batch = draw(make, recurrent, seed)
        _, grads, state = model.loss_and_grads(params, batch)
        state = tree_map(lambda s: s + 0.1, state)
        _, grads, _ = model.loss_and_grads(params, batch, state)
        for (path, p), (g_path, g) in zip(tree_items(params), tree_items(grads), strict=True):
            assert path == g_path
            expected = np.empty_like(p)
            for index in np.ndindex(p.shape):
                stepped = p.astype(complex)
                stepped[index] += 1e-30j
                moved = tree_map(lambda a: stepped if a is p else a, params)  # noqa: B023
                expected[index] = model.loss(moved, batch, state)[0].imag / 1e-30
            np.testing.assert_allclose(
                g, expected, rtol=0, atol=1e-12 * max(np.abs(expected).max(), 1e-3), err_msg=path
            )

    check()


@models
def test_loss_and_loss_and_grads_agree_and_float32_stays_float32(make):
    model, params, batch = draw(make, "lstm", 0)
    loss, grads, state = model.loss_and_grads(params, batch)
    alone, state_alone = model.loss(params, batch)
    assert loss == alone
    for a, b in zip(leaves(state), leaves(state_alone), strict=True):
        np.testing.assert_array_equal(a, b)
    narrow = lambda a: a.astype(np.float32) if getattr(a, "dtype", None) == np.float64 else a  # noqa: E731
    loss32, grads32, _ = model.loss_and_grads(tree_map(narrow, params), tree_map(narrow, batch))
    assert loss32.dtype == np.float32 and {g.dtype for g in leaves(grads32)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(loss32, loss, rtol=1e-5)


def test_the_language_models_dropout_acts_only_with_an_rng_and_its_gradient_is_right():
    model, params, batch = draw(language_model, "gru", 1)
    plain = model.loss(params, batch)[0]
    loss, grads, _ = model.loss_and_grads(params, batch, rng=np.random.default_rng(3))
    assert abs(loss - plain) > 1e-4
    rng = np.random.default_rng(4)
    v = tree_map(lambda p: rng.normal(size=p.shape), params)

    def at(step):
        moved = tree_map(lambda p, d: p + step * d, params, v)
        return model.loss_and_grads(moved, batch, rng=np.random.default_rng(3))[0]

    along = sum((g * d).sum() for g, d in zip(leaves(grads), leaves(v), strict=True))
    np.testing.assert_allclose(along, (at(1e-6) - at(-1e-6)) / 2e-6, rtol=1e-6)


def test_the_language_model_carries_its_state_from_chunk_to_chunk():
    model, params, (inputs, targets) = draw(language_model, "lstm", 2)
    whole, end = model.loss(params, (inputs, targets))
    first, state = model.loss(params, (inputs[:1], targets[:1]))
    second, state = model.loss(params, (inputs[1:], targets[1:]), rl.carry_state(state))
    np.testing.assert_allclose((first + 3 * second) / 4, whole, rtol=1e-14)
    np.testing.assert_array_equal(state[0], end[0])


def test_losses_of_an_ignorant_model_are_the_textbook_ones():
    for make, expected in ((language_model, np.log(5)), (classifier, np.log(3)), (piano_roll, 6 * np.log(2))):
        model, params, batch = draw(make, "rnn", 3)
        params["output"] = tree_map(np.zeros_like, params["output"])
        np.testing.assert_allclose(model.loss(params, batch)[0], expected, rtol=1e-14)


def test_the_piano_roll_loss_is_summed_over_notes_and_averaged_over_all_frames_that_are_predicted():
    model, params, (roll, lengths) = draw(piano_roll, "gru", 4)
    total, frames = 0.0, 0
    for n, length in enumerate(lengths):
        if length > 1:
            one = (roll[:length, n : n + 1], None)
            total += (length - 1) * model.loss(params, one)[0]
            frames += length - 1
    np.testing.assert_allclose(model.loss(params, (roll, lengths))[0], total / frames, rtol=1e-13)


def test_the_classifier_of_a_bidirectional_layer_reads_both_whole_sequences():
    model, params, (x, labels, lengths) = draw(classifier, "bidirectional", 5)
    lengths = np.array([5, 3, 4, 2])
    logits = model.predict(params, x, lengths)
    for n, length in enumerate(lengths):
        for t in range(length):  # every valid step matters, no step of the padding does
            moved = x.copy()
            moved[t, n] += 0.5
            assert np.abs(model.predict(params, moved, lengths)[n] - logits[n]).max() > 1e-6
        x_padded = x.copy()
        x_padded[length:, n] += 9
        np.testing.assert_array_equal(model.predict(params, x_padded, lengths)[n], logits[n])


def test_bad_batches_and_sizes_are_named():
    model, params, (inputs, targets) = draw(language_model, "rnn", 6)
    for pattern, call in [
        (r"batch must be a tuple \(inputs, targets\); got 3 parts", lambda: model.loss(params, (inputs,) * 3)),
        ("targets must have shape", lambda: model.loss(params, (inputs, targets[:-1]))),
        ("ids must be from 0 to 4; got", lambda: model.loss(params, (inputs + 5, targets))),
        ("targets must be from 0 to 4; got", lambda: model.loss(params, (inputs, targets - 5))),
        ("recurrent.input_size must be embedding_size = 3", lambda: rl.models.LanguageModel(5, 3, rl.RNN(2, 2))),
        ("recurrent.input_size must be num_notes = 88", lambda: rl.models.PianoRollModel(rl.RNN(2, 2))),
        ("horizon must be positive; got 0", lambda: rl.models.Forecaster(rl.RNN(2, 2), 0, 1)),
    ]:
        with pytest.raises(ValueError, match=pattern):
            call()
