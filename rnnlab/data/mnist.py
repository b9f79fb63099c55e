"""Handwritten digits as sequences: row by row, pixel by pixel, or pixel by pixel in a shuffled order."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnlab.data.files import find, malformed, read_gzip

__all__ = ["Digits", "Mnist", "mnist"]

SIDE = 28
FORMS = ("rows", "pixels", "permuted")
FILES = {"train": "train", "test": "t10k"}
LONGEST = 2**28  # bytes of a file unpacked: the images to train on have 47 million


@dataclass(frozen=True, eq=False, repr=False)
class Digits:
    """Images as sequences, each with its digit.

    Attributes
    ----------
    x : numpy.ndarray of float32, shape (T, N, D)
        Brightness from 0 to 1. A view with the axes of N and T exchanged: the steps of an image lie side by side, so
        that ``x[:, chosen]``, a batch, reads few places of the memory.
    y : numpy.ndarray of integers, shape (N,)
        Digits from 0 to 9.
    """

    x: np.ndarray
    y: np.ndarray

    def __repr__(self) -> str:
        return f"Digits(x of shape {self.x.shape})"


@dataclass(frozen=True)
class Mnist:
    """The images to train on and those to test on.

    Attributes
    ----------
    train, test : Digits
        60,000 and 10,000 images in the original files.
    permutation : numpy.ndarray of integers, shape (784,), or None
        With ``as_="permuted"``: step t is pixel ``permutation[t]``, counted along the rows.
    """

    train: Digits
    test: Digits
    permutation: np.ndarray | None = None


def mnist(root: str | os.PathLike[str] | None = None, as_: str = "rows", seed: int = 0) -> Mnist:
    """Return the MNIST digits as sequences.

    Parameters
    ----------
    root : path, optional
        The folder that holds ``mnist/``, in which ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
        ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte`` lie, each with the ending ``.gz`` or unpacked; by
        default see `rnnlab.data.files.folders`.
    as_ : {"rows", "pixels", "permuted"}
        ``"rows"``: step t is row t of the image, x has shape (28, N, 28). ``"pixels"``: one pixel a step, row after
        row, (784, N, 1). ``"permuted"``: the same pixels in an order drawn once by
        ``numpy.random.default_rng(seed).permutation(784)``, the same for all images of train and test.
    seed : int
        Of the permutation; used by ``"permuted"`` alone. There is no order that all papers share.

    Returns
    -------
    Mnist
        With ``.train`` and ``.test``, each with ``.x`` and ``.y``. Brightness 0 to 255 is divided by 255.

    Raises
    ------
    FileNotFoundError
        A file is missing.
    DataError
        A file is malformed; the message says which and at which byte.
    ValueError
        `as_` is none of the three.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document recognition, Proceedings
    of the IEEE 86(11), 1998. As sequences of pixels: Q. Le, N. Jaitly, G. Hinton, A simple way to initialize
    recurrent networks of rectified linear units, arXiv 1504.00941, 2015.

    Examples
    --------
    >>> import pathlib, tempfile, rnnlab.data
    >>> folder = tempfile.TemporaryDirectory()
    >>> place = pathlib.Path(folder.name, "mnist")
    >>> place.mkdir()
    >>> for part in "train", "t10k":  # two images, all white, of the digits 3 and 4
    ...     header = b"".join(k.to_bytes(4, "big") for k in (2051, 2, 28, 28))
    ...     _ = (place / f"{part}-images-idx3-ubyte").write_bytes(header + b"\\xff" * 2 * 28 * 28)
    ...     header = b"".join(k.to_bytes(4, "big") for k in (2049, 2))
    ...     _ = (place / f"{part}-labels-idx1-ubyte").write_bytes(header + b"\\x03\\x04")
    >>> data = rnnlab.data.mnist(root=folder.name, as_="pixels")
    >>> data.train.x.shape, float(data.train.x.min()), data.train.y
    ((784, 2, 1), 1.0, array([3, 4]))
    >>> folder.cleanup()
    """
    if as_ not in FORMS:
        raise ValueError(f"as_ must be one of {', '.join(FORMS)}; got {as_!r}")
    order = np.random.default_rng(seed).permutation(SIDE * SIDE) if as_ == "permuted" else None
    train, test = (_digits(part, root, as_, order) for part in ("train", "test"))
    return Mnist(train, test, order)


def _digits(part: str, root: str | os.PathLike[str] | None, as_: str, order: np.ndarray | None) -> Digits:
    images_path = _find(f"mnist/{FILES[part]}-images-idx3-ubyte", root)
    labels_path = _find(f"mnist/{FILES[part]}-labels-idx1-ubyte", root)
    images = _read_idx(images_path, (SIDE, SIDE))
    labels = _read_idx(labels_path, ())
    if len(images) != len(labels):
        raise malformed(labels_path, 4, f"found {len(labels)} labels; {images_path} has {len(images)} images", "byte")
    wrong = np.flatnonzero(labels > 9)
    if wrong.size:
        at = int(wrong[0])
        raise malformed(labels_path, 8 + at, f"found the label {labels[at]}; must be from 0 to 9", "byte")
    if order is not None:
        # Shuffled as bytes, a quarter of the size; take() because [:, order] would lay out the images side by side.
        images = images.reshape(len(images), -1).take(order, axis=1)
    x = np.divide(images, np.float32(255), dtype=np.float32)
    x = x.transpose(1, 0, 2) if as_ == "rows" else x.reshape(len(x), -1).T[:, :, None]
    return Digits(x, labels.astype(int))


def _find(name: str, root: str | os.PathLike[str] | None) -> Path:
    try:
        return find(f"{name}.gz", root)
    except FileNotFoundError:
        return find(name, root)


def _read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the bytes of an IDX file as an array (N, *shape), after its header of big-endian integers is checked."""
    data = read_gzip(path, LONGEST) if path.suffix == ".gz" else path.read_bytes()
    size = 4 * (2 + len(shape))
    if len(data) < size:
        raise malformed(path, len(data), f"the file ends in its header; must have {size} bytes before the data", "byte")
    magic, count, *sides = np.frombuffer(data, ">u4", 2 + len(shape)).tolist()
    for at, what, got, allowed in _expected(magic, sides, shape):
        if got != allowed:
            raise malformed(path, at, f"found {what} {got}; must be {allowed}", "byte")
    if count == 0:
        raise malformed(path, 4, "found a count of 0; must be positive", "byte")
    rest, due = len(data) - size, count * math.prod(shape)
    if rest != due:
        problem = f"found {rest} bytes behind the header; must be {due}, as it says"
        raise malformed(path, size, problem, "byte")
    return np.frombuffer(data, np.uint8, offset=size).reshape(count, *shape)


def _expected(magic: int, sides: list[int], shape: tuple[int, ...]) -> list[tuple[int, str, int, int]]:
    """Return of the header's integers the byte, what it is, what it is in this file and what it must be."""
    names = ("the number of rows", "the number of columns")
    named = zip((8, 12), names, sides, shape, strict=False)
    return [(0, "the magic number", magic, 2049 + len(shape)), *named]
