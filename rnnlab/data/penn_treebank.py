"""Penn Treebank words: the usual benchmark of word-level language models."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnnlab.data.files import find, malformed, read_text, short

__all__ = ["EOS", "UNKNOWN", "PennTreebank", "penn_treebank"]

EOS, UNKNOWN = "<eos>", "<unk>"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\ufeff\ufffd]")  # none of them belongs into this text


class PennTreebank(NamedTuple):
    """The three parts as numbers, and the words that these stand for.

    Attributes
    ----------
    train, valid, test : numpy.ndarray, shape (number of words,), int64
        The words one after the other, each sentence ended by the word ``<eos>``.
    vocabulary : list of str
        Word k of it has the number k; the most frequent first, equally frequent ones in alphabetical order.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    vocabulary: list[str]


def penn_treebank(root: str | os.PathLike[str] | None = None) -> PennTreebank:
    """Return the Penn Treebank, word level, as T. Mikolov prepared it: 929,589 words of 10,000 kinds to train on.

    Its text is lower case, with numbers replaced by ``N`` and rare words by ``<unk>``. The vocabulary is that of the
    training part; a word of the other parts that is not in it counts as ``<unk>``.

    Parameters
    ----------
    root : path, optional
        The folder that holds ``ptb/ptb.train.txt``, ``ptb.valid.txt`` and ``ptb.test.txt``; by default the one that
        ``RNNLAB_DATA`` names, then that of ``rnnlab data fetch ptb``.

    Returns
    -------
    PennTreebank

    Raises
    ------
    FileNotFoundError
        A file is not there.
    DataError
        A file is malformed or seems cut short. Whether the words are the right ones only ``rnnlab data check`` tells.

    References
    ----------
    M. Marcus, B. Santorini, M. A. Marcinkiewicz, Building a large annotated corpus of English: the Penn Treebank,
    Computational Linguistics 19(2), 1993. T. Mikolov et al., Recurrent neural network based language model,
    Interspeech 2010, for this form of it.

    Examples
    --------
    >>> import pathlib, tempfile, rnnlab.data
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "ptb").mkdir()
    >>> for part in ("train", "valid", "test"):
    ...     _ = (folder / "ptb" / f"ptb.{part}.txt").write_text("the cat saw the dog\\n")
    >>> data = rnnlab.data.penn_treebank(folder)
    >>> data.vocabulary
    ['the', '<eos>', 'cat', 'dog', 'saw']
    >>> data.test
    array([0, 2, 4, 0, 3, 1])
    """
    paths = [find(f"ptb/ptb.{part}.txt", root) for part in ("train", "valid", "test")]
    train, valid, test = (_words(path) for path in paths)
    counts = Counter(train)
    vocabulary = sorted(counts, key=lambda word: (-counts[word], word))
    numbers = {word: k for k, word in enumerate(vocabulary)}
    tokens = [_encode(words, numbers, path, paths[0]) for words, path in zip((train, valid, test), paths, strict=True)]
    return PennTreebank(tokens[0], tokens[1], tokens[2], vocabulary)


def _words(path: Path) -> list[str]:
    text = read_text(path)
    if not text.endswith("\n"):
        problem = "the file is empty" if not text else "the last line has no end: the file seems to be cut short"
        raise malformed(path, text.count("\n") + 1, problem)
    bad = CONTROL.search(text)
    if bad:
        raise malformed(path, text.count("\n", 0, bad.start()) + 1, f"found the control character {short(bad[0])}")
    words: list[str] = []
    for number, line in enumerate(text[:-1].split("\n"), 1):
        sentence = line.split()
        if not sentence:
            raise malformed(path, number, "is empty; every line must hold a sentence")
        words += sentence
        words.append(EOS)
    return words


def _encode(words: list[str], numbers: dict[str, int], path: Path, train_path: Path) -> np.ndarray:
    unknown = numbers.get(UNKNOWN, -1)
    tokens = np.fromiter((numbers.get(word, unknown) for word in words), np.int64, len(words))
    missing = np.flatnonzero(tokens < 0)
    if missing.size:
        at = int(missing[0])
        problem = f"the word {short(words[at])} is not in {train_path}, nor is {UNKNOWN} to stand for it"
        raise malformed(path, words[:at].count(EOS) + 1, problem)
    return tokens
