"""Where data files lie, and how they are read: a file that is missing or malformed is one clear error.

Files are looked for in the folder that a loader is given; else in the folder that the environment variable
``RNNLAB_DATA`` names, and then among the downloads of ``rnnlab data fetch``. No pickle is ever loaded.
"""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import numpy as np

__all__ = [
    "DataError",
    "cache",
    "find",
    "folders",
    "malformed",
    "read_gzip",
    "read_lines",
    "read_npz",
    "read_text",
    "short",
]

LONGEST = 2**32  # bytes that a compressed file may hold: the largest real one here holds 47 million


class DataError(ValueError):
    """A data file does not hold what it must; the message is one line: the file, the line, what was found there."""


def malformed(path: str | os.PathLike[str], line: int | None, problem: str, unit: str = "line") -> DataError:
    """Return the error that says where in a file a problem is; the caller raises it.

    Parameters
    ----------
    path : path
    line : int or None
        Counted from 1; None where the problem is the whole file's.
    problem : str
        What was found and what is allowed.
    unit : str
        What `line` counts; ``"byte"`` (from 0) for binary files.

    Returns
    -------
    DataError

    Examples
    --------
    >>> from rnnlab.data.files import malformed
    >>> str(malformed("Coffee_TRAIN.tsv", 3, "found 12 values; every series must have 286"))
    'Coffee_TRAIN.tsv, line 3: found 12 values; every series must have 286'
    """
    where = os.fspath(path) if line is None else f"{os.fspath(path)}, {unit} {line}"
    return DataError(f"{where}: {problem}")


def short(value: object, longest: int = 40) -> str:
    """Return ``repr(value)``, cut in its middle where it is long: for messages that quote a file.

    Examples
    --------
    >>> from rnnlab.data.files import short
    >>> short("a" * 100, longest=11)
    "'aaa...aaa'"
    """
    text = repr(value)
    if len(text) <= longest:
        return text
    half = (longest - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def cache() -> Path:
    """Return the folder that downloads go to; it need not exist yet."""
    import platformdirs  # imported here because few need it; pooch would say the same, but brings a progress bar along

    return Path(platformdirs.user_cache_dir("rnnlab"))


def folders(root: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return the folders that data files are looked for in, in this order.

    Parameters
    ----------
    root : path, optional
        The only folder to look in. By default the folder that ``RNNLAB_DATA`` names, if it is set, and the downloads.

    Raises
    ------
    FileNotFoundError
        There is no such folder.

    Examples
    --------
    >>> from rnnlab.data.files import folders
    >>> [str(folder) for folder in folders(".")]
    ['.']
    """
    found = []
    for name, folder in (("root", root), ("RNNLAB_DATA", os.environ.get("RNNLAB_DATA") or None)):
        if folder is None:
            continue
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise FileNotFoundError(f"{name} must be a folder that holds data sets; there is no folder {str(path)!r}")
        found.append(path)
        if root is not None:
            return found
    return [*found, cache()]


def find(name: str, root: str | os.PathLike[str] | None = None) -> Path:
    """Return the path of a data file.

    Parameters
    ----------
    name : str
        Data set and file, for example ``"ptb/ptb.train.txt"``.
    root : path, optional
        The folder that holds ``ptb/``, ``ucr/`` and so on; by default `folders` are looked in.

    Raises
    ------
    FileNotFoundError
        It is in none of the folders, or there is no folder `root`.

    Examples
    --------
    >>> from rnnlab.data.files import find
    >>> find("ptb/ptb.train.txt", root=".")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: there is no ptb/ptb.train.txt in '.'; run `rnnlab data fetch ptb`, or set RNNLAB_DATA to ...
    """
    looked = folders(root)
    for folder in looked:
        path = folder / name
        if path.is_file():
            return path
    places = " or in ".join(repr(str(folder)) for folder in looked)
    raise FileNotFoundError(
        f"there is no {name} in {places}; run `rnnlab data fetch {name.split('/')[0]}`, "
        "or set RNNLAB_DATA to the folder that holds it"
    )


def read_text(path: str | os.PathLike[str]) -> str:
    r"""Return a UTF-8 text file as it is, but for a byte order mark and ``"\r\n"``, which becomes ``"\n"``.

    Raises
    ------
    DataError
        A byte is not UTF-8; the message names its line.
    """
    data = Path(path).read_bytes()
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        # The decoder that drops a byte order mark counts from behind it.
        start = error.start + 3 * data.startswith(b"\xef\xbb\xbf")
        line = data.count(b"\n", 0, start) + 1
        problem = f"byte 0x{data[start]:02x} at offset {start} is not UTF-8 ({error.reason})"
        raise malformed(path, line, problem) from None


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    r"""Return the lines of a UTF-8 text file, without their ends; a last empty one is left out.

    Only ``"\n"`` and ``"\r\n"`` end a line, so that line k of the result is line k + 1 of an editor.

    Raises
    ------
    DataError
        A byte is not UTF-8; the message names its line.
    """
    lines = read_text(path).split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def read_gzip(path: str | os.PathLike[str], longest: int = LONGEST) -> bytes:
    """Return what a gzip file holds.

    Parameters
    ----------
    path : path
    longest : int
        The most bytes it may unpack to.

    Raises
    ------
    DataError
        It is not gzip, is cut short, fails its own checksum, or unpacks to more than `longest` bytes.
    """
    import gzip

    try:
        with gzip.open(path, "rb") as file:
            data = file.read(longest + 1)
    except EOFError:
        raise malformed(path, None, "the gzip file is cut short") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise malformed(path, None, f"is not a sound gzip file ({error})") from None
    if len(data) > longest:
        raise malformed(path, None, f"unpacks to more than {longest} bytes")
    return data


def read_npz(path: str | os.PathLike[str], longest: int = LONGEST) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` file; one that holds Python objects is refused.

    Parameters
    ----------
    path : path
    longest : int
        The most bytes it may unpack to.

    Raises
    ------
    DataError
        It is not such a file, is damaged, holds Python objects, or unpacks to more than `longest` bytes.
    """
    data = Path(path).read_bytes()
    try:
        return _arrays(io.BytesIO(data), longest)
    except Exception as error:  # zipfile and numpy raise a dozen kinds on a damaged file and document few of them
        reason = " ".join(str(error).split())[:100] or "it is cut short"
        raise malformed(path, None, f"is not a sound .npz file of plain arrays ({reason})") from None


def _arrays(file: io.BytesIO, longest: int) -> dict[str, np.ndarray]:
    import zipfile

    arrays = {}
    with zipfile.ZipFile(file) as archive:
        total = sum(member.file_size for member in archive.infolist())
        if total > longest:
            raise ValueError(f"it unpacks to more than {longest} bytes")
        for name in archive.namelist():
            # The whole member first: its checksum is then verified before a header is believed.
            content = io.BytesIO(archive.read(name))
            arrays[name.removesuffix(".npy")] = np.lib.format.read_array(content, allow_pickle=False)
            if content.read(1):
                raise ValueError(f"{name} is longer than its header says")
    return arrays
