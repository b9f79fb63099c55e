"""Whole models, each with its forward and its backward written out.

A model holds only its layers. ``loss_and_grads(params, batch, state, rng)`` runs it forward and back,
``loss(params, batch, state)`` only forward and without dropout. ``state`` carries the recurrent layer's state from
one chunk of a long sequence to the next; its gradient is dropped (truncated BPTT).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnlab import losses
from rnnlab.backend import Array, Tree, namespace
from rnnlab.layers import Dropout, Embedding, Linear

__all__ = ["Forecaster", "LanguageModel", "PianoRollModel", "SequenceClassifier"]

Params = dict[str, Any]
Result = tuple[Any, Params, Tree]


class LanguageModel:
    """Next-symbol prediction: embedding, recurrent layer, softmax over the vocabulary.

    With ``inputs, targets (T, N)`` of integers::

        e = dropout(embedding[inputs])              (T, N, E)
        y = recurrent(e)                            (T, N, H)
        logits = W dropout(y) + b                   (T, N, V)
        loss = mean over all tokens of -log softmax(logits)[target]

    Parameters
    ----------
    vocab_size, embedding_size : int
        V and E.
    recurrent : layer
        With ``input_size`` E.
    dropout : float
        Rate after the embedding and before the softmax; acts only when an ``rng`` is passed.

    References
    ----------
    W. Zaremba, I. Sutskever, O. Vinyals, Recurrent neural network regularization, arXiv 1409.2329.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> rng = np.random.default_rng(0)
    >>> model = rl.models.LanguageModel(vocab_size=10, embedding_size=4, recurrent=rl.LSTM(4, 8))
    >>> params = model.init(rng)
    >>> batch = rng.integers(0, 10, (5, 2)), rng.integers(0, 10, (5, 2))
    >>> loss, grads, state = model.loss_and_grads(params, batch)
    >>> bool(abs(loss - np.log(10)) < 0.5), sorted(grads)
    (True, ['embedding', 'output', 'recurrent'])
    """

    def __init__(self, vocab_size: int, embedding_size: int, recurrent: Any, dropout: float = 0.0) -> None:
        if recurrent.input_size != embedding_size:
            raise ValueError(
                f"recurrent.input_size must be embedding_size = {embedding_size}; got {recurrent.input_size}"
            )
        self.embedding = Embedding(vocab_size, embedding_size)
        self.recurrent = recurrent
        self.output = Linear(recurrent.hidden_size, vocab_size)
        self.dropout = Dropout(dropout)

    def init(self, rng: np.random.Generator, dtype: Any = np.float64) -> Params:
        """Draw the parameters: ``{"embedding", "recurrent", "output"}``."""
        return {
            "embedding": self.embedding.init(rng, dtype),
            "recurrent": self.recurrent.init(rng, dtype),
            "output": self.output.init(rng, dtype),
        }

    def loss_and_grads(self, params: Params, batch: tuple[Array, Array], state: Tree = None, rng: Any = None) -> Result:
        """Return the mean loss over tokens (nats), its gradients and the final state.

        Parameters
        ----------
        params : dict
        batch : tuple of integer arrays, each of shape (T, N)
            Inputs and targets.
        state : Tree, optional
            The recurrent layer's initial state; None means zeros.
        rng : numpy.random.Generator, optional
            Turns dropout on.

        Returns
        -------
        loss : scalar
        grads : dict like ``params``
        state : Tree

        Raises
        ------
        ValueError
            A shape or a target does not fit.
        """
        inputs, targets = _batch(batch, "inputs", "targets")
        e, embedding_tape = self.embedding.forward(params["embedding"], inputs)
        e, drop_e = self.dropout.forward({}, e, rng)
        y, state, recurrent_tape = self.recurrent.forward(params["recurrent"], e, state, rng=rng)
        y, drop_y = self.dropout.forward({}, y, rng)
        logits, output_tape = self.output.forward(params["output"], y)
        loss, dlogits = losses.cross_entropy(logits, targets)

        dy, output_grads = self.output.backward(params["output"], output_tape, dlogits)
        dy, _ = self.dropout.backward({}, drop_y, dy)
        de, _, recurrent_grads = self.recurrent.backward(params["recurrent"], recurrent_tape, dy)
        de, _ = self.dropout.backward({}, drop_e, de)
        _, embedding_grads = self.embedding.backward(params["embedding"], embedding_tape, de)
        grads = {"embedding": embedding_grads, "recurrent": recurrent_grads, "output": output_grads}
        return loss, grads, state

    def logits(self, params: Params, inputs: Array, state: Tree = None) -> tuple[Array, Tree]:
        """Return the unnormalized log-probabilities ``(T, N, V)`` of the next symbol, and the final state."""
        e, _ = self.embedding.forward(params["embedding"], inputs)
        y, state, _ = self.recurrent.forward(params["recurrent"], e, state)
        logits, _ = self.output.forward(params["output"], y)
        return logits, state

    def loss(self, params: Params, batch: tuple[Array, Array], state: Tree = None) -> tuple[Any, Tree]:
        """Return the mean loss over tokens (nats) without dropout, and the final state."""
        inputs, targets = _batch(batch, "inputs", "targets")
        logits, state = self.logits(params, inputs, state)
        return losses.cross_entropy(logits, targets)[0], state


class SequenceClassifier:
    """One label a sequence, read from the last hidden state.

    With ``x (T, N, D)``, ``labels (N,)`` and ``lengths (N,)`` or None::

        h = final hidden state of recurrent(x)      (N, H)
        logits = W h + b                            (N, num_classes)
        loss = mean over sequences of -log softmax(logits)[label]

    Parameters
    ----------
    recurrent : layer
        One with `final_hidden`, as all of rnnlab's; of a bidirectional layer both directions' final states are read.
    num_classes : int

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> rng = np.random.default_rng(0)
    >>> model = rl.models.SequenceClassifier(rl.GRU(3, 8), num_classes=2)
    >>> params = model.init(rng)
    >>> batch = rng.normal(size=(5, 4, 3)), np.array([0, 1, 1, 0]), np.array([5, 3, 4, 1])
    >>> loss, grads, state = model.loss_and_grads(params, batch)
    >>> model.predict(params, batch[0], batch[2]).shape
    (4, 2)
    """

    def __init__(self, recurrent: Any, num_classes: int) -> None:
        self.recurrent = recurrent
        self.output = Linear(recurrent.hidden_size, num_classes)

    def init(self, rng: np.random.Generator, dtype: Any = np.float64) -> Params:
        """Draw the parameters: ``{"recurrent", "output"}``."""
        return {"recurrent": self.recurrent.init(rng, dtype), "output": self.output.init(rng, dtype)}

    def loss_and_grads(
        self, params: Params, batch: tuple[Array, Array, Any], state: Tree = None, rng: Any = None
    ) -> Result:
        """Return the mean loss over sequences (nats), its gradients and the final state.

        ``batch`` is ``(x (T,N,D), labels (N,), lengths (N,) or None)``; see `LanguageModel.loss_and_grads`.
        """
        x, labels, lengths = _batch(batch, "x", "labels", "lengths")
        y, state, recurrent_tape = self.recurrent.forward(params["recurrent"], x, state, lengths, rng=rng)
        h = self.recurrent.final_hidden(state)
        logits, output_tape = self.output.forward(params["output"], h)
        loss, dlogits = losses.cross_entropy(logits, labels)

        dh, output_grads = self.output.backward(params["output"], output_tape, dlogits)
        dstate = self.recurrent.final_hidden_gradient(dh)
        dy = namespace(y=y).zeros_like(y)  # the loss sees only the final state
        _, _, recurrent_grads = self.recurrent.backward(params["recurrent"], recurrent_tape, dy, dstate)
        return loss, {"recurrent": recurrent_grads, "output": output_grads}, state

    def predict(self, params: Params, x: Array, lengths: Any = None, state: Tree = None) -> Array:
        """Return the logits ``(N, num_classes)``."""
        _, state, _ = self.recurrent.forward(params["recurrent"], x, state, lengths)
        logits, _ = self.output.forward(params["output"], self.recurrent.final_hidden(state))
        return logits

    def loss(self, params: Params, batch: tuple[Array, Array, Any], state: Tree = None) -> tuple[Any, Tree]:
        """Return the mean loss over sequences (nats) without dropout, and the final state."""
        x, labels, lengths = _batch(batch, "x", "labels", "lengths")
        _, state, _ = self.recurrent.forward(params["recurrent"], x, state, lengths)
        logits, _ = self.output.forward(params["output"], self.recurrent.final_hidden(state))
        return losses.cross_entropy(logits, labels)[0], state


class Forecaster:
    """The next ``horizon`` values of several series, all at once from the last hidden state.

    With ``x (T, N, D)`` and ``y (horizon, N, K)``::

        h = final hidden state of recurrent(x)                  (N, H)
        prediction = (W h + b) reshaped                         (horizon, N, K)
        loss = mean over all entries of (prediction - y)^2

    Parameters
    ----------
    recurrent : layer
        One with `final_hidden`.
    horizon, num_targets : int
        Steps to predict and K.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> rng = np.random.default_rng(0)
    >>> model = rl.models.Forecaster(rl.RNN(2, 8), horizon=3, num_targets=2)
    >>> params = model.init(rng)
    >>> x, y = rng.normal(size=(10, 4, 2)), rng.normal(size=(3, 4, 2))
    >>> loss, grads, state = model.loss_and_grads(params, (x, y))
    >>> model.predict(params, x).shape
    (3, 4, 2)
    """

    def __init__(self, recurrent: Any, horizon: int, num_targets: int) -> None:
        for name, value in (("horizon", horizon), ("num_targets", num_targets)):
            if value < 1:
                raise ValueError(f"{name} must be positive; got {value}")
        self.recurrent = recurrent
        self.horizon = horizon
        self.num_targets = num_targets
        self.output = Linear(recurrent.hidden_size, horizon * num_targets)

    def init(self, rng: np.random.Generator, dtype: Any = np.float64) -> Params:
        """Draw the parameters: ``{"recurrent", "output"}``."""
        return {"recurrent": self.recurrent.init(rng, dtype), "output": self.output.init(rng, dtype)}

    def loss_and_grads(self, params: Params, batch: tuple[Array, Array], state: Tree = None, rng: Any = None) -> Result:
        """Return the mean squared error, its gradients and the final state.

        ``batch`` is ``(x (T,N,D), y (horizon,N,num_targets))``; see `LanguageModel.loss_and_grads`.
        """
        x, target = _batch(batch, "x", "y")
        y, state, recurrent_tape = self.recurrent.forward(params["recurrent"], x, state, rng=rng)
        h = self.recurrent.final_hidden(state)
        flat, output_tape = self.output.forward(params["output"], h)
        N = flat.shape[0]
        prediction = flat.reshape(N, self.horizon, self.num_targets).transpose(1, 0, 2)
        loss, dprediction = losses.mean_squared_error(prediction, target)

        dflat = dprediction.transpose(1, 0, 2).reshape(flat.shape)
        dh, output_grads = self.output.backward(params["output"], output_tape, dflat)
        dstate = self.recurrent.final_hidden_gradient(dh)
        dy = namespace(y=y).zeros_like(y)  # the loss sees only the final state
        _, _, recurrent_grads = self.recurrent.backward(params["recurrent"], recurrent_tape, dy, dstate)
        return loss, {"recurrent": recurrent_grads, "output": output_grads}, state

    def _predict(self, params: Params, x: Array, state: Tree) -> tuple[Array, Tree]:
        _, state, _ = self.recurrent.forward(params["recurrent"], x, state)
        flat, _ = self.output.forward(params["output"], self.recurrent.final_hidden(state))
        return flat.reshape(flat.shape[0], self.horizon, self.num_targets).transpose(1, 0, 2), state

    def predict(self, params: Params, x: Array, state: Tree = None) -> Array:
        """Return the forecast ``(horizon, N, num_targets)``."""
        return self._predict(params, x, state)[0]

    def loss(self, params: Params, batch: tuple[Array, Array], state: Tree = None) -> tuple[Any, Tree]:
        """Return the mean squared error without dropout, and the final state."""
        x, target = _batch(batch, "x", "y")
        prediction, state = self._predict(params, x, state)
        return losses.mean_squared_error(prediction, target)[0], state


class PianoRollModel:
    """Polyphonic music: which notes sound in the next frame, given all frames before it.

    With ``roll (T, N, K)`` of 0 and 1 and ``lengths (N,)`` or None::

        y = recurrent(roll[:-1])                    (T-1, N, H)
        logits = W y + b                            (T-1, N, K)
        loss = mean over frames of the sum over notes of the cross entropy of roll[1:]

    Parameters
    ----------
    recurrent : layer
        With ``input_size`` equal to ``num_notes``.
    num_notes : int
        K, the notes of a frame; 88 for a piano.

    Notes
    -----
    Summed over notes and averaged over frames is the field's convention for the negative log-likelihood. The first
    frame of a sequence is only read, not predicted.

    References
    ----------
    N. Boulanger-Lewandowski, Y. Bengio, P. Vincent, Modeling temporal dependencies in high-dimensional sequences,
    ICML 2012.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> rng = np.random.default_rng(0)
    >>> model = rl.models.PianoRollModel(rl.LSTM(12, 8), num_notes=12)
    >>> roll = (rng.random((9, 2, 12)) < 0.2).astype(float)
    >>> loss, grads, state = model.loss_and_grads(model.init(rng), (roll, np.array([9, 4])))
    >>> bool(0 < loss < 2 * 12 * np.log(2))
    True
    """

    def __init__(self, recurrent: Any, num_notes: int = 88) -> None:
        if recurrent.input_size != num_notes:
            raise ValueError(f"recurrent.input_size must be num_notes = {num_notes}; got {recurrent.input_size}")
        self.recurrent = recurrent
        self.num_notes = num_notes
        self.output = Linear(recurrent.hidden_size, num_notes)

    def init(self, rng: np.random.Generator, dtype: Any = np.float64) -> Params:
        """Draw the parameters: ``{"recurrent", "output"}``."""
        return {"recurrent": self.recurrent.init(rng, dtype), "output": self.output.init(rng, dtype)}

    def _frames(self, batch: tuple[Array, Any]) -> tuple[Array, Array, Any, Array | None]:
        """Return inputs, targets, the inputs' lengths and the mask of the targets."""
        roll, lengths = _batch(batch, "roll", "lengths")
        if roll.ndim != 3 or roll.shape[0] < 2 or roll.shape[2] != self.num_notes:
            raise ValueError(f"roll must have shape (T >= 2, N, {self.num_notes}); got {tuple(roll.shape)}")
        if lengths is None:
            return roll[:-1], roll[1:], None, None
        xp = namespace(roll=roll)
        steps = xp.maximum(xp.asarray(lengths) - 1, 0)
        mask = xp.arange(roll.shape[0] - 1)[:, None] < steps
        return roll[:-1], roll[1:], steps, mask

    def loss_and_grads(self, params: Params, batch: tuple[Array, Any], state: Tree = None, rng: Any = None) -> Result:
        """Return the loss (nats a frame), its gradients and the final state.

        ``batch`` is ``(roll (T,N,K), lengths (N,) or None)``; see `LanguageModel.loss_and_grads`.
        """
        inputs, targets, lengths, mask = self._frames(batch)
        K = self.num_notes
        y, state, recurrent_tape = self.recurrent.forward(params["recurrent"], inputs, state, lengths, rng=rng)
        logits, output_tape = self.output.forward(params["output"], y)
        loss, dlogits = losses.binary_cross_entropy(logits, targets, mask)

        dlogits = dlogits * K  # the loss is K times the mean over notes and frames
        dy, output_grads = self.output.backward(params["output"], output_tape, dlogits)
        _, _, recurrent_grads = self.recurrent.backward(params["recurrent"], recurrent_tape, dy)
        return loss * K, {"recurrent": recurrent_grads, "output": output_grads}, state

    def loss(self, params: Params, batch: tuple[Array, Any], state: Tree = None) -> tuple[Any, Tree]:
        """Return the loss (nats a frame) without dropout, and the final state."""
        inputs, targets, lengths, mask = self._frames(batch)
        y, state, _ = self.recurrent.forward(params["recurrent"], inputs, state, lengths)
        logits, _ = self.output.forward(params["output"], y)
        return losses.binary_cross_entropy(logits, targets, mask)[0] * self.num_notes, state


def _batch(batch: Any, *names: str) -> Any:
    if not isinstance(batch, (tuple, list)) or len(batch) != len(names):
        got = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
        raise ValueError(f"batch must be a tuple ({', '.join(names)}); got {got}")
    return batch
