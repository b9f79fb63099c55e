"""Data to learn from: an embedded corpus, text cut into batches, and synthetic tasks of known difficulty.

Everything here is on the host, in NumPy arrays; `rnnlab.to_backend` moves a batch to a GPU.
"""

from rnnlab.data.shakespeare import shakespeare
from rnnlab.data.synthetic import adding, copying, temporal_order
from rnnlab.data.text import Vocabulary, split, streams, windows

__all__ = ["Vocabulary", "adding", "copying", "shakespeare", "split", "streams", "temporal_order", "windows"]
