"""ETTm1, two years of a transformer's loads and oil temperature, and windows of any series to forecast from."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.data.files import find, malformed, read_text, short
from rnnlab.data.ucr import numbers

__all__ = ["MultivariateSeries", "ettm1", "series_windows", "standardize"]

COLUMNS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
HEADER = "date," + ",".join(COLUMNS)
ROWS = 69_680
MONTH = 30 * 24 * 4  # quarters of an hour
TRAIN, VALID, TEST = 12 * MONTH, 16 * MONTH, 20 * MONTH  # where each part ends
DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII)
QUARTER = np.timedelta64(15, "m")


@dataclass(frozen=True, eq=False, repr=False)
class MultivariateSeries:
    """One long series of several variables.

    Attributes
    ----------
    values : numpy.ndarray of float64, shape (rows, D)
    columns : tuple of str
        Names of the D variables.
    dates : numpy.ndarray of datetime64[m], shape (rows,)
    """

    values: np.ndarray
    columns: tuple[str, ...]
    dates: np.ndarray

    @property
    def train(self) -> np.ndarray:
        """Rows 0 to 34,559, a view: 12 months of 30 days."""
        return self.values[:TRAIN]

    @property
    def valid(self) -> np.ndarray:
        """Rows 34,560 to 46,079, a view: 4 months."""
        return self.values[TRAIN:VALID]

    @property
    def test(self) -> np.ndarray:
        """Rows 46,080 to 57,599, a view: 4 months."""
        return self.values[VALID:TEST]

    def __repr__(self) -> str:
        return f"MultivariateSeries(values of shape {self.values.shape}, {self.dates[0]} to {self.dates[-1]})"


def ettm1(root: str | os.PathLike[str] | None = None) -> MultivariateSeries:
    """Return ETTm1: six loads and the oil temperature of a transformer, every 15 minutes from July 2016 to June 2018.

    Parameters
    ----------
    root : path, optional
        The folder that holds ``ett/ETTm1.csv``; by default see `rnnlab.data.files.folders`.

    Returns
    -------
    MultivariateSeries
        ``.values`` (69680, 7), ``.columns`` ``("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")``, ``.dates``,
        and the parts ``.train``, ``.valid``, ``.test``. Nothing is standardized: see `standardize`.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DataError
        It is malformed: the message names the line.

    Notes
    -----
    The parts are those of Informer, 12, 4 and 4 months of 30 days: 34,560, 11,520 and 11,520 rows; the last 12,080
    rows are in none. There, the context of the first window to validate on reaches back into the part before, so
    that all of a part is forecast: ``values[34560 - context : 46080]``.

    References
    ----------
    H. Zhou et al., Informer: beyond efficient transformer for long sequence time-series forecasting, AAAI 2021.

    Examples
    --------
    >>> import rnnlab.data
    >>> data = rnnlab.data.ettm1()  # doctest: +SKIP
    >>> data.values.shape, data.columns[-1], data.dates[0]  # doctest: +SKIP
    ((69680, 7), 'OT', numpy.datetime64('2016-07-01T00:00'))
    >>> train, valid = rnnlab.data.standardize(data.train, data.valid)  # doctest: +SKIP
    >>> x, y = rnnlab.data.series_windows(train, context=96, horizon=24)  # doctest: +SKIP
    """
    path = find("ett/ETTm1.csv", root)
    header, *lines = read_text(path).split("\n")
    if header != HEADER:
        raise malformed(path, 1, f"found {short(header)}; must be {HEADER!r}")
    rows = [line.split(",") for line in lines[:-1]]
    _check_rows(path, rows)
    if not lines or lines[-1]:
        raise malformed(path, len(lines) + 1, "the file ends inside a line; every line must end with a newline")
    dates, values = _dates(path, rows), _values(path, rows)
    if len(rows) != ROWS:
        raise malformed(path, None, f"found {len(rows)} lines behind the header; must be {ROWS}")
    return MultivariateSeries(values, COLUMNS, dates)


def _check_rows(path: Path, rows: list[list[str]]) -> None:
    for k, row in enumerate(rows, 2):
        if len(row) != 1 + len(COLUMNS):
            raise malformed(path, k, f"found {len(row)} fields; must be {1 + len(COLUMNS)}, separated by commas")
        if not DATE.fullmatch(row[0]):
            raise malformed(path, k, f"found the date {short(row[0])}; must look like '2016-07-01 00:15:00'")


def _dates(path: Path, rows: list[list[str]]) -> np.ndarray:
    written = [row[0] for row in rows]
    try:
        seconds = np.array(written, "datetime64[s]")
    except ValueError:
        k, date = next((k, date) for k, date in enumerate(written, 2) if not _is_date(date))
        raise malformed(path, k, f"found {short(date)}, which is no date and time of day") from None
    due = np.datetime64("2016-07-01T00:00:00") + QUARTER * np.arange(len(seconds))
    wrong = np.flatnonzero(seconds != due)
    if wrong.size:
        at = int(wrong[0])
        raise malformed(path, at + 2, f"found the date {written[at]}; must be {str(due[at]).replace('T', ' ')}")
    return seconds.astype("datetime64[m]")


def _is_date(date: str) -> bool:
    try:
        np.datetime64(date, "s")
    except ValueError:
        return False
    return True


def _values(path: Path, rows: list[list[str]]) -> np.ndarray:
    values = numbers([field for row in rows for field in row[1:]]).reshape(len(rows), len(COLUMNS))
    wrong = np.argwhere(np.isnan(values))
    if wrong.size:
        row, column = wrong[0].tolist()
        problem = f"found {short(rows[row][1 + column])} as {COLUMNS[column]}; must be a finite number"
        raise malformed(path, row + 2, problem)
    return values


def series_windows(
    values: np.ndarray,
    context: int,
    horizon: int,
    stride: int = 1,
    target: int | Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a series into windows of `context` steps to read, each with the `horizon` steps behind it to forecast.

    Window n starts at row ``s = n * stride``::

        x[:, n] = values[s : s + context]
        y[:, n] = values[s + context : s + context + horizon, target]

    Parameters
    ----------
    values : numpy.ndarray, shape (rows, D)
        Or (rows,), which is taken as D = 1.
    context, horizon : int
        T and how many steps are forecast.
    stride : int
        Rows from the start of a window to that of the next.
    target : int, sequence of int, or None
        Which of the D variables are forecast, K in number; by default all.

    Returns
    -------
    x : numpy.ndarray, shape (T, N, D)
    y : numpy.ndarray, shape (horizon, N, K)
        A batch for ``Forecaster(recurrent, horizon, num_targets=K)``. Both are read-only views of `values`, however
        many windows overlap; with a sequence as `target`, y is a copy.

    Raises
    ------
    ValueError
        The series is too short for one window, or a parameter is out of range.

    Examples
    --------
    >>> import numpy as np, rnnlab.data
    >>> x, y = rnnlab.data.series_windows(np.arange(7.0), context=3, horizon=2, stride=2)
    >>> x[:, :, 0], y[:, :, 0]
    (array([[0., 2.],
           [1., 3.],
           [2., 4.]]), array([[3., 5.],
           [4., 6.]]))
    """
    for name, number in (("context", context), ("horizon", horizon), ("stride", stride)):
        if number < 1:
            raise ValueError(f"{name} must be positive; got {number}")
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2:
        raise ValueError(f"values must have shape (rows, D); got {values.shape}")
    size = context + horizon
    if len(values) < size:
        raise ValueError(f"values has {len(values)} rows; a window of context + horizon needs {size}")
    chosen = _chosen(target, values.shape[1])
    windows = np.lib.stride_tricks.sliding_window_view(values, size, axis=0)[::stride].transpose(2, 0, 1)
    return windows[:context], windows[context:, :, chosen]


def _chosen(target: int | Sequence[int] | None, D: int) -> Any:
    """Return what picks the target variables and keeps their axis."""
    if target is None:
        return slice(None)
    columns = np.atleast_1d(np.asarray(target))
    if columns.dtype.kind not in "iu" or columns.ndim != 1 or ((columns < 0) | (columns >= D)).any():
        raise ValueError(f"target must be integers from 0 to {D - 1}; got {target!r}")
    return slice(columns[0], columns[0] + 1) if columns.size == 1 else columns


def standardize(train: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """Shift and scale each variable so that it has mean 0 and standard deviation 1 on `train`.

    With mean and std along the rows of `train`, which alone the scaling may know::

        result = (values - mean) / std

    Parameters
    ----------
    train, *others : numpy.ndarray, shape (rows, D)

    Returns
    -------
    tuple of numpy.ndarray
        `train` and the others, scaled alike.

    Raises
    ------
    ValueError
        A variable is constant on `train`, or not finite.

    Examples
    --------
    >>> import numpy as np, rnnlab.data
    >>> rnnlab.data.standardize(np.array([[1.0], [3.0]]), np.array([[4.0]]))
    (array([[-1.],
           [ 1.]]), array([[2.]]))
    """
    if train.ndim != 2 or not len(train):
        raise ValueError(f"train must have shape (rows, D) with at least one row; got {train.shape}")
    # Equal numbers are found by comparing: their std may come out as a rounding error instead of 0.
    usable = np.isfinite(train).all(axis=0) & (train != train[0]).any(axis=0)
    train_or_0 = np.where(usable, train, 0)
    mean, std = train_or_0.mean(axis=0), train_or_0.std(axis=0)
    wrong = np.flatnonzero(std == 0)
    if wrong.size:
        raise ValueError(f"train must be finite and vary in every column; column {wrong[0]} does not")
    return tuple((values - mean) / std for values in (train, *others))
