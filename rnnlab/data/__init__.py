"""Data to learn from: real sets from files, an embedded corpus, text cut into batches, synthetic tasks.

Everything here is on the host, in NumPy arrays; `rnnlab.to_backend` moves a batch to a GPU. Files are looked for in the
folder ``root`` of a loader; else in the one that the environment variable ``RNNLAB_DATA`` names, then among the
downloads of `fetch`.
"""

from rnnlab.data.batches import Drawn, Rolls, Sequences, Source, Streams, Windows
from rnnlab.data.ettm1 import ettm1, series_windows, standardize
from rnnlab.data.files import DataError
from rnnlab.data.mackey_glass import mackey_glass, mackey_glass_file
from rnnlab.data.mnist import mnist
from rnnlab.data.penn_treebank import penn_treebank
from rnnlab.data.piano_rolls import pad, piano_rolls
from rnnlab.data.registry import DownloadError, fetch
from rnnlab.data.shakespeare import shakespeare
from rnnlab.data.synthetic import adding, copying, temporal_order
from rnnlab.data.text import Vocabulary, split, streams, windows
from rnnlab.data.tokens import open_tokens, write_tokens
from rnnlab.data.ucr import ucr

__all__ = [
    "DataError",
    "DownloadError",
    "Drawn",
    "Rolls",
    "Sequences",
    "Source",
    "Streams",
    "Vocabulary",
    "Windows",
    "adding",
    "copying",
    "ettm1",
    "fetch",
    "mackey_glass",
    "mackey_glass_file",
    "mnist",
    "open_tokens",
    "pad",
    "penn_treebank",
    "piano_rolls",
    "series_windows",
    "shakespeare",
    "split",
    "standardize",
    "streams",
    "temporal_order",
    "ucr",
    "windows",
    "write_tokens",
]
