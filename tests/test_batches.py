"""Where batches come from: every entry once an epoch, the same again from the same generator, errors that name what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab.data.batches import Drawn, Rolls, Sequences, Streams, Windows
from rnnlab.data.text import streams, windows

sizes = st.integers(1, 7)
seeds = st.integers(0, 99)


def generator(seed=0):
    return np.random.default_rng(seed)


def epoch(source, seed=0):
    drawn = source.epoch(generator(seed))
    assert len(drawn) == len(source)
    for k in (-1, len(source)):
        with pytest.raises(IndexError, match=f"batch must be from 0 to {len(source) - 1}; got {k}"):
            drawn[k]
    return [drawn[k] for k in range(len(source))]


def sources(seed):
    rng = generator(seed)
    yield Streams(rng.integers(0, 9, 100), 3, 7)
    yield Sequences(rng.normal(size=(6, 11, 2)), rng.integers(0, 3, 11), 4, rng.integers(1, 7, 11))
    yield Windows(rng.normal(size=(40, 3)), 5, 2, 4, target=[0, 2])
    yield Rolls([rng.normal(size=(T, 5)) for T in rng.integers(2, 9, 10)], 3)
    yield Drawn(lambda rng: rl.data.adding(rng, 4, 10), 3)


@given(seeds)
def test_an_epoch_is_decided_by_its_generator_and_may_be_entered_anywhere(seed):
    for source in sources(seed):
        drawn, again = source.epoch(generator(seed)), epoch(source, seed)
        for k in generator(seed).permutation(len(source)):
            (batch, anew), (other, other_anew) = drawn[k], again[k]
            assert anew == other_anew and len(batch) == len(other)
            for a, b in zip(batch, other, strict=True):
                np.testing.assert_array_equal(a, b)


def test_epochs_differ_where_they_are_shuffled():
    for source in list(sources(0))[1:]:
        (one, _), (two, _) = epoch(source, 1)[0], epoch(source, 2)[0]
        assert one[0].shape != two[0].shape or not np.array_equal(one[0], two[0]), type(source)


def test_drawn_batches_are_never_the_same():
    drawn = list(sources(0))[-1]
    assert len({batch[0].tobytes() for batch, _ in epoch(drawn)}) == len(drawn) == 3


# ----------------------------------------------------------------------------------------- streams


@given(st.integers(2, 80), sizes, st.integers(1, 40))
def test_streams_are_those_of_the_text_helpers(count, N, T):
    tokens = generator(count).integers(0, 9, count).astype(np.uint8)
    if count < 2 * N:
        with pytest.raises(ValueError, match=f"tokens must be at least {2 * N}, two for each of {N} streams"):
            Streams(tokens, N, T)
        return
    columns = streams(tokens, N)
    found = epoch(Streams(tokens, N, T))
    expected = list(windows(columns, min(T, len(columns) - 1)))
    assert [anew for _, anew in found] == [k == 0 for k in range(len(found))]
    for (batch, _), pair in zip(found, expected, strict=True):
        for a, b in zip(batch, pair, strict=True):
            assert a.dtype == np.int64
            np.testing.assert_array_equal(a, b)
    assert sum(Streams(tokens, N, T).weight(batch) for batch, _ in found) == columns[1:].size


def test_streams_of_a_memory_map_are_read_only_where_they_are_looked_at(tmp_path):
    tokens = generator(0).integers(0, 60000, 1000).astype(np.uint16)
    tokens.tofile(tmp_path / "tokens")
    mapped = np.memmap(tmp_path / "tokens", np.uint16, "r")

    class Watched:
        ndim, dtype, read = 1, mapped.dtype, 0

        def __len__(self):
            return len(mapped)

        def __getitem__(self, part):
            Watched.read += part.stop - part.start
            return mapped[part]

    source = Streams(Watched(), 4, 10)
    batch, _ = source.epoch(generator(0))[20]
    assert Watched.read == 4 * 11
    for a, b in zip(batch, Streams(tokens, 4, 10).epoch(generator(0))[20][0], strict=True):
        assert type(a) is np.ndarray
        np.testing.assert_array_equal(a, b)


# --------------------------------------------------------------------------------------- sequences


@given(sizes, sizes, st.integers(1, 12), sizes, st.booleans(), st.booleans(), seeds)
def test_sequences_are_each_seen_once(T, D, N, size, ragged, shuffle, seed):
    rng = generator(seed)
    x, y = rng.normal(size=(T, N, D)), np.arange(N)  # the label is the sequence's number
    lengths = rng.integers(0, T + 1, N) if ragged else None
    source = Sequences(x, y, size, lengths, shuffle)
    seen = []
    for ((xs, ys, ls), anew), k in zip(epoch(source, seed), range(len(source)), strict=True):
        assert anew and (len(ys) == size or k == len(source) - 1)
        assert source.weight((xs, ys, ls)) == len(ys)
        longest = T if lengths is None else max(1, lengths[ys].max())
        np.testing.assert_array_equal(xs, x[:longest, ys])
        np.testing.assert_array_equal(ls, None if lengths is None else lengths[ys])
        seen += ys.tolist()
    assert sorted(seen) == list(range(N)) and (shuffle or seen == sorted(seen))


# ----------------------------------------------------------------------------------------- windows


@given(sizes, sizes, st.integers(0, 15), st.integers(1, 3), sizes, st.booleans(), seeds)
def test_windows_are_each_seen_once(context, horizon, more, stride, size, shuffle, seed):
    values = np.arange(2.0 * (context + horizon + more)).reshape(-1, 2)  # column 0 is twice the row's number
    source = Windows(values, context, horizon, size, 1, shuffle, stride)
    starts = []
    for (x, y), anew in epoch(source, seed):
        assert anew and source.weight((x, y)) == x.shape[1] == y.shape[1]
        for n in range(x.shape[1]):
            s = int(x[0, n, 0] / 2)
            starts.append(s)
            np.testing.assert_array_equal(x[:, n], values[s : s + context])
            np.testing.assert_array_equal(y[:, n], values[s + context : s + context + horizon, 1:])
    assert sorted(starts) == list(range(0, more + 1, stride)) and (shuffle or starts == sorted(starts))


@pytest.mark.parametrize("target, columns", [(None, [0, 1, 2]), (2, [2]), ([2, 0], [2, 0])])
def test_the_targets_of_windows(target, columns):
    values = generator(0).normal(size=(9, 3))
    (_, y), _ = epoch(Windows(values, 2, 3, 99, target, shuffle=False))[0]
    np.testing.assert_array_equal(y[:, 1], values[3:6, columns])


# ------------------------------------------------------------------------------------------- rolls


@given(st.lists(st.integers(2, 9), min_size=1, max_size=12), sizes, st.booleans(), seeds)
def test_rolls_are_each_seen_once_and_batched_by_length(lengths, size, shuffle, seed):
    rolls = [np.full((T, 3), i + 1, np.float32) for i, T in enumerate(lengths)]
    source = Rolls(rolls, size, shuffle)
    seen, spans = [], []
    for (roll, found), anew in epoch(source, seed):
        assert anew and roll.dtype == np.float32 and roll.shape == (found.max(), len(found), 3)
        assert source.weight((roll, found)) == (found - 1).sum()
        for n, T in enumerate(found):
            i = int(roll[0, n, 0]) - 1
            seen.append(i)
            np.testing.assert_array_equal(roll[:T, n], rolls[i])
            assert not roll[T:, n].any()
        spans.append((found.min(), found.max()))
    assert sorted(seen) == list(range(len(rolls)))
    spans.sort()
    assert all(high <= low for (_, high), (low, _) in zip(spans, spans[1:], strict=False))


def test_batches_of_rolls_come_in_an_order_of_their_own():
    source = Rolls([np.ones((T, 3)) for T in range(2, 12)], 2)
    longest = [tuple(lengths.max() for (_, lengths), _ in epoch(source, seed)) for seed in range(3)]
    assert len(set(longest)) == 3 and all(sorted(order) == [3, 5, 7, 9, 11] for order in longest)


@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_rolls_of_bits_become_numbers(dtype):
    (roll, _), _ = epoch(Rolls([np.ones((3, 2), dtype)], 1))[0]
    assert roll.dtype == np.float32 and (roll == 1).all()


# ---------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Streams(np.arange(9), 0, 3), "batch_size must be positive; got 0"),
        (lambda: Streams(np.arange(9), 3, -1), "length must be positive; got -1"),
        (lambda: Streams(np.arange(9.0), 3, 3), "tokens must be integers along one axis; got shape .9,. of dtype f"),
        (lambda: Streams(np.ones((2, 2), int), 1, 1), r"got shape \(2, 2\)"),
        (lambda: Sequences(np.ones((2, 3)), np.ones(3), 1), r"x must have shape \(T, N >= 1, D\); got \(2, 3\)"),
        (lambda: Sequences(np.ones((2, 0, 3)), np.ones(0), 1), r"got \(2, 0, 3\)"),
        (lambda: Sequences(np.ones((2, 3, 1)), np.ones(2), 1), r"y must have shape \(N,\) = \(3,\); got \(2,\)"),
        (lambda: Sequences(np.ones((2, 2, 1)), np.ones(2), 1, [1, 3]), "lengths must be 2 integers from 0 to T = 2"),
        (lambda: Sequences(np.ones((2, 2, 1)), np.ones(2), 1, [1.0, 2.0]), "lengths must be 2 integers"),
        (lambda: Windows(np.ones(9), 2, 2, 1), r"values must have shape \(rows >= 4, D\)"),
        (lambda: Windows(np.ones((3, 1)), 2, 2, 1), r"got \(3, 1\)"),
        (lambda: Windows(np.ones((9, 2)), 2, 2, 1, target=2), "target must be of the variables 0 to 1; got 2"),
        (lambda: Windows(np.ones((9, 2)), 2, 2, 1, target=[0.5]), "target must be"),
        (lambda: Windows(np.ones((9, 2)), 2, 2, 1, stride=0), "stride must be positive"),
        (lambda: Rolls([], 1), "rolls must hold at least one roll; got none"),
        (lambda: Rolls([np.ones((3, 2)), np.ones((1, 2))], 1), r"got \(1, 2\) at 1"),
        (lambda: Rolls([np.ones((3, 2)), np.ones((3, 1))], 1), r"got \(3, 1\) at 1"),
        (lambda: Drawn(lambda rng: (), 0), "num_batches must be positive; got 0"),
    ],
)
def test_errors_name_what_was_got_and_what_is_allowed(make, message):
    with pytest.raises(ValueError, match=message):
        make()
