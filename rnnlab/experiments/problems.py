"""What a configuration trains on: training, validation and test data, the model for it, and how it is measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnlab import data, models
from rnnlab.backend import Tree, namespace, to_numpy, tree_items
from rnnlab.data.batches import Drawn, Epoch, Rolls, Sequences, Streams, Windows
from rnnlab.data.files import read_text
from rnnlab.data.penn_treebank import UNKNOWN
from rnnlab.experiments.build import JudgedByAbsoluteError, SmallEmbedding, make_recurrent
from rnnlab.experiments.config import Config, ConfigError
from rnnlab.experiments.measures import (
    ABSOLUTE_ERROR,
    ACCURACY,
    BITS,
    BITS_A_BYTE,
    CROSS_ENTROPY,
    NATS,
    PERPLEXITY,
    SQUARED_ERROR,
    Measure,
    Problem,
)
from rnnlab.training import evaluate

__all__ = ["Fixed", "Measure", "Problem", "hold_out", "make_problem", "score"]

HELD_OUT = 20  # batches of a synthetic task to validate on, and to test on
CHOICES = ("length", "context", "horizon", "target", "batches", "valid_share", "limit", "held_out_limit", "vocabulary",
           "split", "measure", "standardize", "valid", "test")  # fmt: skip
SHARES = (0.7, 0.15, 0.15)  # of a series, as an alternative to months


class Fixed:
    """A source of batches that are always the same: what a synthetic task is validated on.

    Parameters
    ----------
    batches : list of tuple
        All of one size.
    """

    carries_state = False

    def __init__(self, batches: list[tuple[Any, ...]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, rng: np.random.Generator) -> Epoch:
        """Return the batches in their order."""
        return Epoch(len(self.batches), lambda k: (self.batches[k], True))

    def weight(self, batch: tuple[Any, ...]) -> int:
        """Return 1: all batches count alike."""
        return 1


def make_problem(config: Config) -> Problem:
    """Return model and data of a configuration.

    Parameters
    ----------
    config : Config

    Returns
    -------
    Problem

    Raises
    ------
    ConfigError
        A key does not go with the data, or a value does not fit it.
    DataError, OSError
        The data is malformed or is not there.

    Examples
    --------
    >>> from rnnlab.experiments.config import parse_config
    >>> tables = {"data": {"name": "adding"}, "optimizer": {"learning_rate": 1.0}, "training": {"steps": 5}}
    >>> problem = make_problem(parse_config(tables))
    >>> type(problem.model).__name__, problem.measure.name, len(problem.train)
    ('Forecaster', 'mean squared error', 100)
    """
    name = config.data["name"]
    other = "ucr" if name.startswith("ucr:") else "tokens" if name.endswith(".npy") else "text"
    kind = KINDS.get(name, KINDS[other])
    _refuse_what_does_not_go(config, kind)
    try:
        return kind.make(config)
    except (ConfigError, data.DataError):
        raise
    except ValueError as error:
        raise ConfigError(f"[data] {error}") from None


def score(problem: Problem, params: Tree, source: Any) -> float:
    """Return how good parameters are on a source, in the unit of the problem's measure.

    Parameters
    ----------
    problem : Problem
    params : Tree
    source : rnnlab.data.batches.Source
        Such as ``problem.test``.

    Returns
    -------
    float
    """
    with np.errstate(all="ignore"):  # a network that diverged is to be told, not warned of
        if problem.measure.of_loss is not None:
            return problem.measure.of_loss(evaluate(problem.model, params, source))
        return _accuracy(problem, params, source)


def _accuracy(problem: Problem, params: Tree, source: Any) -> float:
    xp, (_, first) = namespace(params=params), next(tree_items(params))
    epoch, right, total = source.epoch(np.random.default_rng(0)), 0, 0
    for k in range(len(source)):
        (x, labels, lengths), _ = epoch[k]
        logits = problem.model.predict(params, xp.asarray(x, dtype=first.dtype), lengths)
        right += int((to_numpy(logits.argmax(axis=1)) == labels).sum())
        total += len(labels)
    return right / total


def _refuse_what_does_not_go(config: Config, kind: Kind) -> None:
    name, model = config.data["name"], config.model
    for key in CHOICES:
        if config.data[key] is not None and key not in kind.keys:
            raise ConfigError(f"[data] {key} does not go with name = {name!r}, which has {', '.join(kind.keys)}")
    for key in ("embedding", "embedding_factor"):
        if model[key] is not None and not kind.symbols:
            raise ConfigError(f"[model] {key} goes with data made of symbols; got name = {name!r}")
    if model["dropout"] and not kind.symbols and model["layers"] == 1:
        raise ConfigError("[model] dropout acts between layers, and around those of a language model; got layers = 1")
    if model["bidirectional"] and kind.predicts_next:
        raise ConfigError("[model] bidirectional = true would read the future that the model must predict")


# ---------------------------------------------------------------------------------- one kind each


def _language_model(config: Config, size: int) -> models.LanguageModel:
    embedding = config.model["embedding"] or 64
    recurrent = make_recurrent(config.model, embedding)
    model = models.LanguageModel(size, embedding, recurrent, dropout=config.model["dropout"])
    if config.model["embedding_factor"] is not None:
        model.embedding = SmallEmbedding(size, embedding, config.model["embedding_factor"])
    return model


def _streams(config: Config, parts: Any, length: int) -> list[Streams]:
    N, T = config.data["batch_size"], config.data["length"] or length
    train, *others = _limited(config, parts)
    # what is held out may be too short for as many streams of at least one chunk
    return [Streams(train, N, T)] + [Streams(part, max(1, min(N, len(part) // (T + 1))), T) for part in others]


def _limited(config: Config, parts: Any) -> list[Any]:
    """The first of what is to train on, and of what is held out."""
    train, *others = parts
    return [train[: config.data["limit"]], *(part[: config.data["held_out_limit"]] for part in others)]


def _text(config: Config) -> Problem:
    name = config.data["name"]
    text = data.shakespeare() if name == "shakespeare" else read_text(name)
    if len(text) < 40:
        raise ConfigError(f"[data] name: {name} must hold at least 40 characters; got {len(text)}")
    vocabulary = data.Vocabulary(text)
    parts = data.split(vocabulary.encode(text), (0.9, 0.05, 0.05))
    return Problem(_language_model(config, len(vocabulary)), BITS, *_streams(config, parts, 50))


def _tokens(config: Config) -> Problem:
    """A token file, which stays on the disk; with two others to validate and to test on, or 90, 5 and 5 % of it."""
    names = [config.data[key] for key in ("name", "valid", "test") if config.data[key] is not None]
    if len(names) == 2:
        raise ConfigError("[data] valid and test go together: two token files, or neither and parts of name")
    files = [data.open_tokens(name) for name in names]
    first = files[0]
    for name, other in zip(names[1:], files[1:], strict=True):
        if (other.level, other.vocabulary) != (first.level, first.vocabulary):
            raise ConfigError(f"[data] {name} must have the vocabulary of {names[0]}; see rnnlab.data.write_tokens")
    parts = [file.tokens for file in files] if len(files) > 1 else data.split(first.tokens, (0.9, 0.05, 0.05))
    model = _language_model(config, len(first.vocabulary))
    measure = {"word": PERPLEXITY, "character": BITS, "byte": BITS_A_BYTE}[first.level]
    return Problem(model, measure, *_streams(config, parts, 35))


def _ptb(config: Config) -> Problem:
    ptb = data.penn_treebank(config.data["root"])
    parts, size = [ptb.train, ptb.valid, ptb.test], len(ptb.vocabulary)
    if config.data["vocabulary"] is not None:
        unknown, size = ptb.vocabulary.index(UNKNOWN), min(size, config.data["vocabulary"])
        if unknown >= size:
            raise ConfigError(f"[data] vocabulary must be above {unknown}, the number of <unk>; got {size}")
        parts = [np.where(part < size, part, unknown) for part in parts]  # the most frequent words come first
    return Problem(_language_model(config, size), PERPLEXITY, *_streams(config, parts, 35))


def _classifier(config: Config, train: Any, test: Any, classes: int) -> Problem:
    """Train and test: (x, y, lengths)."""
    N, valid = config.data["batch_size"], None
    if config.data["valid_share"] is not None:
        kept, held = hold_out(train[1], config.data["valid_share"], config.training["seed"])
        train, valid = (
            [p if p is None else p[..., k, :] if p.ndim == 3 else p[k] for p in train] for k in (kept, held)
        )
    few = config.data["held_out_limit"]
    valid, test = (part and [p if p is None else p[..., :few, :] if p.ndim == 3 else p[:few] for p in part]
                   for part in (valid, test))  # fmt: skip
    x, y, lengths = train
    model = models.SequenceClassifier(make_recurrent(config.model, x.shape[2]), classes)
    held_out = [part and Sequences(part[0], part[1], 256, part[2], shuffle=False) for part in (valid, test)]
    return Problem(model, ACCURACY, Sequences(x, y, N, lengths), *held_out)


def hold_out(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which sequences to train on and which to hold out: of each class the same share, drawn at random.

    Parameters
    ----------
    labels : array of integers, shape (N,)
    share : float
        Between 0 and 1; of each class at least one sequence stays to train on.
    seed : int

    Returns
    -------
    kept, held : arrays of integers, in order

    Raises
    ------
    ValueError
        Nothing would be held out.

    Examples
    --------
    >>> hold_out(np.array([0, 0, 0, 0, 1, 1]), 0.5, seed=0)
    (array([1, 3, 4]), array([0, 2, 5]))
    """
    rng = np.random.default_rng(seed)
    held = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held.append(members[: min(round(share * len(members)), len(members) - 1)])
    chosen = np.sort(np.concatenate(held))
    if not chosen.size:
        raise ValueError(f"valid_share = {share:g} of {len(labels)} sequences holds out none; it must be larger")
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def _ucr(config: Config) -> Problem:
    found = data.ucr(config.data["name"].removeprefix("ucr:"), config.data["root"])
    parts = (found.train, found.test)
    series = _standardized(parts) if config.data["standardize"] else [part.x for part in parts]
    train, test = ((x, part.y, _ragged(part)) for x, part in zip(series, parts, strict=True))
    return _classifier(config, train, test, len(found.train.classes))


def _standardized(parts: Sequence[Any]) -> list[np.ndarray]:
    """Return the series scaled alike by the first part's mean and standard deviation; beyond their ends stays 0."""
    there = [np.arange(len(part.x))[:, None] < part.lengths for part in parts]
    scaled = data.standardize(*(part.x[steps].astype(float) for part, steps in zip(parts, there, strict=True)))
    series = [np.zeros_like(part.x) for part in parts]
    for x, steps, values in zip(series, there, scaled, strict=True):
        x[steps] = values
    return series


def _ragged(part: Any) -> Any:
    return None if (part.lengths == len(part.x)).all() else part.lengths


SMALLER = (16, 49, 196)  # pixels of images of 4, 7 and 14 pixels a side


def _mnist(config: Config) -> Problem:
    as_ = {"mnist": "rows"}.get(config.data["name"], config.data["name"].removeprefix("mnist-"))
    T, few = config.data["length"], slice(config.data["limit"])
    if T is None or T == 28 * 28:
        digits = data.mnist(config.data["root"], as_)
        parts = [(part.x, part.y) for part in (digits.train, digits.test)]
    elif as_ != "rows" and T in SMALLER:
        digits = data.mnist(config.data["root"], "pixels")
        order = np.random.default_rng(0).permutation(T) if as_ == "permuted" else np.arange(T)
        parts = [(_shrunk(part.x, math.isqrt(T))[order], part.y) for part in (digits.train, digits.test)]
    else:
        allowed = "is 28 and cannot be set" if as_ == "rows" else f"must be one of {', '.join(map(str, SMALLER))}, 784"
        raise ConfigError(f"[data] length of name = {config.data['name']!r} {allowed}; got {T}")
    (x, y), test = parts
    return _classifier(config, (x[:, few], y[few], None), (*test, None), 10)


def _shrunk(x: np.ndarray, side: int) -> np.ndarray:
    """Return images (784, N, 1) as (side**2, N, 1): each pixel the mean of a square of them."""
    block = 28 // side
    means: np.ndarray = x.reshape(side, block, side, block, -1).mean(axis=(1, 3))
    return means.reshape(side * side, -1, 1)


def _ettm1(config: Config) -> Problem:
    found, target = data.ettm1(config.data["root"]), config.data["target"]
    if target is not None and target not in found.columns:
        raise ConfigError(f"[data] target must be one of {', '.join(found.columns)}; got {target!r}")
    column = None if target is None else found.columns.index(target)
    context, horizon = config.data["context"] or 96, config.data["horizon"] or 24
    parts = [found.train, found.valid, found.test]
    if config.data["split"] == "70/15/15":
        rows = len(found.values)
        ends = np.cumsum([int(share * rows) for share in SHARES])
        parts = np.split(found.values[: ends[-1]], ends[:-1])
    train, valid, test = _limited(config, data.standardize(*parts))
    D = train.shape[1]
    absolute = config.data["measure"] == "absolute"
    forecaster = JudgedByAbsoluteError if absolute else models.Forecaster
    model = forecaster(make_recurrent(config.model, D), horizon, D if target is None else 1)
    held_out = [Windows(part, context, horizon, 256, column, shuffle=False) for part in (valid, test)]
    measure = ABSOLUTE_ERROR if absolute else SQUARED_ERROR
    return Problem(model, measure, Windows(train, context, horizon, config.data["batch_size"], column), *held_out)


def _rolls(config: Config) -> Problem:
    rolls = data.piano_rolls(config.data["name"], config.data["root"])
    model = models.PianoRollModel(make_recurrent(config.model, rolls.train[0].shape[1]), rolls.train[0].shape[1])
    train, *held_out = _limited(config, (rolls.train, rolls.valid, rolls.test))
    if config.data["length"] is not None:
        train = [piece for roll in train for piece in _pieces(roll, config.data["length"])]
    source = Rolls(train, config.data["batch_size"])
    return Problem(model, NATS, source, *(Rolls(part, 32, shuffle=False) for part in held_out))


def _pieces(roll: np.ndarray, length: int) -> list[np.ndarray]:
    """Cut a roll so that each piece predicts at most ``length`` frames; its last frame is the next piece's first."""
    return [roll[begin : begin + length + 1] for begin in range(0, len(roll) - 1, length)]


def _synthetic(config: Config) -> Problem:
    name, N = config.data["name"], config.data["batch_size"]
    tasks: dict[str, tuple[Callable[..., Any], int]] = {
        "adding": (data.adding, 50),
        "copying": (data.copying, 30),
        "temporal-order": (data.temporal_order, 100),
    }
    draw, length = tasks[name]
    T = config.data["length"] or length
    if name == "adding":
        model: Any = models.Forecaster(make_recurrent(config.model, 2), horizon=1, num_targets=1)
        measure = SQUARED_ERROR
    elif name == "copying":
        model, measure = _language_model(config, 10), CROSS_ENTROPY
    else:
        model, measure = models.SequenceClassifier(make_recurrent(config.model, 6), 4), ACCURACY
    rngs = np.random.default_rng(2**32).spawn(2)  # the same for every seed of a training
    held_out = [Fixed([draw(rng, 64, T) for _ in range(HELD_OUT)]) for rng in rngs]
    train = Drawn(lambda rng: draw(rng, N, T), config.data["batches"] or 100)
    return Problem(model, measure, train, *held_out)


class Kind(NamedTuple):
    """A kind of data: what makes the problem, the keys that it has, and what its input is."""

    make: Callable[[Config], Problem]
    keys: tuple[str, ...]
    symbols: bool = False
    predicts_next: bool = False


LIMITS = ("limit", "held_out_limit")
TEXT = Kind(_text, ("length", *LIMITS), True, True)
ROLLS, MNIST = Kind(_rolls, ("length", *LIMITS), False, True), Kind(_mnist, ("length", "valid_share", *LIMITS))
SYNTHETIC = ("length", "batches")
KINDS = {
    "text": TEXT,
    "shakespeare": TEXT,
    "tokens": Kind(_tokens, ("length", *LIMITS, "valid", "test"), True, True),
    "ptb": Kind(_ptb, ("length", *LIMITS, "vocabulary"), True, True),
    "ucr": Kind(_ucr, ("valid_share", "standardize")),
    "ettm1": Kind(_ettm1, ("context", "horizon", "target", *LIMITS, "split", "measure")),
    "nottingham": ROLLS,
    "jsb": ROLLS,
    "mnist": MNIST,
    "mnist-pixels": MNIST,
    "mnist-permuted": MNIST,
    "adding": Kind(_synthetic, SYNTHETIC),
    "copying": Kind(_synthetic, SYNTHETIC, True),
    "temporal-order": Kind(_synthetic, SYNTHETIC),
}
