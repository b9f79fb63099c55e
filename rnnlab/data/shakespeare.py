"""The embedded corpus: lines of Shakespeare's plays, in the public domain."""

from __future__ import annotations

__all__ = ["shakespeare"]


def shakespeare() -> str:
    r"""Return 40,000 lines of Shakespeare's plays, 1,115,394 characters of 65 kinds.

    This is the text often called "tiny Shakespeare". Nothing is downloaded: it lies compressed inside the package.

    Returns
    -------
    str
        ASCII, lines ended by ``"\n"``.

    References
    ----------
    A. Karpathy, The unreasonable effectiveness of recurrent neural networks, 2015, gathered it. The plays are in the
    public domain.

    Examples
    --------
    >>> import rnnlab.data
    >>> text = rnnlab.data.shakespeare()
    >>> text[:14], len(text), len(set(text))
    ('First Citizen:', 1115394, 65)
    """
    # Imported here because most programs that import rnnlab never unpack a corpus.
    import lzma
    from importlib import resources

    packed = resources.files("rnnlab.data").joinpath("shakespeare.txt.xz").read_bytes()
    return lzma.decompress(packed).decode("utf-8")
