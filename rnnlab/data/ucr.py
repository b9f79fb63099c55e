"""Labelled series of the UCR and UEA archives, from their ``.tsv`` and ``.ts`` files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnnlab.data.files import DataError, folders, malformed, read_lines, short

__all__ = ["LabelledSeries", "SeriesSet", "numbers", "ucr"]

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
CHARACTERS = frozenset(" +-.0123456789Ee")
FLAGS = ("timestamps", "missing", "univariate", "equallength", "targetlabel")
COUNTS = ("dimensions", "serieslength")
KEYS = ("problemname", "classlabel", "data", *FLAGS, *COUNTS)


@dataclass(frozen=True, eq=False, repr=False)
class LabelledSeries:
    """Series, each with a class.

    Attributes
    ----------
    x : numpy.ndarray of float64, shape (T, N, D)
        T is the length of the longest; behind the end of a shorter one stands 0.
    y : numpy.ndarray of integers, shape (N,)
        Classes, from 0 to ``len(classes) - 1``.
    lengths : numpy.ndarray of integers, shape (N,)
        Steps of each series.
    classes : numpy.ndarray, shape (C,)
        The file's own label of each class: ``classes[y]`` are the labels as the file has them.
    """

    x: np.ndarray
    y: np.ndarray
    lengths: np.ndarray
    classes: np.ndarray

    def __repr__(self) -> str:
        return f"LabelledSeries(x of shape {self.x.shape}, {len(self.classes)} classes)"


@dataclass(frozen=True, eq=False)
class SeriesSet:
    """A set of the archive, split as its authors split it.

    Attributes
    ----------
    train, test : LabelledSeries
        They may differ in T where the series differ in length.
    """

    train: LabelledSeries
    test: LabelledSeries

    @property
    def classes(self) -> np.ndarray:
        """The file's own label of each class, in ascending order."""
        return self.train.classes


class _Cases(NamedTuple):
    """What one file holds: of each case its line, its label as written, and its series (T_n, D)."""

    path: Path
    lines: list[int]
    labels: list[str]
    series: list[np.ndarray]

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(s) for s in self.series])


def ucr(name: str, root: str | os.PathLike[str] | None = None) -> SeriesSet:
    """Return a set of the UCR or UEA archive.

    Parameters
    ----------
    name : str
        Such as ``"Coffee"``.
    root : path, optional
        The folder that holds ``ucr/``, in which ``Coffee/Coffee_TRAIN.tsv`` and ``Coffee/Coffee_TEST.tsv`` lie, or
        both with the ending ``.ts``; by default see `rnnlab.data.files.folders`.

    Returns
    -------
    SeriesSet
        With ``.train`` and ``.test``, each with ``.x (T, N, D)``, ``.y (N,)`` and ``.lengths (N,)``, and with
        ``.classes``. Values are as in the file; many sets of the archive are standardized series by series, not all.

    Raises
    ------
    FileNotFoundError
        There is no such set; the message lists the nearest names.
    DataError
        A file is malformed; the message says which, in which line and how.

    Notes
    -----
    Classes are the labels that the training file uses, in ascending order of the numbers where all are numbers and
    as sorted text otherwise, in both formats, whatever the order in a header. A label that only the test file uses
    is an error; so is, in a ``.tsv`` file, a label that is no integer where most are.

    In a ``.tsv`` file, the label stands first and series shorter than the longest are padded at their end with NaN,
    as in the archive of 2018. Any other NaN, ``?``, or infinite number is an error, as nothing here fills gaps.

    References
    ----------
    H. A. Dau et al., The UCR time series archive, IEEE/CAA Journal of Automatica Sinica 6(6), 2019.
    A. Bagnall et al., The UEA multivariate time series classification archive, arXiv 1811.00075, 2018.

    Examples
    --------
    >>> import pathlib, tempfile, rnnlab.data
    >>> folder = tempfile.TemporaryDirectory()
    >>> place = pathlib.Path(folder.name, "ucr", "Steps")
    >>> place.mkdir(parents=True)
    >>> for part in "TRAIN", "TEST":
    ...     _ = (place / f"Steps_{part}.tsv").write_text("2\\t0\\t0\\t1\\n-1\\t1\\t0\\tNaN\\n")
    >>> data = rnnlab.data.ucr("Steps", root=folder.name)
    >>> data.train.x[:, :, 0].T, data.train.y, data.train.lengths, data.classes
    (array([[0., 0., 1.],
           [1., 0., 0.]]), array([1, 0]), array([3, 2]), array([-1,  2]))
    >>> folder.cleanup()
    """
    paths = _paths(name, root)
    read = _read_tsv if paths[0].suffix == ".tsv" else _read_ts
    train, test = (read(path) for path in paths)
    _check_alike(train, test)
    classes = _classes(train)
    return SeriesSet(_labelled(train, classes, train), _labelled(test, classes, train))


def numbers(fields: Sequence[str]) -> np.ndarray:
    """Return the finite decimal numbers that are written in `fields`, and NaN for whatever else is.

    Examples
    --------
    >>> from rnnlab.data.ucr import numbers
    >>> numbers(["-1.5", "2e3", "1e999", "0x1", "1_0", "?", ""])
    array([-1.5e+00,  2.0e+03,      nan,      nan,      nan,      nan,      nan])
    """
    if CHARACTERS.issuperset("".join(fields)):  # else float() would take "1_0", "infinity" and digits of any script
        try:
            values = np.array(list(map(float, fields)))
        except ValueError:
            pass
        else:
            return np.where(np.isfinite(values), values, np.nan)
    values = np.array([float(field) if NUMBER.fullmatch(field.strip(" ")) else np.nan for field in fields])
    return np.where(np.isfinite(values), values, np.nan)


def _paths(name: str, root: str | os.PathLike[str] | None) -> list[Path]:
    archives = [folder / "ucr" for folder in folders(root)]
    names = sorted({path.name for archive in archives if archive.is_dir() for path in archive.iterdir()})
    for archive in archives if name in names else []:
        for suffix in (".tsv", ".ts"):
            paths = [archive / name / f"{name}_{part}{suffix}" for part in ("TRAIN", "TEST")]
            missing = [path for path in paths if not path.is_file()]
            if not missing:
                return paths
            if len(missing) == 1:
                raise FileNotFoundError(f"there is no {missing[0]}, although the other half of {name} is there")
    raise _unknown(name, names, archives)


def _unknown(name: str, names: list[str], archives: list[Path]) -> FileNotFoundError:
    import difflib  # imported here because only this error needs it

    lower = {known.lower(): known for known in names}
    near = [lower[match] for match in difflib.get_close_matches(str(name).lower(), lower, n=5, cutoff=0.6)]
    looked = " or ".join(map(str, archives)) or "RNNLAB_DATA (not set)"
    if near:
        hint = f"the nearest there: {', '.join(near)}"
    else:
        hint = f"there are {len(names)} others" if names else "set RNNLAB_DATA to the folder that holds ucr/"
    return FileNotFoundError(f"there is no data set {name!r} in {looked}; {hint}")


def _read_tsv(path: Path) -> _Cases:
    rows = [line.split("\t") for line in read_lines(path)]
    if not rows:
        raise malformed(path, None, "is empty; every line must be a label and a series")
    series = []
    for k, row in enumerate(rows, 1):
        if len(row) < 2:
            raise malformed(path, k, f"found {short(row[0])}; must be a label and a series, separated by tabs")
        if len(row) != len(rows[0]):
            raise malformed(path, k, f"found {len(row) - 1} values; every line must have as many as line 1, which has "
                                     f"{len(rows[0]) - 1}")  # fmt: skip
        series.append(_tsv_series(path, k, row[1:]))
    return _Cases(path, list(range(1, len(rows) + 1)), [row[0].strip(" ") for row in rows], series)


def _tsv_series(path: Path, line: int, fields: list[str]) -> np.ndarray:
    length = len(fields)
    while length and fields[length - 1].strip(" ").lower() == "nan":
        length -= 1
    if not length:
        raise malformed(path, line, "found nothing but NaN; a series must have at least one value")
    values = numbers(fields[:length])
    wrong = np.flatnonzero(np.isnan(values))
    if wrong.size:
        at = int(wrong[0])
        raise malformed(path, line, f"found {short(fields[at])} in column {at + 2}; must be a finite number "
                                    "(NaN only as padding, behind the last value)")  # fmt: skip
    return values[:, None]


def _read_ts(path: Path) -> _Cases:
    lines = [line.strip() for line in read_lines(path)]
    while lines and not lines[-1]:
        lines.pop()
    header, start = _header(path, lines)
    dimensions, length, known = _dimensions(path, header), _length(path, header), _known_labels(path, header)
    cases = _Cases(path, [], [], [])
    for k, line in enumerate(lines[start:], start + 1):
        if line.startswith("#"):
            continue
        *parts, label = line.split(":")
        label = label.strip()
        if dimensions is None:
            dimensions = len(parts)
        if not parts or len(parts) != dimensions:
            raise malformed(path, k, f"found {len(parts)} dimensions before the label; must be {dimensions or 1}")
        if known is not None and label not in known:
            raise malformed(path, k, f"found the label {short(label)}; @classLabel allows {_listed(known)}")
        values = _ts_series(path, k, parts)
        if length == 0:
            length = len(values)
        if length not in (None, len(values)):
            raise malformed(path, k, f"found {len(values)} values; all series must have {length} (@equalLength)")
        cases.lines.append(k)
        cases.labels.append(label)
        cases.series.append(values)
    if not cases.lines:
        raise malformed(path, None, "holds no case behind @data")
    return cases


def _ts_series(path: Path, line: int, parts: list[str]) -> np.ndarray:
    fields = [part.split(",") for part in parts]
    lengths = [len(row) for row in fields]
    if len(set(lengths)) > 1:
        d = next(d for d, length in enumerate(lengths) if length != lengths[0])
        raise malformed(path, line, f"found {lengths[d]} values in dimension {d + 1}; must be {lengths[0]}, as in "
                                    "dimension 1")  # fmt: skip
    flat = [field for row in fields for field in row]
    values = numbers(flat)
    wrong = np.flatnonzero(np.isnan(values))
    if wrong.size:
        d, t = divmod(int(wrong[0]), lengths[0])
        raise malformed(path, line, f"found {short(fields[d][t])} as value {t + 1} of dimension {d + 1}; must be a "
                                    "finite number")  # fmt: skip
    return values.reshape(len(parts), -1).T


Header = dict[str, tuple[int, str]]  # line and value of each key


def _header(path: Path, lines: list[str]) -> tuple[Header, int]:
    """Return the header and how many lines it takes."""
    header: Header = {}
    for k, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        if not line.startswith("@"):
            raise malformed(path, k, f"found {short(line)}; before @data a line must begin with # or @")
        key, value = re.fullmatch(r"@(\S*)\s*(.*)", line).groups()  # type: ignore[union-attr]
        key = {"dimension": "dimensions"}.get(key.lower(), key.lower())
        if key not in KEYS:
            raise malformed(path, k, f"found {short('@' + key)}; allowed are @{', @'.join(KEYS)}")
        if key in header:
            raise malformed(path, k, f"found @{key} again; it stands in line {header[key][0]}")
        if key in FLAGS and value.lower() not in ("true", "false"):
            raise malformed(path, k, f"found @{key} {short(value)}; must be true or false")
        if key in COUNTS and not re.fullmatch(r"[1-9][0-9]{0,8}", value):
            raise malformed(path, k, f"found @{key} {short(value)}; must be a positive integer")
        header[key] = k, value
        if key == "data":
            return header, k
    raise malformed(path, None, "has no line @data")


def _flag(header: Header, key: str) -> bool | None:
    return header[key][1].lower() == "true" if key in header else None


def _dimensions(path: Path, header: Header) -> int | None:
    for key, what in (("timestamps", "series with time stamps"), ("targetlabel", "sets for regression")):
        if _flag(header, key):
            raise malformed(path, header[key][0], f"found @{key} true; {what} are not read here")
    given = int(header["dimensions"][1]) if "dimensions" in header else None
    if not _flag(header, "univariate"):
        return given
    if given not in (None, 1):
        raise malformed(path, header["dimensions"][0], f"found @dimensions {given}; @univariate true allows only 1")
    return 1


def _length(path: Path, header: Header) -> int | None:
    """Return the length of all series, 0 where all have that of the first, None where they may differ."""
    if _flag(header, "equallength") is False:
        return None
    if "serieslength" in header:
        return int(header["serieslength"][1])
    return 0 if _flag(header, "equallength") else None


def _known_labels(path: Path, header: Header) -> list[str] | None:
    if "classlabel" not in header:
        return None
    line, value = header["classlabel"]
    flag, *labels = value.split() or [""]
    if flag.lower() != "true" or not labels:
        raise malformed(path, line, f"found @classLabel {short(value)}; must be true and the labels")
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise malformed(path, line, f"found the label {short(twice)} twice; must be listed once")
    return labels


def _listed(labels: Sequence[object]) -> str:
    shown = [str(label)[:20] if str(label).isprintable() else short(label, 20) for label in labels[:8]]
    return ", ".join(shown) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")


def _check_alike(train: _Cases, test: _Cases) -> None:
    """Check what train and test must share: D, and T where all series of each have the same length."""
    (a, b), sizes = (train.lengths, test.lengths), [cases.series[0].shape[1] for cases in (train, test)]
    if sizes[0] != sizes[1]:
        raise malformed(test.path, test.lines[0], f"found {sizes[1]} dimensions; {train.path} has {sizes[0]}")
    if len(set(a)) == len(set(b)) == 1 and a[0] != b[0] and train.path.suffix == ".tsv":
        raise malformed(test.path, test.lines[0], f"found {b[0]} values in every line; {train.path} has {a[0]}")


def _classes(train: _Cases) -> np.ndarray:
    """Return the labels of the training file in ascending order: integers, else numbers, else text."""
    values = numbers(train.labels)
    text = np.isnan(values)
    whole = (values == np.rint(values)) & (np.abs(values) < 2**53)
    if train.path.suffix == ".tsv":  # its header, which there is none of, cannot vouch for labels that look odd
        usual = text if 2 * text.sum() > len(text) else whole
        if not usual.all():
            at = int(np.argmin(usual))
            allowed = "an integer" if usual is whole else "text"
            raise _wrong_label(train, at, f"must be {allowed}, as most labels here")
    if "" in train.labels:
        raise _wrong_label(train, train.labels.index(""), "must not be empty")
    if text.any():
        return np.unique(train.labels)
    return np.unique(values.astype(int) if whole.all() else values)


def _wrong_label(cases: _Cases, at: int, allowed: str) -> DataError:
    return malformed(cases.path, cases.lines[at], f"found the label {short(cases.labels[at])}; {allowed}")


def _labelled(cases: _Cases, classes: np.ndarray, train: _Cases) -> LabelledSeries:
    keys = cases.labels if classes.dtype.kind == "U" else numbers(cases.labels).tolist()
    number = {key: c for c, key in enumerate(classes.tolist())}
    for at, key in enumerate(keys):
        if key not in number:
            raise _wrong_label(cases, at, f"{train.path} has {_listed(classes.tolist())}")
    lengths = cases.lengths
    x = np.zeros((lengths.max(), len(keys), cases.series[0].shape[1]))
    for n, values in enumerate(cases.series):
        x[: len(values), n] = values
    return LabelledSeries(x, np.array([number[key] for key in keys]), lengths, classes)
