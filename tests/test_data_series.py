"""ETTm1, windows to forecast from, and the Mackey-Glass series, computed and read."""

import csv
import importlib

import numpy as np
import pytest
from fuzz import check_loader
from hypothesis import given
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab.data.ettm1 import COLUMNS, HEADER, ettm1, series_windows, standardize
from rnnlab.data.files import DataError
from rnnlab.data.mackey_glass import mackey_glass, mackey_glass_file

# The package exports functions of the same names.
ETTM1, MACKEY_GLASS = (importlib.import_module(f"rnnlab.data.{name}") for name in ("ettm1", "mackey_glass"))


# ------------------------------------------------------------------------------- ETTm1


def test_the_real_file_is_what_the_csv_module_reads_from_it(data_root):
    data = ettm1(data_root)
    assert data.values.shape == (69_680, 7) and data.values.dtype == np.float64 and data.columns == COLUMNS
    with open(data_root / "ett" / "ETTm1.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["date", *data.columns]
    assert [row[1:] for row in rows[::997]] == [list(map(repr, row)) for row in data.values[::997].tolist()]
    assert [row[0].replace(" ", "T") for row in rows[::997]] == [str(date) + ":00" for date in data.dates[::997]]
    np.testing.assert_allclose(data.values[:, 6].sum(), sum(float(row[7]) for row in rows), rtol=1e-12)
    assert data.dates[-1] == np.datetime64("2018-06-26T19:45") and data.dates.dtype == "datetime64[m]"


def test_the_parts_follow_each_other_and_are_views(data_root):
    data = ettm1(data_root)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [34_560, 11_520, 11_520]
    np.testing.assert_array_equal(np.concatenate([data.train, data.valid, data.test]), data.values[:57_600])
    assert all(np.shares_memory(part, data.values) for part in (data.train, data.valid, data.test))
    # 12 months of 30 days behind the first row, and 4 more.
    assert str(data.dates[34_560]) == "2017-06-26T00:00" and str(data.dates[46_080]) == "2017-10-24T00:00"


def csv_text(rows):
    dates = np.datetime64("2016-07-01T00:00:00") + np.timedelta64(15, "m") * np.arange(len(rows))
    dates = [str(date).replace("T", " ") for date in dates]
    lines = [f"{date}," + ",".join(map(repr, row)) for date, row in zip(dates, rows, strict=True)]
    return "\n".join([HEADER, *lines, ""])


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A file of twelve rows, where twelve are asked for."""
    monkeypatch.setattr(ETTM1, "ROWS", 12)
    path = tmp_path / "ett" / "ETTm1.csv"
    path.parent.mkdir()
    path.write_text(csv_text(np.random.default_rng(0).normal(size=(12, 7)).round(3).tolist()))
    return path


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda lines: [], r", line 1: found ''; must be 'date,HUFL"),
        (lambda lines: lines[1:], r", line 1: found '2016.*'; must be 'date,HUFL"),
        (lambda lines: [lines[0].replace("OT", "ot"), *lines[1:]], r", line 1: found .*; must be 'date,HUFL"),
        (lambda lines: [*lines[:1], ""], r": found 0 lines behind the header; must be 12"),
        (lambda lines: [*lines[:-2], ""], r": found 11 lines behind the header; must be 12"),
        (lambda lines: lines[:-1], r", line 13: the file ends inside a line"),
        (lambda lines: lines[:1], r", line 1: the file ends inside a line"),
        (lambda lines: [*lines, ""], r", line 14: found 1 fields; must be 8"),
        (lambda lines: [*lines[:2], lines[2] + ",1", *lines[3:]], r", line 3: found 9 fields; must be 8"),
        (lambda lines: [*lines[:3], lines[3].rsplit(",", 1)[0], *lines[4:]], r", line 4: found 7 fields"),
        (lambda lines: [*lines[:3], *lines[4:]], r", line 4: found the date 2016-07-01 00:45:00; must be .* 00:30:00"),
        (lambda lines: [*lines[:4], lines[3], *lines[4:]], r", line 5: found the date .*00:30:00; must be .*00:45:00"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], r", line 2: found the date .*00:15:00"),
        (lambda lines: [li.replace("-07-01 01:00", "-07-99 01:00") for li in lines], r", line 6: found '2016-07-99"),
        (lambda lines: [li.replace("-07-01 01:00", "-7-1 01:00") for li in lines], r", line 6: found the date '2016-7"),
        (lambda lines: [li.replace("2016", "2017") for li in lines], r", line 2: found the date 2017-07-01 00:00:00"),
        (lambda lines: [*lines[:3], lines[3].rsplit(",", 1)[0] + ",NaN", *lines[4:]], r", line 4: found 'NaN' as OT"),
        (lambda lines: [*lines[:3], lines[3].rsplit(",", 1)[0] + ",-inf", *lines[4:]], r", line 4: found '-inf' as OT"),
        (lambda lines: [*lines[:3], lines[3].rsplit(",", 1)[0] + ",", *lines[4:]], r", line 4: found '' as OT"),
        (lambda lines: [*lines[:2], lines[2].replace(",", ",1_0", 1), *lines[3:]], r", line 3: found '1_0.*' as HUFL"),
    ],
)
def test_each_fault_of_the_file_is_one_clear_error(small, change, message):
    ettm1(small.parents[1])
    small.write_text("\n".join(change(small.read_text().split("\n"))))
    with pytest.raises(DataError, match=f"ETTm1.csv{message}") as caught:
        ettm1(small.parents[1])
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="ett/ETTm1.csv"):
        ettm1(tmp_path)
    with pytest.raises(FileNotFoundError, match="mackey_glass/MackeyGlass_t17.txt"):
        mackey_glass_file(tmp_path)


def fuzz_ettm1(path, count, seed):
    def plausible(data):
        _, *rows = csv.reader(path.read_bytes().decode("utf-8-sig").splitlines())
        return (
            data.values.shape == (12, 7)
            and np.isfinite(data.values).all()
            and data.values.tolist() == [[float(v) for v in row[1:]] for row in rows]
            and [str(date).replace("T", " ") + ":00" for date in data.dates] == [row[0] for row in rows]
        )

    return check_loader(lambda: ettm1(path.parents[1]), path.read_bytes(), path, plausible, count, seed)


def test_mutated_files_are_refused_or_read_as_they_say(small):
    taken, refused = fuzz_ettm1(small, count=300, seed=0)
    assert refused > taken > 5


@pytest.mark.slow
def test_thousands_of_mutated_files_are_refused_or_read_as_they_say(small):
    fuzz_ettm1(small, count=10_000, seed=1)


# ------------------------------------------------------------------------------- windows


sizes = st.integers(1, 5)


@given(sizes, sizes, sizes, st.integers(0, 12), st.integers(1, 3), st.data())
def test_windows_are_cut_by_their_definition(context, horizon, stride, more, D, data):
    rows = context + horizon + more
    values = np.arange(rows * D, dtype=float).reshape(rows, D)
    targets = st.none() | st.integers(0, D - 1) | st.lists(st.integers(0, D - 1), min_size=1, max_size=3)
    target = data.draw(targets)
    x, y = series_windows(values, context, horizon, stride, target)
    columns = list(range(D)) if target is None else np.atleast_1d(target).tolist()
    starts = range(0, rows - context - horizon + 1, stride)
    assert x.shape == (context, len(starts), D) and y.shape == (horizon, len(starts), len(columns))
    for n, s in enumerate(starts):
        np.testing.assert_array_equal(x[:, n], values[s : s + context])
        np.testing.assert_array_equal(y[:, n], values[s + context : s + context + horizon][:, columns])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_windows_are_views_that_cannot_be_written_to_and_keep_the_dtype(dtype):
    values = np.arange(20, dtype=dtype).reshape(10, 2)
    for target in (None, 1):
        x, y = series_windows(values, 3, 2, target=target)
        assert np.shares_memory(x, values) and np.shares_memory(y, values) and x.dtype == y.dtype == dtype
        assert not x.flags.writeable and not y.flags.writeable
    x, y = series_windows(values[:, 0], 3, 2)
    assert x.shape == (3, 6, 1) and y[:, 0, 0].tolist() == [6, 8]


def test_a_forecaster_takes_windows():
    x, y = series_windows(np.random.default_rng(0).normal(size=(30, 3)), 6, 4, target=[0, 2])
    model = rl.models.Forecaster(rl.LSTM(3, 5), horizon=4, num_targets=2)
    params = model.init(np.random.default_rng(1))
    loss, grads, _ = model.loss_and_grads(params, (x, y))
    again, _ = model.loss(params, (x.copy(), y.copy()))
    assert np.isclose(loss, again, rtol=1e-12)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"context": 0}, "context must be positive; got 0"),
        ({"horizon": -1}, "horizon must be positive; got -1"),
        ({"stride": 0}, "stride must be positive; got 0"),
        ({"context": 9}, "values has 10 rows; a window of context [+] horizon needs 11"),
        ({"target": 2}, "target must be integers from 0 to 1; got 2"),
        ({"target": [0, -1]}, "target must be integers from 0 to 1; got .0, -1."),
        ({"target": [0.5]}, "target must be integers from 0 to 1; got .0.5."),
        ({"target": []}, "target must be integers from 0 to 1; got .."),
        ({"values": np.zeros((10, 2, 1))}, "values must have shape .rows, D.; got .10, 2, 1."),
    ],
)
def test_windows_that_cannot_be_cut_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        series_windows(**{"values": np.zeros((10, 2)), "context": 3, "horizon": 2, **arguments})


def test_standardizing_uses_the_statistics_of_train_alone():
    rng = np.random.default_rng(0)
    train, other = rng.normal(3, 5, size=(50, 4)), rng.normal(-2, 9, size=(7, 4))
    a, b = standardize(train, other)
    np.testing.assert_allclose(a.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(a.std(axis=0), 1, rtol=1e-14)
    for d in range(4):
        scale = np.sqrt(((train[:, d] - train[:, d].mean()) ** 2).mean())
        np.testing.assert_allclose(b[:, d], (other[:, d] - train[:, d].mean()) / scale, rtol=1e-13)
    assert len(standardize(train)) == 1 and a is not train and not np.shares_memory(a, train)


@pytest.mark.parametrize("value", [0.1, 0.0, 1e100])
def test_a_constant_variable_cannot_be_standardized(value):
    train = np.random.default_rng(0).normal(size=(11, 3))
    train[:, 1] = value
    with pytest.raises(ValueError, match="train must be finite and vary in every column; column 1 does not"):
        standardize(train)
    train[:, 1] = np.arange(11)
    for bad in (np.nan, np.inf):
        train[4, 2] = bad
        with pytest.raises(ValueError, match="column 2 does not"):
            standardize(train)
    train[:, 2] = 1e-200 * np.arange(11)  # the square of that is 0
    with pytest.raises(ValueError, match="column 2 does not"):
        standardize(train)
    with pytest.raises(ValueError, match="train must have shape .rows, D. with at least one row; got .0, 3."):
        standardize(train[:0])


# ------------------------------------------------------------------------------- Mackey-Glass


def test_until_the_first_delay_has_passed_the_solution_is_an_exponential():
    """The delayed term is then constant, p, and x = p/gamma + (c - p/gamma) * exp(-gamma * t)."""
    beta, gamma, n, c, tau = 0.3, 0.15, 7.0, 0.8, 12.0
    limit = beta * c / (1 + c**n) / gamma
    x = mackey_glass(13, tau=tau, n=n, beta=beta, gamma=gamma, step=1 / 16, every=16, initial=c)
    np.testing.assert_allclose(x, limit + (c - limit) * np.exp(-gamma * np.arange(13)), rtol=1e-9)


def test_during_the_second_delay_the_solution_is_an_integral():
    """By variation of constants, the delayed term being the exponential of the test above."""
    c, gamma, tau = 1.2, 0.1, 17.0
    limit = 0.2 * c / (1 + c**10) / gamma
    first = lambda t: limit + (c - limit) * np.exp(-gamma * t)  # noqa: E731
    nodes, weights = np.polynomial.legendre.leggauss(40)
    for k, t in ((0, 3.0), (1, 11.0), (2, 17.0)):
        s = t / 2 * (nodes + 1)
        delayed = 0.2 * first(s) / (1 + first(s) ** 10)
        expected = first(tau) * np.exp(-gamma * t) + t / 2 * (weights * np.exp(-gamma * (t - s)) * delayed).sum()
        assert np.isclose(mackey_glass(35)[int(tau + t)], expected, rtol=1e-8), k


def test_the_error_falls_with_the_fourth_power_of_the_step():
    end = [mackey_glass(2, step=1 / k, every=60 * k)[-1] for k in (2, 4, 8, 64)]
    errors = np.abs(np.array(end[:-1]) - end[-1])
    assert (np.log2(errors[:-1] / errors[1:]) > 3.9).all() and errors[-1] < 1e-8


def test_where_production_and_decay_are_equal_nothing_moves():
    np.testing.assert_allclose(mackey_glass(50, initial=3 ** (1 / 4), n=4, beta=0.4, tau=5), 3 ** (1 / 4), rtol=1e-14)


def test_a_long_series_is_chaotic_but_bounded_and_positive():
    x = mackey_glass(5000, discard=500)
    assert 0.2 < x.min() < 0.5 and 1.2 < x.max() < 1.5 and 0.15 < x.std() < 0.3
    nudged = mackey_glass(5000, discard=500, initial=1.2 * (1 + 1e-9))
    gap = np.abs(x - nudged)
    assert gap[:10].max() < 1e-5 < 0.1 < gap[-1000:].max()


def test_every_and_discard_choose_among_the_steps():
    x = mackey_glass(100, every=1)
    np.testing.assert_array_equal(mackey_glass(20, every=3, discard=4), x[12:72:3])
    assert mackey_glass(1).tolist() == [1.2]


def test_a_generator_draws_the_beginning():
    draw = lambda seed: mackey_glass(50, rng=np.random.default_rng(seed))  # noqa: E731
    np.testing.assert_array_equal(draw(3), draw(3))
    starts = [draw(seed)[0] for seed in range(50)]
    assert len(set(starts)) == 50 and 1.08 <= min(starts) < 1.1 and 1.3 < max(starts) < 1.32


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"length": 0}, "length must be at least 1; got 0"),
        ({"every": 0}, "every must be at least 1; got 0"),
        ({"discard": -1}, "discard must be at least 0; got -1"),
        ({"tau": 0}, "tau must be positive; got 0"),
        ({"gamma": -0.1}, "gamma must be positive; got -0.1"),
        ({"initial": float("nan")}, "initial must be positive; got nan"),
        ({"step": 0.3}, "tau must be a multiple of step; got tau=17.0, step=0.3"),
        ({"step": 40.0}, "tau must be a multiple of step"),
        ({"step": 17.0}, r"step [*] gamma must be at most 1.*got 1.7"),
    ],
)
def test_parameters_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        mackey_glass(**{"length": 3, **arguments})


def test_a_steep_production_does_not_overflow():
    assert np.isfinite(mackey_glass(100, n=1e4, initial=2.0)).all()


def test_the_real_file_follows_the_equation_with_delay_17(data_root):
    values = mackey_glass_file(data_root)
    assert values.shape == (10_000,) and values.dtype == np.float64
    raw = np.loadtxt(data_root / "mackey_glass" / "MackeyGlass_t17.txt")
    np.testing.assert_array_equal(values, raw)
    x = np.arctanh(values) + 1
    change = 0.2 * x[:-18] / (1 + x[:-18] ** 10) - 0.1 * x[17:-1]
    assert np.corrcoef(x[18:] - x[17:-1], change)[0, 1] > 0.99
    ours = mackey_glass(10_000, discard=500)
    assert abs(ours.mean() - x.mean()) < 0.02 and abs(ours.std() - x.std()) < 0.02


@pytest.fixture
def few(tmp_path, monkeypatch):
    """A file of eight numbers, where eight are asked for."""
    monkeypatch.setattr(MACKEY_GLASS, "ROWS", 8)
    path = tmp_path / "mackey_glass" / "MackeyGlass_t17.txt"
    path.parent.mkdir()
    path.write_text("".join(f"{value:.18e}\r\n" for value in np.random.default_rng(0).normal(size=8)), newline="")
    return path


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda text: "", ", line 1: found ''; must be a finite number"),
        (lambda text: text[:-2], ", line 8: the file ends inside this line"),
        (lambda text: text[: text.rindex("e-")], ", line 8: the file ends inside this line"),
        (lambda text: text[text.index("\n") + 1 :], ": found 7 numbers; must be 8"),
        (lambda text: text.replace("\r\n", "\n\n", 1), ", line 2: found ''; must be a finite number"),
        (lambda text: text.replace("\r\n", " 1\n", 1), ", line 1: found '.* 1'; must be a finite number"),
        (lambda text: text.replace("\r\n", "\nnan\n", 1), ", line 2: found 'nan'; must be a finite number"),
    ],
)
def test_each_fault_of_the_mackey_glass_file_is_one_clear_error(few, change, message):
    mackey_glass_file(few.parents[1])
    few.write_text(change(few.read_bytes().decode()), newline="")
    with pytest.raises(DataError, match=f"MackeyGlass_t17.txt{message}"):
        mackey_glass_file(few.parents[1])


def fuzz_mackey_glass(path, count, seed):
    def plausible(values):
        lines = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").rstrip("\n").split("\n")
        return np.isfinite(values).all() and len(values) == 8 and values.tolist() == [float(line) for line in lines]

    return check_loader(lambda: mackey_glass_file(path.parents[1]), path.read_bytes(), path, plausible, count, seed)


def test_mutated_mackey_glass_files_are_refused_or_read_as_they_say(few):
    taken, refused = fuzz_mackey_glass(few, count=300, seed=0)
    assert refused > taken > 5


@pytest.mark.slow
def test_thousands_of_mutated_mackey_glass_files_are_refused_or_read_as_they_say(few):
    fuzz_mackey_glass(few, count=10_000, seed=1)
