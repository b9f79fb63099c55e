"""Where mini-batches come from: sources that `rnnlab.fit` draws an epoch at a time.

A source holds data and sizes, and nothing that changes. ``epoch(rng)`` draws all that is random about an epoch at
once; after that batch k can be asked for directly. So a training is put back in its place by the generator as it
was when the epoch began and the number k, without going through the batches before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

__all__ = ["Drawn", "Epoch", "Rolls", "Sequences", "Source", "Streams", "Windows"]

Batch = tuple[Any, ...]


class Epoch:
    """One pass over the data, in the order drawn for it: ``epoch[k]`` is made when it is asked for.

    Parameters
    ----------
    count : int
        How many batches there are.
    make : callable
        ``make(k)`` returns ``(batch, anew)``; ``anew`` says that the recurrent state starts at zero here.

    Examples
    --------
    >>> epoch = Epoch(2, lambda k: ((10 * k,), k == 0))
    >>> len(epoch), epoch[1], list(epoch)
    (2, ((10,), False), [((0,), True), ((10,), False)])
    """

    def __init__(self, count: int, make: Callable[[int], tuple[Batch, bool]]) -> None:
        self.count, self.make = count, make

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, k: int) -> tuple[Batch, bool]:
        if not 0 <= k < self.count:
            raise IndexError(f"batch must be from 0 to {self.count - 1}; got {k}")
        return self.make(k)


class Source(Protocol):
    """What `rnnlab.fit` asks of training and validation data.

    Attributes
    ----------
    carries_state : bool
        Whether a batch continues the one before it: truncated BPTT.
    """

    carries_state: bool

    def __len__(self) -> int:
        """Return how many batches an epoch has."""

    def epoch(self, rng: np.random.Generator) -> Any:
        """Return an epoch: ``epoch[k]`` is ``(batch, anew)``, the same whenever the generator was in the same state."""

    def weight(self, batch: Batch) -> int:
        """Return how many entries the loss of a batch is the mean of."""


class Streams:
    """Chunks of one long sequence of tokens, for `rnnlab.models.LanguageModel`; batch k + 1 continues batch k.

    The tokens are cut into N contiguous streams of ``L = K // N`` tokens, and these into chunks of T steps, each
    target being the next input. An epoch begins with a state of zeros. The fewer than N tokens left over are dropped;
    the last chunk may be shorter.

    Parameters
    ----------
    tokens : array of integers, shape (K,)
        May be a `numpy.memmap`: only the batch asked for is read.
    batch_size : int
        N.
    length : int
        T.

    Raises
    ------
    ValueError
        The tokens are no integers along one axis, or too few for every stream to have two.

    Examples
    --------
    >>> import numpy as np
    >>> source = Streams(np.arange(10), batch_size=2, length=3)
    >>> (inputs, targets), anew = source.epoch(np.random.default_rng(0))[0]
    >>> inputs.T, targets.T, anew, len(source)
    (array([[0, 1, 2],
           [5, 6, 7]]), array([[1, 2, 3],
           [6, 7, 8]]), True, 2)
    """

    carries_state = True

    def __init__(self, tokens: Any, batch_size: int, length: int) -> None:
        _positive(batch_size=batch_size, length=length)
        if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
            raise ValueError(
                f"tokens must be integers along one axis; got shape {tuple(tokens.shape)} of dtype {tokens.dtype}"
            )
        self.tokens, self.batch_size, self.length = tokens, batch_size, length
        self.steps = len(tokens) // batch_size - 1  # of every stream; its last token is only a target
        if self.steps < 1:
            raise ValueError(
                f"tokens must be at least {2 * batch_size}, two for each of {batch_size} streams; got {len(tokens)}"
            )

    def __len__(self) -> int:
        return -(-self.steps // self.length)

    def epoch(self, rng: np.random.Generator) -> Epoch:
        """Return the chunks in their order; nothing is drawn."""
        return Epoch(len(self), lambda k: (self._chunk(k), k == 0))

    def _chunk(self, k: int) -> Batch:
        begin = k * self.length
        end = min(begin + self.length, self.steps) + 1
        firsts = range(0, self.batch_size * (self.steps + 1), self.steps + 1)
        chunk = np.stack([self.tokens[first + begin : first + end] for first in firsts], axis=1).astype(np.int64)
        return chunk[:-1], chunk[1:]

    def weight(self, batch: Batch) -> int:
        """Return the number of targets."""
        return int(batch[1].size)


class Sequences:
    """Labelled sequences, for `rnnlab.models.SequenceClassifier`.

    Parameters
    ----------
    x : array, shape (T, N, D)
    y : array of integers, shape (N,)
    batch_size : int
        The last batch of an epoch may be smaller.
    lengths : integers, shape (N,), optional
        A batch is cut off after its longest sequence.
    shuffle : bool
        Whether every epoch has an order of its own.

    Raises
    ------
    ValueError
        A shape does not fit, or a length is not from 0 to T.

    Examples
    --------
    >>> import numpy as np
    >>> source = Sequences(np.zeros((5, 3, 1)), np.array([0, 1, 0]), 2, lengths=[2, 4, 5], shuffle=False)
    >>> (x, y, lengths), anew = source.epoch(np.random.default_rng(0))[0]
    >>> x.shape, y, lengths, anew, len(source)
    ((4, 2, 1), array([0, 1]), array([2, 4]), True, 2)
    """

    carries_state = False

    def __init__(self, x: Any, y: Any, batch_size: int, lengths: Any = None, shuffle: bool = True) -> None:
        _positive(batch_size=batch_size)
        if x.ndim != 3 or x.shape[1] < 1:
            raise ValueError(f"x must have shape (T, N >= 1, D); got {tuple(x.shape)}")
        T, N, _ = x.shape
        if y.shape != (N,):
            raise ValueError(f"y must have shape (N,) = ({N},); got {tuple(y.shape)}")
        if lengths is not None:
            lengths = np.asarray(lengths)
            if lengths.shape != (N,) or lengths.dtype.kind not in "iu" or lengths.min() < 0 or lengths.max() > T:
                raise ValueError(f"lengths must be {N} integers from 0 to T = {T}; got {lengths}")
        self.x, self.y, self.lengths, self.batch_size, self.shuffle = x, y, lengths, batch_size, shuffle

    def __len__(self) -> int:
        return -(-len(self.y) // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Epoch:
        """Draw the order of the sequences."""
        order = _order(rng, len(self.y), self.shuffle)
        return Epoch(len(self), lambda k: (self._batch(_part(order, k, self.batch_size)), True))

    def _batch(self, chosen: np.ndarray) -> Batch:
        if self.lengths is None:
            return self.x[:, chosen], self.y[chosen], None
        lengths = self.lengths[chosen]
        return self.x[: max(1, lengths.max()), chosen], self.y[chosen], lengths

    def weight(self, batch: Batch) -> int:
        """Return the number of sequences."""
        return len(batch[1])


class Windows:
    """Windows of a series to read, with what follows to forecast, for `rnnlab.models.Forecaster`.

    Window n starts at row ``s = n * stride``; ``x`` is ``values[s : s + T]``, ``y`` the ``horizon`` rows after it. They
    are cut when they are asked for: the series is never copied whole.

    Parameters
    ----------
    values : array, shape (rows, D)
    context, horizon : int
        T, and how many steps are forecast.
    batch_size : int
        The last batch of an epoch may be smaller.
    target : int, sequence of int, or None
        Which of the D variables are forecast; None means all.
    shuffle : bool
        Whether every epoch has an order of its own.
    stride : int

    Raises
    ------
    ValueError
        The series is too short for one window, or a target is none of its variables.

    Examples
    --------
    >>> import numpy as np
    >>> source = Windows(np.arange(12.0).reshape(6, 2), 3, 2, batch_size=8, target=1, shuffle=False)
    >>> (x, y), anew = source.epoch(np.random.default_rng(0))[0]
    >>> x.shape, y[:, :, 0]
    ((3, 2, 2), array([[ 7.,  9.],
           [ 9., 11.]]))
    """

    carries_state = False

    def __init__(
        self,
        values: Any,
        context: int,
        horizon: int,
        batch_size: int,
        target: int | Sequence[int] | None = None,
        shuffle: bool = True,
        stride: int = 1,
    ) -> None:
        _positive(context=context, horizon=horizon, batch_size=batch_size, stride=stride)
        if values.ndim != 2 or len(values) < context + horizon:
            raise ValueError(
                f"values must have shape (rows >= {context + horizon}, D), one window of context + horizon at least; "
                f"got {tuple(values.shape)}"
            )
        D = values.shape[1]
        self.columns = np.arange(D) if target is None else np.atleast_1d(target)
        if self.columns.dtype.kind not in "iu" or not ((0 <= self.columns) & (self.columns < D)).all():
            raise ValueError(f"target must be of the variables 0 to {D - 1}; got {target!r}")
        self.values, self.context, self.horizon = values, context, horizon
        self.batch_size, self.shuffle, self.stride = batch_size, shuffle, stride
        self.count = (len(values) - context - horizon) // stride + 1

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Epoch:
        """Draw the order of the windows."""
        order = _order(rng, self.count, self.shuffle)
        return Epoch(len(self), lambda k: (self._batch(_part(order, k, self.batch_size)), True))

    def _batch(self, chosen: np.ndarray) -> Batch:
        rows = chosen * self.stride + np.arange(self.context + self.horizon)[:, None]
        read, forecast = rows[: self.context], rows[self.context :]
        return self.values[read], self.values[forecast[:, :, None], self.columns]

    def weight(self, batch: Batch) -> int:
        """Return the number of windows."""
        return int(batch[1].shape[1])


class Rolls:
    """Piano rolls of different lengths, for `rnnlab.models.PianoRollModel`, padded with zeros to the batch's longest.

    The rolls of a batch are of nearly the same length: they are sorted by it and dealt out in this order.

    Parameters
    ----------
    rolls : sequence of arrays, each of shape (T_i, K)
        Of at least two frames, one to read and one to predict.
    batch_size : int
        One batch of an epoch may be smaller.
    shuffle : bool
        Whether every epoch has the batches in an order of its own, and rolls of one length dealt anew.

    Raises
    ------
    ValueError
        There is no roll, or a roll has another K than the first or fewer than two frames.

    Examples
    --------
    >>> import numpy as np
    >>> source = Rolls([np.ones((T, 88)) for T in (3, 9, 4)], batch_size=2, shuffle=False)
    >>> [(roll.shape, lengths.tolist()) for (roll, lengths), anew in source.epoch(np.random.default_rng(0))]
    [((4, 2, 88), [3, 4]), ((9, 1, 88), [9])]
    """

    carries_state = False

    def __init__(self, rolls: Sequence[Any], batch_size: int, shuffle: bool = True) -> None:
        _positive(batch_size=batch_size)
        if len(rolls) == 0:
            raise ValueError("rolls must hold at least one roll; got none")
        for i, roll in enumerate(rolls):
            if roll.ndim != 2 or len(roll) < 2 or roll.shape[1] != rolls[0].shape[1]:
                raise ValueError(f"rolls must have shape (T >= 2, K), of one K; got {tuple(roll.shape)} at {i}")
        self.rolls, self.batch_size, self.shuffle = rolls, batch_size, shuffle
        self.lengths = np.array([len(roll) for roll in rolls])

    def __len__(self) -> int:
        return -(-len(self.rolls) // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Epoch:
        """Draw the order of the batches, and of rolls of one length."""
        order = _order(rng, len(self.rolls), self.shuffle)
        order = order[np.argsort(self.lengths[order], kind="stable")]
        buckets = _order(rng, len(self), self.shuffle)
        return Epoch(len(self), lambda k: (self._batch(_part(order, buckets[k], self.batch_size)), True))

    def _batch(self, chosen: np.ndarray) -> Batch:
        lengths = self.lengths[chosen]
        dtype = self.rolls[0].dtype if self.rolls[0].dtype.kind == "f" else np.float32  # booleans become numbers
        batch = np.zeros((lengths.max(), len(chosen), self.rolls[0].shape[1]), dtype)
        for n, i in enumerate(chosen):
            batch[: lengths[n], n] = self.rolls[i]
        return batch, lengths

    def weight(self, batch: Batch) -> int:
        """Return the number of frames predicted: of each roll all but the first."""
        return int((batch[1] - 1).sum())


class Drawn:
    """Batches drawn afresh, such as those of the synthetic tasks: none is seen twice.

    Parameters
    ----------
    draw : callable
        ``draw(rng)`` returns a batch, always of the same size.
    num_batches : int
        What is called an epoch.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> source = Drawn(lambda rng: rl.data.adding(rng, num_sequences=4, length=10), num_batches=5)
    >>> (x, y), anew = source.epoch(np.random.default_rng(0))[3]
    >>> x.shape, y.shape, anew
    ((10, 4, 2), (1, 4, 1), True)
    """

    carries_state = False

    def __init__(self, draw: Callable[[np.random.Generator], Batch], num_batches: int) -> None:
        _positive(num_batches=num_batches)
        self.draw, self.num_batches = draw, num_batches

    def __len__(self) -> int:
        return self.num_batches

    def epoch(self, rng: np.random.Generator) -> Epoch:
        """Draw the seed that the batches of this epoch have in common."""
        seed = int(rng.integers(2**63))
        return Epoch(len(self), lambda k: (self.draw(np.random.default_rng([seed, k])), True))

    def weight(self, batch: Batch) -> int:
        """Return 1: all batches count alike."""
        return 1


def _order(rng: np.random.Generator, count: int, shuffle: bool) -> np.ndarray:
    return rng.permutation(count) if shuffle else np.arange(count)


def _part(order: np.ndarray, k: int, size: int) -> np.ndarray:
    return order[k * size : (k + 1) * size]


def _positive(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name} must be positive; got {value}")
