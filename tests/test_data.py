"""The embedded corpus, text cut into batches, and the synthetic tasks."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab import data

seeds = st.integers(0, 2**32 - 1)
TASKS = {"adding": data.adding, "copying": data.copying, "temporal_order": data.temporal_order}


# ------------------------------------------------------------------------------- the corpus


def test_the_corpus_is_the_well_known_one():
    text = data.shakespeare()
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    assert digest == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    assert len(text) == 1_115_394 and len(set(text)) == 65 and text.count("\n") == 40_000
    vocabulary = data.Vocabulary(text)
    ids = vocabulary.encode(text)
    assert len(vocabulary) == 65 and ids.max() == 64
    assert vocabulary.decode(ids) == text


def test_importing_data_unpacks_nothing_and_imports_no_lzma():
    heavy = "[m for m in ('lzma', '_lzma', 'matplotlib', 'tempfile') if m in sys.modules]"
    statement = f"import sys, numpy; before = set({heavy}); import rnnlab.data; print(set({heavy}) - before)"
    out = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


# ------------------------------------------------------------------------------- vocabulary


@given(st.text(st.characters(codec=None), min_size=1))
def test_a_vocabulary_is_the_sorted_characters_and_goes_there_and_back(text):
    vocabulary = data.Vocabulary(text)
    assert vocabulary.characters == "".join(sorted(set(text))) and len(vocabulary) == len(set(text))
    ids = vocabulary.encode(text)
    assert ids.shape == (len(text),) and ids.dtype.kind == "i"
    assert ids.tolist() == [vocabulary.characters.index(c) for c in text]
    assert vocabulary.decode(ids) == text and vocabulary.decode(ids.tolist()) == text


def test_empty_text_encodes_to_no_integers_and_back():
    vocabulary = data.Vocabulary("ab")
    ids = vocabulary.encode("")
    assert ids.shape == (0,) and ids.dtype.kind == "i"
    assert vocabulary.decode(ids) == "" == vocabulary.decode([])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abZ", r"'Z' at index 2 \(line 1, column 3\), which is not among the 4 characters"),
        ("Z", r"'Z' at index 0 \(line 1, column 1\)"),
        ("ab\n\nb\u00e9Z", r"'\u00e9' at index 5 \(line 3, column 2\)"),
        ("\u0001", r"'\\x01' at index 0"),  # below the first
        ("a\U0001f600", r"at index 1 \(line 1, column 2\)"),  # beyond the last
    ],
)
def test_an_unknown_character_is_named_with_its_place(text, message):
    with pytest.raises(ValueError, match=message):
        data.Vocabulary("ab\nd").encode(text)


def test_bad_numbers_and_empty_text_are_named():
    vocabulary = data.Vocabulary("abc")
    for ids, message in [
        ([0, 3], "ids must be from 0 to 2; got 3 at index 1"),
        ([0, 1, -1], "got -1 at index 2"),
        ([0.0, 1.0], "ids must be integers along one axis; got shape .2,. of dtype float64"),
        (np.zeros((2, 2), int), r"got shape \(2, 2\)"),
        (np.array([True]), "dtype bool"),
    ]:
        with pytest.raises(ValueError, match=message):
            vocabulary.decode(ids)
    with pytest.raises(ValueError, match="text must hold at least one character"):
        data.Vocabulary("")


# ------------------------------------------------------------------------------- split, streams, windows


@given(st.integers(20, 500), st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_split_is_chronological_and_drops_nothing(size, weights):
    fractions = np.array(weights) / sum(weights)
    parts = data.split(np.arange(size), fractions)
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(size))
    for part, fraction in zip(parts, fractions, strict=True):
        assert abs(len(part) - fraction * size) <= 1


def test_split_takes_strings_and_the_first_axis_and_gives_views():
    assert data.split("0123456789") == ("012345678", "9")
    array = np.arange(20).reshape(10, 2)
    train, valid = data.split(array)
    assert train.shape == (9, 2) and valid.shape == (1, 2) and np.shares_memory(train, array)


@pytest.mark.parametrize("fractions", [(0.9, 0.2), (1.1, -0.1), (1.0, 0.0), (), (float("nan"), 1.0)])
def test_fractions_that_are_no_partition_are_refused(fractions):
    with pytest.raises(ValueError, match="fractions must be positive and add up to 1; got"):
        data.split(np.arange(100), fractions)


def test_split_refuses_an_empty_part():
    with pytest.raises(ValueError, match=r"array has 3 items, too few for parts of \(0.9, 0.1\)"):
        data.split(np.arange(3), (0.9, 0.1))


@given(st.integers(1, 6), st.integers(2, 20), st.integers(0, 5))
def test_streams_are_contiguous_pieces_with_the_tail_dropped(batch_size, length, extra):
    extra %= batch_size
    tokens = np.arange(batch_size * length + extra)
    result = data.streams(tokens, batch_size)
    assert result.shape == (length, batch_size)
    np.testing.assert_array_equal(result.T.ravel(), tokens[: batch_size * length])


@given(st.integers(1, 4), st.integers(2, 40), st.data())
def test_windows_predict_every_token_but_the_first_once_and_continue_each_other(N, L, draw):
    length = draw.draw(st.integers(1, L - 1))
    streams = np.random.default_rng(L).integers(0, 50, (L, N))
    batches = list(data.windows(streams, length))
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), streams[:-1])
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), streams[1:])
    for k, (inputs, targets) in enumerate(batches):
        assert inputs.shape == targets.shape
        np.testing.assert_array_equal(inputs[1:], targets[:-1])
        assert inputs.shape[0] == length or k == len(batches) - 1
    for (_, targets), (inputs, _) in zip(batches, batches[1:], strict=False):
        np.testing.assert_array_equal(targets[-1], inputs[0])


def test_windows_with_carried_state_give_the_loss_of_the_whole():
    rng = np.random.default_rng(3)
    model = rl.models.LanguageModel(7, 3, rl.GRU(3, 4))
    params = model.init(rng)
    streams = data.streams(rng.integers(0, 7, 47), 2)
    whole, _ = model.loss(params, (streams[:-1], streams[1:]))
    state, total = None, 0.0
    for batch in data.windows(streams, 5):
        loss, state = model.loss(params, batch, state)
        total += loss * batch[0].size
    np.testing.assert_allclose(total / streams[1:].size, whole, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.streams(np.arange(7), 4), "there are 7 tokens; 4 streams need at least 8, two each"),
        (lambda: data.streams(np.arange(7), 0), "batch_size must be positive; got 0"),
        (lambda: data.streams(np.zeros((4, 2), int), 2), r"tokens must have one axis; got shape \(4, 2\)"),
        (lambda: data.windows(np.zeros((5, 2), int), 5), "have 5 steps each; a window of length 5 needs at least 6"),
        (lambda: data.windows(np.zeros((5, 2), int), 0), "length must be positive; got 0"),
        (lambda: data.windows(np.zeros(5, int), 2), r"streams must have shape \(steps, batch\); got \(5,\)"),
    ],
)
def test_text_too_short_and_bad_sizes_are_named_at_the_call(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ------------------------------------------------------------------------------- synthetic tasks


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_seed_means_the_same_data_and_another_seed_other_data(task):
    first, again, other = (task(np.random.default_rng(s), 6, 20)[:2] for s in (5, 5, 6))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_two_batches_of_one_generator_differ(task):
    rng = np.random.default_rng(0)
    assert (task(rng, 6, 20)[0] != task(rng, 6, 20)[0]).any()


@given(seeds, st.integers(1, 8), st.integers(2, 30), st.sampled_from(["f4", "f8"]))
def test_adding_marks_one_number_in_each_half_and_asks_for_their_sum(seed, N, T, dtype):
    x, y = data.adding(np.random.default_rng(seed), N, T, dtype)
    assert x.shape == (T, N, 2) and y.shape == (1, N, 1) and x.dtype == y.dtype == np.dtype(dtype)
    numbers, marks = x[..., 0], x[..., 1]
    assert ((numbers >= 0) & (numbers <= 1)).all() and np.isin(marks, (0, 1)).all()
    assert (marks[: T // 2].sum(axis=0) == 1).all() and (marks[T // 2 :].sum(axis=0) == 1).all()
    np.testing.assert_allclose(y[0, :, 0], (numbers * marks).sum(axis=0), rtol=1e-6)


@given(seeds, st.integers(1, 6), st.integers(1, 20), st.integers(1, 9), st.integers(1, 6))
def test_copying_asks_for_the_digits_after_the_delay(seed, N, L, K, S):
    inputs, targets = data.copying(np.random.default_rng(seed), N, L, K, S)
    blank, marker = K, K + 1
    assert inputs.shape == targets.shape == (L + 2 * S, N)
    assert inputs.dtype.kind == targets.dtype.kind == "i"
    digits = inputs[:S]
    assert ((digits >= 0) & (digits < K)).all()
    assert (np.argwhere(inputs[:, 0] == marker).ravel() == [S + L - 1]).all()
    assert (inputs[S : S + L - 1] == blank).all() and (inputs[S + L - 1] == marker).all()
    assert (inputs[S + L :] == blank).all() and (targets[: S + L] == blank).all()
    np.testing.assert_array_equal(targets[S + L :], digits)


@given(seeds, st.integers(1, 8), st.integers(10, 60), st.sampled_from(["f4", "f8"]))
def test_temporal_order_labels_the_order_of_its_two_symbols(seed, N, T, dtype):
    x, labels, lengths = data.temporal_order(np.random.default_rng(seed), N, T, dtype)
    assert x.shape == (T, N, 6) and x.dtype == np.dtype(dtype) and lengths is None
    assert labels.shape == (N,) and labels.dtype.kind == "i"
    assert np.isin(x, (0, 1)).all() and (x.sum(axis=2) == 1).all()
    for n in range(N):
        symbols = x[:, n].argmax(axis=1)
        first, second = np.flatnonzero(symbols < 2)
        assert T // 10 <= first < 2 * T // 10 and 4 * T // 10 <= second < 5 * T // 10
        assert labels[n] == 2 * symbols[first] + symbols[second]


def test_every_place_and_symbol_of_the_tasks_comes_up():
    rng = np.random.default_rng(1)
    x, _ = data.adding(rng, 2000, 10)
    assert (x[..., 1].sum(axis=1) > 300).all()  # 400 expected
    inputs, _ = data.copying(rng, 2000, 5)
    assert (np.bincount(inputs[:10].ravel(), minlength=8) > 2300).all()  # 2500 expected
    x, labels, _ = data.temporal_order(rng, 2000, 20)
    assert (np.bincount(labels) > 400).all()  # 500 expected
    counts = x.sum(axis=1)
    assert (counts[[2, 3, 8, 9], :2] > 400).all()  # two symbols at each of two steps: 500 expected
    assert (x.sum(axis=(0, 1))[2:] > 8600).all()  # 9000 expected


def test_the_batches_fit_their_models_and_the_ignorant_loss_is_the_documented_one():
    rng = np.random.default_rng(2)
    x, y = data.adding(rng, 4000, 20)
    model = rl.models.Forecaster(rl.RNN(2, 3), horizon=1, num_targets=1)
    params = model.init(rng)
    params["output"]["weight"][:], params["output"]["bias"][:] = 0, 1
    loss, _ = model.loss(params, (x, y))
    assert abs(loss - 1 / 6) < 0.01
    one = (x[:10, :, 0] * x[:10, :, 1]).sum(axis=0)
    assert abs(((one + 0.5 - y[0, :, 0]) ** 2).mean() - 1 / 12) < 0.005

    batch = data.copying(rng, 50, 30)
    language_model = rl.models.LanguageModel(10, 4, rl.RNN(4, 3))
    assert language_model.loss(language_model.init(rng), batch)[0] > 0
    logits = np.full((50, 50, 10), -1e3)
    logits[:40, :, 8], logits[40:, :, :8] = 0, 0
    loss, _ = rl.losses.cross_entropy(logits, batch[1])
    np.testing.assert_allclose(loss, 10 * np.log(8) / (30 + 20), rtol=1e-12)

    batch = data.temporal_order(rng, 4000, 20)
    classifier = rl.models.SequenceClassifier(rl.RNN(6, 3), num_classes=4)
    params = classifier.init(rng)
    params["output"]["weight"][:] = 0
    np.testing.assert_allclose(classifier.loss(params, batch)[0], np.log(4), rtol=1e-12)
    assert all(abs((batch[1] == k).mean() - 1 / 4) < 0.03 for k in range(4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: data.adding(rng, 3, 1), "length must be at least 2; got 1"),
        (lambda rng: data.adding(rng, 0, 5), "num_sequences must be at least 1; got 0"),
        (lambda rng: data.copying(rng, 3, 0), "length must be at least 1; got 0"),
        (lambda rng: data.copying(rng, 3, 5, num_symbols=0), "num_symbols must be at least 1; got 0"),
        (lambda rng: data.copying(rng, 3, 5, num_digits=0), "num_digits must be at least 1; got 0"),
        (lambda rng: data.temporal_order(rng, 3, 9), "length must be at least 10; got 9"),
    ],
)
def test_task_sizes_out_of_range_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0))
