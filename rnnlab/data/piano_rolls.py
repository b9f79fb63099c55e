"""Polyphonic music as piano rolls: at every step, which of the 88 keys sound."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnlab.backend import Array, namespace
from rnnlab.data.files import find, malformed, read_npz

__all__ = ["KEYS", "PARTS", "PianoRolls", "convert_matlab", "pad", "piano_rolls"]

KEYS = 88
PARTS = ("train", "valid", "test")
FILES = {"nottingham": "music/Nottingham.npz", "jsb": "music/JSB_Chorales.npz"}


class PianoRolls(NamedTuple):
    """The pieces of the three parts.

    Attributes
    ----------
    train, valid, test : list of numpy.ndarray, each of shape (T, 88), uint8
        1 where a key sounds; column j is MIDI note 21 + j. Pieces differ in T: `pad` joins several into a batch.
    """

    train: list[np.ndarray]
    valid: list[np.ndarray]
    test: list[np.ndarray]


def piano_rolls(name: str, root: str | os.PathLike[str] | None = None) -> PianoRolls:
    """Return a set of polyphonic music.

    Parameters
    ----------
    name : {"nottingham", "jsb"}
        1,037 folk tunes, of 40 to 1,793 steps; or 382 chorales of J. S. Bach.
    root : path, optional
        The folder that holds ``music/``; by default the one that ``RNNLAB_DATA`` names, then that of
        ``rnnlab data fetch music``.

    Returns
    -------
    PianoRolls

    Raises
    ------
    ValueError
        There is no such set.
    FileNotFoundError
        Its file is not there.
    DataError
        The file is malformed.

    Notes
    -----
    The file is an ``.npz`` with six arrays: ``train_roll``, uint8 of shape (steps of all pieces, 88), the pieces one
    after the other, ``train_lengths``, the steps of each piece, and the same for ``valid`` and ``test``.
    Papers that speak of 93 or 96 notes count from MIDI note 1; the columns that they have more are all 0.

    References
    ----------
    N. Boulanger-Lewandowski, Y. Bengio, P. Vincent, Modeling temporal dependencies in high-dimensional sequences,
    ICML 2012.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, rnnlab.data
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "music").mkdir()
    >>> arrays = {}
    >>> for part in ("train", "valid", "test"):
    ...     arrays[f"{part}_roll"] = np.zeros((7, 88), np.uint8)
    ...     arrays[f"{part}_lengths"] = np.array([3, 4])
    >>> np.savez(folder / "music" / "JSB_Chorales.npz", **arrays)
    >>> [piece.shape for piece in rnnlab.data.piano_rolls("jsb", folder).train]
    [(3, 88), (4, 88)]
    """
    if name not in FILES:
        raise ValueError(f"name must be one of {', '.join(FILES)}; got {name!r}")
    path = find(FILES[name], root)
    arrays = read_npz(path)
    return PianoRolls(*(_pieces(arrays, part, path) for part in PARTS))


def _pieces(arrays: dict[str, np.ndarray], part: str, path: Path) -> list[np.ndarray]:
    for key in (f"{part}_roll", f"{part}_lengths"):
        if key not in arrays:
            raise malformed(path, None, f"has no array {key}; found {', '.join(sorted(arrays)) or 'none'}"[:200])
    roll, lengths = arrays[f"{part}_roll"], arrays[f"{part}_lengths"]
    if roll.dtype != np.uint8 or roll.ndim != 2 or roll.shape[1] != KEYS:
        problem = f"{part}_roll must be uint8 of shape (steps, {KEYS}); got {roll.dtype} of shape {roll.shape}"
        raise malformed(path, None, problem)
    if not np.issubdtype(lengths.dtype, np.integer) or lengths.ndim != 1 or not lengths.size or lengths.min() < 1:
        problem = f"{part}_lengths must be one or more integers from 1 on; got {lengths.dtype} of shape {lengths.shape}"
        raise malformed(path, None, problem)
    total = sum(lengths.tolist())  # in Python, where no sum overflows
    if total != len(roll):
        raise malformed(path, None, f"{part}_lengths sum to {total}, but {part}_roll has {len(roll)} steps")
    _check_binary(roll, part, path)
    return np.split(roll, np.cumsum(lengths[:-1], dtype=np.int64))


def _check_binary(roll: np.ndarray, part: str, path: Path) -> None:
    wrong = np.argwhere(roll > 1)
    if wrong.size:
        t, key = wrong[0].tolist()
        raise malformed(path, None, f"{part}_roll must hold 0 and 1; got {roll[t, key]} at step {t}, key {key}")


def pad(sequences: Sequence[Array]) -> tuple[Array, Array]:
    """Return sequences of different lengths as one batch, filled up with zeros.

    Parameters
    ----------
    sequences : sequence of N arrays, each of shape (T_n, D)

    Returns
    -------
    x : array, shape (T, N, D)
        T is the largest of the T_n; the dtype is that of the first sequence.
    lengths : array of int64, shape (N,)

    Raises
    ------
    ValueError
        There is no sequence, or their D differ.

    Examples
    --------
    >>> import numpy as np, rnnlab.data
    >>> x, lengths = rnnlab.data.pad([np.ones((2, 3)), np.ones((4, 3))])
    >>> x.shape, x[:, 0, 0], lengths
    ((4, 2, 3), array([1., 1., 0., 0.]), array([2, 4]))
    """
    if len(sequences) == 0:
        raise ValueError("sequences must hold at least one array; got none")
    first = sequences[0]
    for n, sequence in enumerate(sequences):
        if sequence.ndim != 2 or sequence.shape[1:] != first.shape[1:]:
            wanted = f"(T, {first.shape[1]})" if first.ndim == 2 else "(T, D)"
            raise ValueError(f"sequences must all have shape {wanted}; got {sequence.shape} at {n}")
    xp = namespace(**{f"sequences[{n}]": sequence for n, sequence in enumerate(sequences)})
    lengths = [len(sequence) for sequence in sequences]
    x = xp.zeros((max(lengths), len(sequences), first.shape[1]), first.dtype)
    for n, sequence in enumerate(sequences):
        x[: lengths[n], n] = sequence
    return x, xp.asarray(lengths, dtype=xp.int64)


def convert_matlab(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Turn a MATLAB file of piano rolls, as they are found on the net, into the ``.npz`` of `piano_rolls`.

    Parameters
    ----------
    source : path
        A ``.mat`` file with ``traindata``, ``validdata`` and ``testdata``: cells of (T, 88) matrices.
    target : path
        The ``.npz`` file to write; an older one is replaced only when all is written.

    Raises
    ------
    ModuleNotFoundError
        SciPy, which reads MATLAB files, is not installed.
    """
    from scipy.io import loadmat

    cells = loadmat(source)
    arrays: dict[str, Any] = {}
    for part in PARTS:
        pieces = list(cells[f"{part}data"].ravel())
        arrays[f"{part}_roll"] = np.concatenate(pieces).astype(np.uint8)
        arrays[f"{part}_lengths"] = np.array([len(piece) for piece in pieces], np.int32)
    part_file = Path(target).with_name(f".{Path(target).name}.{os.getpid()}.part")
    try:
        with part_file.open("wb") as file:
            np.savez_compressed(file, **arrays)
        part_file.replace(target)
    finally:
        part_file.unlink(missing_ok=True)
