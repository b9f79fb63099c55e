"""Text for language models: characters to numbers, and a long sequence cut into batches that continue each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rnnlab.backend import Array

__all__ = ["Vocabulary", "split", "streams", "windows"]


class Vocabulary:
    """The distinct characters of a text, sorted by code point: character k of them has the number k.

    Parameters
    ----------
    text : str
        Any text; repeated characters count once.

    Attributes
    ----------
    characters : str

    Raises
    ------
    ValueError
        The text is empty.

    Examples
    --------
    >>> import rnnlab.data
    >>> vocabulary = rnnlab.data.Vocabulary("banana")
    >>> len(vocabulary), vocabulary.characters
    (3, 'abn')
    >>> vocabulary.encode("nab")
    array([2, 0, 1])
    >>> vocabulary.decode([1, 0, 2])
    'ban'
    """

    def __init__(self, text: str) -> None:
        self._codes = np.unique(_code_points(text))
        if not self._codes.size:
            raise ValueError("text must hold at least one character; got ''")
        self.characters = _characters(self._codes)

    def __len__(self) -> int:
        return len(self.characters)

    def __repr__(self) -> str:
        return f"Vocabulary({self.characters!r})"

    def encode(self, text: str) -> np.ndarray:
        """Return the number of each character: integers from 0 to ``len(self) - 1``.

        Raises
        ------
        ValueError
            A character is not in the vocabulary; the error names the first and where it stands.
        """
        codes = _code_points(text)
        ids = np.searchsorted(self._codes, codes)
        # A code beyond the last would be put at the end, where there is nothing to compare with.
        unknown = np.flatnonzero(self._codes[np.minimum(ids, len(self) - 1)] != codes)
        if unknown.size:
            at = int(unknown[0])
            line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
            raise ValueError(
                f"text holds {text[at]!r} at index {at} (line {line}, column {column}), "
                f"which is not among the {len(self)} characters of the vocabulary"
            )
        return ids

    def decode(self, ids: Any) -> str:
        """Return the text of a sequence of numbers.

        Parameters
        ----------
        ids : sequence of integers, or NumPy array of one axis

        Raises
        ------
        ValueError
            The numbers are no integers, have more than one axis, or one is no character's.
        """
        numbers = np.asarray(ids)
        if numbers.size == 0:
            return ""
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            raise ValueError(f"ids must be integers along one axis; got shape {numbers.shape} of dtype {numbers.dtype}")
        wrong = np.flatnonzero((numbers < 0) | (numbers >= len(self)))
        if wrong.size:
            at = wrong[0]
            raise ValueError(f"ids must be from 0 to {len(self) - 1}; got {numbers[at]} at index {at}")
        return _characters(self._codes[numbers])


def _code_points(text: str) -> np.ndarray:
    # A lone surrogate is a character of a Python string as good as any other.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _characters(codes: np.ndarray) -> str:
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def split(array: Array, fractions: Sequence[float] = (0.9, 0.1)) -> tuple[Array, ...]:
    """Cut a sequence into consecutive parts, the past first: train, then validation, then test.

    Parameters
    ----------
    array : Array, shape (length, ...)
        Or anything else with a length and slices, such as a str.
    fractions : sequence of float
        The share of each part; positive, of sum 1. A part ends at its cumulative share of the length, rounded.

    Returns
    -------
    tuple
        The parts, views where the array gives views. Nothing is shuffled and nothing is dropped.

    Raises
    ------
    ValueError
        The fractions are not as above, or a part would be empty.

    Examples
    --------
    >>> import numpy as np, rnnlab.data
    >>> rnnlab.data.split(np.arange(10), (0.7, 0.2, 0.1))
    (array([0, 1, 2, 3, 4, 5, 6]), array([7, 8]), array([9]))
    """
    shares = np.array(fractions, dtype=float)
    if shares.ndim != 1 or not (shares > 0).all() or not np.isclose(shares.sum(), 1):
        raise ValueError(f"fractions must be positive and add up to 1; got {tuple(fractions)}")
    ends = [round(len(array) * share) for share in np.cumsum(shares)]
    parts = [array[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    if any(len(part) == 0 for part in parts):
        raise ValueError(f"array has {len(array)} items, too few for parts of {tuple(fractions)}: one is empty")
    return tuple(parts)


def streams(tokens: Array, batch_size: int) -> Array:
    """Cut one long sequence into ``batch_size`` parallel streams, each a contiguous piece of it.

    Parameters
    ----------
    tokens : Array, shape (K,)
    batch_size : int
        N, how many sequences a batch has.

    Returns
    -------
    Array, shape (K // N, N)
        Column n holds the n-th piece. The fewer than N tokens left at the end are dropped.

    Raises
    ------
    ValueError
        ``tokens`` has more than one axis, or too few tokens for every stream to have two: one to read and one to
        predict.

    Examples
    --------
    >>> import numpy as np, rnnlab.data
    >>> rnnlab.data.streams(np.arange(7), 2)
    array([[0, 3],
           [1, 4],
           [2, 5]])
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be positive; got {batch_size}")
    if tokens.ndim != 1:
        raise ValueError(f"tokens must have one axis; got shape {tuple(tokens.shape)}")
    length = tokens.size // batch_size
    if length < 2:
        raise ValueError(
            f"there are {tokens.size} tokens; {batch_size} streams need at least {2 * batch_size}, two each"
        )
    return tokens[: length * batch_size].reshape(batch_size, length).T.copy()


def windows(streams: Array, length: int) -> Iterator[tuple[Array, Array]]:
    """Iterate over batches ``(inputs, targets)`` for a language model, each continuing the one before.

    With s the streams, the k-th batch is ``inputs = s[k*length : (k+1)*length]`` and
    ``targets = s[k*length + 1 : (k+1)*length + 1]``: every token but the first is predicted once. Because batches
    continue each other, the final state of one is the initial state of the next.

    Parameters
    ----------
    streams : Array, shape (L, N)
        As from `rnnlab.data.streams`.
    length : int
        T, steps of a window.

    Returns
    -------
    iterator of (Array, Array), each of shape (T, N)
        Views of ``streams``. The last window is shorter when T does not divide L - 1, so a mean over all tokens
        weighs each batch by its size.

    Raises
    ------
    ValueError
        At the call: the streams are too short for one whole window.

    Examples
    --------
    >>> import numpy as np, rnnlab.data
    >>> for inputs, targets in rnnlab.data.windows(np.arange(6)[:, None], 3):
    ...     print(inputs.ravel(), targets.ravel())
    [0 1 2] [1 2 3]
    [3 4] [4 5]
    """
    if length < 1:
        raise ValueError(f"length must be positive; got {length}")
    if streams.ndim != 2:
        raise ValueError(f"streams must have shape (steps, batch); got {tuple(streams.shape)}")
    L = streams.shape[0]
    if L < length + 1:
        raise ValueError(
            f"streams have {L} steps each; a window of length {length} needs at least {length + 1}: "
            "take a longer text, fewer streams or shorter windows"
        )
    starts = range(0, L - 1, length)
    return ((streams[t : min(t + length, L - 1)], streams[t + 1 : t + 1 + length]) for t in starts)
