"""Tasks with a known answer that need a long memory, drawn from a Generator, as batches for `rnnlab.models`."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["adding", "copying", "temporal_order"]


def _check_least(**least: tuple[int, int]) -> None:
    for name, (value, smallest) in least.items():
        if value < smallest:
            raise ValueError(f"{name} must be at least {smallest}; got {value}")


def adding(
    rng: np.random.Generator, num_sequences: int, length: int, dtype: Any = np.float64
) -> tuple[np.ndarray, np.ndarray]:
    """Return a batch of the adding problem: of many numbers, two are marked; predict their sum.

    Channel 0 of x holds numbers drawn uniformly from [0, 1). Channel 1 is 1 at one step of the first half,
    ``t < T // 2``, and at one of the rest, and 0 elsewhere.

    Parameters
    ----------
    rng : numpy.random.Generator
    num_sequences : int
        N.
    length : int
        T, at least 2.
    dtype : dtype
        Of x and y.

    Returns
    -------
    x : numpy.ndarray, shape (T, N, 2)
    y : numpy.ndarray, shape (1, N, 1)
        The sums, shaped for ``Forecaster(recurrent, horizon=1, num_targets=1)``.

    Notes
    -----
    Who knows nothing says 1, the mean of the sum, and has a mean squared error of 1/6, the variance of a sum of two
    uniform numbers. A loss well below 1/6 shows that at least one mark was remembered; remembering only one
    of the two gives 1/12.

    References
    ----------
    S. Hochreiter, J. Schmidhuber, Long short-term memory, Neural Computation 9(8), 1997, experiment 4, in the form
    with one mark in each half and a fixed length of M. Arjovsky, A. Shah, Y. Bengio, Unitary evolution
    recurrent neural networks, ICML 2016. See also Q. Le, N. Jaitly, G. Hinton, arXiv 1504.00941, 2015.

    Examples
    --------
    >>> import numpy as np, rnnlab.data
    >>> x, y = rnnlab.data.adding(np.random.default_rng(0), num_sequences=3, length=10)
    >>> x.shape, y.shape, bool(np.allclose(y[0, :, 0], (x[..., 0] * x[..., 1]).sum(axis=0)))
    ((10, 3, 2), (1, 3, 1), True)
    """
    _check_least(num_sequences=(num_sequences, 1), length=(length, 2))
    x = np.zeros((length, num_sequences, 2), dtype)
    x[..., 0] = rng.random((length, num_sequences))
    n = np.arange(num_sequences)
    first = rng.integers(0, length // 2, num_sequences)
    second = rng.integers(length // 2, length, num_sequences)
    x[first, n, 1] = x[second, n, 1] = 1
    y = x[first, n, 0] + x[second, n, 0]
    return x, y.reshape(1, num_sequences, 1)


def copying(
    rng: np.random.Generator, num_sequences: int, length: int, num_symbols: int = 8, num_digits: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Return a batch of the copying problem: repeat some digits after a long delay.

    With K symbols, the blank is K and the marker K + 1; with S digits and a delay of L steps, one sequence is::

        inputs    S digits,  L - 1 blanks,  marker,  S blanks
        targets   S + L blanks,                      the S digits

    Parameters
    ----------
    rng : numpy.random.Generator
    num_sequences : int
        N.
    length : int
        L, the delay: how many steps pass between the last digit read and the first one asked for.
    num_symbols : int
        K, from how many symbols the digits are drawn.
    num_digits : int
        S.

    Returns
    -------
    inputs, targets : numpy.ndarray of integers, shape (L + 2*S, N)
        For ``LanguageModel(vocab_size=num_symbols + 2, ...)``.

    Notes
    -----
    Who knows nothing of the digits says blank with certainty while blanks are due and guesses evenly among K symbols
    after that: a mean cross entropy of ``S * log(K) / (L + 2*S)`` nats, which is ``10 * log(8) / (L + 20)`` by
    default.

    References
    ----------
    M. Arjovsky, A. Shah, Y. Bengio, Unitary evolution recurrent neural networks, ICML 2016; after
    S. Hochreiter, J. Schmidhuber, Long short-term memory, Neural Computation 9(8), 1997.

    Examples
    --------
    >>> import numpy as np, rnnlab.data
    >>> inputs, targets = rnnlab.data.copying(np.random.default_rng(0), 1, length=4, num_symbols=5, num_digits=3)
    >>> inputs[:, 0], targets[:, 0]
    (array([4, 3, 2, 5, 5, 5, 6, 5, 5, 5]), array([5, 5, 5, 5, 5, 5, 5, 4, 3, 2]))
    """
    _check_least(
        num_sequences=(num_sequences, 1),
        length=(length, 1),
        num_symbols=(num_symbols, 1),
        num_digits=(num_digits, 1),
    )
    digits = rng.integers(0, num_symbols, (num_digits, num_sequences))
    blank, marker = num_symbols, num_symbols + 1
    inputs = np.full((length + 2 * num_digits, num_sequences), blank)
    targets = inputs.copy()
    inputs[:num_digits] = digits
    inputs[num_digits + length - 1] = marker
    targets[-num_digits:] = digits
    return inputs, targets


def temporal_order(
    rng: np.random.Generator, num_sequences: int, length: int, dtype: Any = np.float64
) -> tuple[np.ndarray, np.ndarray, None]:
    """Return a batch of the temporal-order problem: in which order did two rare symbols come?

    Of six symbols, X and Y are 0 and 1, and 2 to 5 are drawn evenly as distraction. One X or Y stands at a step
    drawn from [T/10, 2T/10), another from [4T/10, 5T/10). The label is XX 0, XY 1, YX 2, YY 3.

    Parameters
    ----------
    rng : numpy.random.Generator
    num_sequences : int
        N.
    length : int
        T, at least 10.
    dtype : dtype
        Of x.

    Returns
    -------
    x : numpy.ndarray, shape (T, N, 6)
        The symbols, one-hot.
    labels : numpy.ndarray of integers, shape (N,)
    lengths : None
        All sequences have T steps; the third part of a batch for ``SequenceClassifier(recurrent, num_classes=4)``.

    Notes
    -----
    Who knows nothing is right on 1/4 of the sequences, at a cross entropy of log(4) nats. Remembering only one of
    the two symbols gives 1/2.

    References
    ----------
    S. Hochreiter, J. Schmidhuber, Long short-term memory, Neural Computation 9(8), 1997, experiment 6a, in the form
    with six symbols and a fixed length of R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty of training recurrent
    neural networks, ICML 2013.

    Examples
    --------
    >>> import numpy as np, rnnlab.data
    >>> x, labels, lengths = rnnlab.data.temporal_order(np.random.default_rng(0), num_sequences=2, length=12)
    >>> x.argmax(axis=2).T, labels
    (array([[5, 0, 3, 2, 2, 1, 4, 5, 4, 4, 3, 4],
           [4, 1, 2, 2, 5, 0, 4, 4, 4, 5, 5, 2]]), array([1, 2]))
    """
    _check_least(num_sequences=(num_sequences, 1), length=(length, 10))
    symbols = rng.integers(2, 6, (length, num_sequences))
    first, second = rng.integers(0, 2, (2, num_sequences))
    n = np.arange(num_sequences)
    symbols[_step(rng, length, 1, num_sequences), n] = first
    symbols[_step(rng, length, 4, num_sequences), n] = second
    return np.eye(6, dtype=dtype)[symbols], 2 * first + second, None


def _step(rng: np.random.Generator, length: int, tenth: int, size: int) -> np.ndarray:
    """Draw steps of the tenth of the sequence that follows ``tenth`` tenths."""
    return rng.integers(tenth * length // 10, (tenth + 1) * length // 10, size)
