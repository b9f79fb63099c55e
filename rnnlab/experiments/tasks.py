"""What a network is trained on: the model for it, an endless stream of batches, a validation set and a measure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from rnnlab import data, models
from rnnlab.backend import Array

__all__ = ["TASKS", "AddingTask", "CopyingTask", "Metric", "Task", "TextTask"]

Batch = tuple[Array, Array]


class Metric(NamedTuple):
    """How a task is measured.

    ``key`` is what results call it, ``guess`` what is reached, in the metric's unit, by what ``guess_title`` says.
    """

    name: str
    key: str
    unit: str
    guess: float
    guess_title: str


class Task(Protocol):
    """What the runner needs of a task."""

    name: str
    metric: Metric
    carries_state: bool  # whether a batch continues the one before

    def model(self, recurrent: Any) -> Any:
        """Return the model around a recurrent layer."""

    @property
    def input_size(self) -> int:
        """Features that the recurrent layer gets."""

    def training(self, rng: np.random.Generator, dtype: Any) -> Iterator[tuple[Batch, bool]]:
        """Yield batches for ever, each with whether it begins anew rather than continues the one before."""

    def validation(self, dtype: Any) -> list[Batch]:
        """Return the validation batches, the same for every run."""

    def features(self, model: Any, params: Any, batch: Batch) -> Array:
        """Return what the recurrent layer sees of a batch, ``(T, N, D)``."""


class TextTask:
    """Predict the next character: the state is carried from window to window (truncated BPTT).

    The last tenth of the text is for validation; of that, so many windows are used.

    Parameters
    ----------
    text : str
    batch_size, length : int
        N streams, cut into windows of T characters.
    embedding_size : int
    validation_windows : int

    Raises
    ------
    ValueError
        The text is shorter than one batch, or has but one distinct character.
    """

    name, carries_state = "text", True

    def __init__(
        self, text: str, batch_size: int = 32, length: int = 50, embedding_size: int = 64, validation_windows: int = 8
    ) -> None:
        needed = math.ceil(batch_size * (length + 1) / 0.9) + 1
        if len(text) < needed:
            raise ValueError(
                f"text must have at least {needed} characters, one batch of {batch_size} x {length} and a tenth for "
                f"validation; got {len(text)}"
            )
        self.vocabulary = data.Vocabulary(text)
        if len(self.vocabulary) < 2:
            raise ValueError(f"text must have at least two distinct characters; got {text[0]!r} alone")
        self.input_size, self.length = embedding_size, length
        train, valid = data.split(self.vocabulary.encode(text), (0.9, 0.1))
        self.train, valid = data.streams(train, batch_size), data.streams(valid, min(batch_size, len(valid) // 3))
        windows = data.windows(valid, min(length, len(valid) - 1))
        self.valid = list(itertools.islice(windows, validation_windows))
        guess = math.log2(len(self.vocabulary))
        self.metric = Metric(
            "validation bits per character", "validation_bpc", "bits per character", guess, "uniform guess"
        )

    def model(self, recurrent: Any) -> models.LanguageModel:
        """Return a language model."""
        return models.LanguageModel(len(self.vocabulary), self.input_size, recurrent)

    def training(self, rng: np.random.Generator, dtype: Any) -> Iterator[tuple[Batch, bool]]:
        """Yield windows in order, over and over, from a window that the generator draws."""
        windows = list(data.windows(self.train, self.length))
        start = int(rng.integers(len(windows)))
        for k in itertools.count(start):
            yield windows[k % len(windows)], k == start or k % len(windows) == 0

    def validation(self, dtype: Any) -> list[Batch]:
        """Return windows in order."""
        return self.valid

    def features(self, model: Any, params: Any, batch: Batch) -> Array:
        """Return the embedded characters."""
        features: Array = model.embedding.forward(params["embedding"], batch[0])[0]
        return features


class AddingTask:
    """Sum the two marked ones of many numbers (`rnnlab.data.adding`): a test of memory.

    Parameters
    ----------
    batch_size, length : int
    """

    name, carries_state, input_size = "adding", False, 2

    def __init__(self, batch_size: int = 32, length: int = 50) -> None:
        self.batch_size, self.length = batch_size, length
        self.metric = Metric("validation mean squared error", "validation_loss", "", 1 / 6, "always answering 1")

    def model(self, recurrent: Any) -> models.Forecaster:
        """Return a forecaster of one number."""
        return models.Forecaster(recurrent, horizon=1, num_targets=1)

    def training(self, rng: np.random.Generator, dtype: Any) -> Iterator[tuple[Batch, bool]]:
        """Yield batches that are never seen again."""
        while True:
            yield data.adding(rng, self.batch_size, self.length, dtype), True

    def validation(self, dtype: Any) -> list[Batch]:
        """Return one large batch."""
        return [data.adding(np.random.default_rng(2**32), 512, self.length, dtype)]

    def features(self, model: Any, params: Any, batch: Batch) -> Array:
        """Return the numbers and marks."""
        return batch[0]


class CopyingTask:
    """Repeat ten digits after a delay (`rnnlab.data.copying`): a test of memory.

    Parameters
    ----------
    batch_size : int
    length : int
        The delay in steps.
    embedding_size : int
    """

    name, carries_state = "copying", False

    def __init__(self, batch_size: int = 32, length: int = 30, embedding_size: int = 64) -> None:
        self.batch_size, self.length, self.input_size = batch_size, length, embedding_size
        self.metric = Metric(
            "validation cross entropy (nats per step)",
            "validation_loss",
            "nats per step",
            10 * math.log(8) / (length + 20),
            "knowing when, not what",
        )

    def model(self, recurrent: Any) -> models.LanguageModel:
        """Return a language model over eight digits, the blank and the marker."""
        return models.LanguageModel(10, self.input_size, recurrent)

    def training(self, rng: np.random.Generator, dtype: Any) -> Iterator[tuple[Batch, bool]]:
        """Yield batches that are never seen again."""
        while True:
            yield data.copying(rng, self.batch_size, self.length), True

    def validation(self, dtype: Any) -> list[Batch]:
        """Return one large batch."""
        return [data.copying(np.random.default_rng(2**32), 256, self.length)]

    def features(self, model: Any, params: Any, batch: Batch) -> Array:
        """Return the embedded symbols."""
        features: Array = model.embedding.forward(params["embedding"], batch[0])[0]
        return features


TASKS = ("text", "adding", "copying")
