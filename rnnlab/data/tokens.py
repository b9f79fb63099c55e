r"""Text of any size as a file of numbers: written piece by piece, read through a memory map.

A token file ``NAME`` is a one-dimensional ``.npy`` array of the smallest unsigned dtype that holds the vocabulary;
beside it lies ``NAME.json``, one object with the keys

- ``format``: ``"rnnlab tokens"``, and ``version``: 1;
- ``level``: ``"word"``, ``"character"`` or ``"byte"``;
- ``count`` and ``dtype`` of the array;
- ``vocabulary``: a list of strings, of which number k stands for token k; null for bytes;
- ``crc32``: the CRC-32 of ``[level, vocabulary]`` as JSON, continued over the array's bytes, so that a damaged file, or
  one of another text, is noticed.

Both are written under a temporary name and moved into place when they are whole. Nothing in them is ever executed.
"""

from __future__ import annotations

import codecs
import os
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from rnnlab.data.files import malformed, read_text, short

__all__ = ["LEVELS", "Tokens", "open_tokens", "write_tokens"]

EOS, UNKNOWN = "<eos>", "<unk>"
LEVELS = ("word", "character", "byte")
FORMAT, VERSION = "rnnlab tokens", 1
CHUNK = 2**20  # bytes of text that are looked at together
LONGEST_WORD = 2**16  # characters; a "word" longer than that means that the file is no text of words

Pieces = Iterator[tuple[int, list[str]]]  # the line that a piece starts on, and its words or characters


class Tokens(NamedTuple):
    """An opened token file.

    Attributes
    ----------
    tokens : numpy.memmap, shape (count,)
        Unsigned integers, read-only; only what is looked at is read from the disk.
    vocabulary : list of str, or list of bytes
        What number k stands for; for bytes, the 256 of them.
    level : {"word", "character", "byte"}
    """

    tokens: np.memmap[Any, Any]
    vocabulary: list[str] | list[bytes]
    level: str


def write_tokens(
    text_path: str | os.PathLike[str],
    out_path: str | os.PathLike[str],
    level: str = "word",
    vocabulary: Sequence[str] | None = None,
) -> list[str] | list[bytes]:
    r"""Turn a text file, which may be larger than the memory, into a token file for `open_tokens`.

    Parameters
    ----------
    text_path : path
        UTF-8, unless `level` is ``"byte"``.
    out_path : path
        The token file to write, with ``out_path.json`` beside it. Files of these names are replaced.
    level : {"word", "character", "byte"}
        Words stand between white space, and every line ends with the word ``<eos>``, an empty line too. Characters
        and bytes are kept as they are, line ends included.
    vocabulary : sequence of str, optional
        The words or characters that get the numbers 0, 1, ...: give the validation text the vocabulary of the
        training text. What is not in it counts as ``<unk>``. By default those of this text: words by falling
        frequency, equally frequent ones in alphabetical order; characters by code point.

    Returns
    -------
    list of str, or list of bytes
        The vocabulary.

    Raises
    ------
    ValueError
        There is no such level; or the vocabulary is empty, holds something twice, or goes with bytes.
    DataError
        The text is empty or not UTF-8, or holds something that is neither in the vocabulary nor can be ``<unk>``.

    Notes
    -----
    Without a vocabulary the text is read twice. Memory: some 50 MB and the vocabulary, whatever the size of the text.

    Examples
    --------
    >>> import pathlib, tempfile, rnnlab.data
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "train.txt").write_text("to be or not\nto be\n")
    >>> rnnlab.data.write_tokens(folder / "train.txt", folder / "train.npy")
    ['<eos>', 'be', 'to', 'not', 'or']
    >>> rnnlab.data.open_tokens(folder / "train.npy").tokens.tolist()
    [2, 1, 4, 3, 0, 2, 1, 0]
    """
    source, target = Path(text_path), Path(out_path)
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}; got {level!r}")
    known = _checked(vocabulary, level)
    if source.stat().st_size == 0:
        raise malformed(source, None, "the file is empty")
    if level == "byte":
        _write(target, level, None, _dtype(256), _bytes(source))
        return _all_bytes()
    words = list(known) if known is not None else _build_vocabulary(source, level)
    _write(target, level, words, _dtype(len(words)), _encoded(source, level, words))
    return words


def open_tokens(path: str | os.PathLike[str], check: bool = True) -> Tokens:
    """Open a token file.

    Parameters
    ----------
    path : path
        What was the ``out_path`` of `write_tokens`.
    check : bool
        Whether to read through the whole file once, to verify its checksum and that the vocabulary has every number.

    Returns
    -------
    Tokens

    Raises
    ------
    FileNotFoundError
        It, or the ``.json`` beside it, is not there.
    DataError
        One of the two is malformed, or they do not belong together.

    Examples
    --------
    >>> import pathlib, tempfile, rnnlab.data
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "text").write_bytes(b"abba")
    >>> _ = rnnlab.data.write_tokens(folder / "text", folder / "text.npy", level="byte")
    >>> opened = rnnlab.data.open_tokens(folder / "text.npy")
    >>> opened.tokens[:3].tolist(), opened.vocabulary[98]
    ([97, 98, 98], b'b')
    """
    file, beside = Path(path), _beside(path)
    for needed in (file, beside):
        if not needed.is_file():
            raise FileNotFoundError(f"there is no file {str(needed)!r}; rnnlab.data.write_tokens makes token files")
    about = _read_about(beside)
    size = 256 if about["level"] == "byte" else len(about["vocabulary"])
    tokens = _map(file, _dtype(size), about["count"])
    if check:
        _check_content(file, tokens, about)
    return Tokens(tokens, _all_bytes() if about["level"] == "byte" else about["vocabulary"], about["level"])


# ------------------------------------------------------------------------------- reading the text


def _checked(vocabulary: Sequence[str] | None, level: str) -> list[str] | None:
    if vocabulary is None:
        return None
    if level == "byte":
        raise ValueError("vocabulary must be None for level='byte': the 256 bytes are the vocabulary")
    words = list(vocabulary)
    if not words:
        raise ValueError("vocabulary must hold at least one string; got none")
    twice = [word for word, count in Counter(words).items() if count > 1]
    if twice:
        raise ValueError(f"vocabulary must hold every string once; got {short(twice[0])} more than once")
    return words


def _dtype(size: int) -> np.dtype[Any]:
    """Return the dtype of the tokens of a vocabulary of `size`: the same bytes on every machine."""
    return np.min_scalar_type(size - 1).newbyteorder("<")


def _all_bytes() -> list[bytes]:
    return [bytes([k]) for k in range(256)]


def _build_vocabulary(path: Path, level: str) -> list[str]:
    counts: Counter[str] = Counter()
    for _, piece in _pieces(path, level):
        counts.update(piece)
    if level == "character":
        return sorted(counts)
    return sorted(counts, key=lambda word: (-counts[word], word))


def _pieces(path: Path, level: str) -> Pieces:
    return _words(path) if level == "word" else ((line, list(text)) for line, text in _texts(path))


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, text) for pieces of a UTF-8 file that may end anywhere in a line; the last text is empty."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line, offset, first = 1, 0, True
    with path.open("rb") as file:
        while True:
            chunk = file.read(CHUNK)
            waiting = len(decoder.getstate()[0])
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                at = offset - waiting + error.start
                problem = f"byte 0x{error.object[error.start]:02x} at offset {at} is not UTF-8 ({error.reason})"
                raise malformed(path, line, problem) from None
            if text or not chunk:
                yield line, text.removeprefix("\ufeff") if first else text
            if not chunk:
                return
            line, offset, first = line + text.count("\n"), offset + len(chunk), first and not text


def _words(path: Path) -> Pieces:
    """Yield (line, words) for pieces of a text; a line's end is the word ``<eos>``."""
    rest, last, start = "", "", 1
    for line, text in _texts(path):
        # A word that the end of the piece cuts waits for the next piece.
        whole = rest + text
        last = text[-1:] or last
        cut = 0 if not text or text[-1].isspace() else len(whole.rsplit(None, 1)[-1])
        rest, whole = (whole[len(whole) - cut :], whole[: len(whole) - cut]) if text else ("", whole)
        if len(rest) > LONGEST_WORD:
            problem = f"found a word of more than {LONGEST_WORD} characters; is this text?"
            raise malformed(path, line + text.count("\n"), problem)
        if not text and last != "\n":
            whole += "\n"  # the last line ends, too
        yield start, whole.replace("\n", f" {EOS} ").split()
        start = line + text.count("\n")


# ------------------------------------------------------------------------------ writing the numbers


def _bytes(path: Path) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield np.frombuffer(chunk, np.uint8)


def _encoded(path: Path, level: str, vocabulary: list[str]) -> Iterator[np.ndarray]:
    numbers = {word: k for k, word in enumerate(vocabulary)}
    unknown = numbers.get(UNKNOWN, -1)
    for line, piece in _pieces(path, level):
        tokens = np.fromiter((numbers.get(word, unknown) for word in piece), np.int64, len(piece))
        missing = np.flatnonzero(tokens < 0)
        if missing.size:
            at = int(missing[0])
            line += piece[:at].count(EOS if level == "word" else "\n")
            problem = f"the {level} {short(piece[at])} is not in the vocabulary, nor is {UNKNOWN} to stand for it"
            raise malformed(path, line, problem)
        yield tokens.astype(_dtype(len(vocabulary)))


def _write(
    target: Path, level: str, vocabulary: list[str] | None, dtype: np.dtype[Any], pieces: Iterator[np.ndarray]
) -> None:
    count, checksum = 0, _first_checksum(level, vocabulary)

    def write(file: BinaryIO) -> None:
        nonlocal count, checksum
        _write_header(file, dtype, 0)
        start = file.tell()
        for piece in pieces:
            file.write(piece.tobytes())
            count, checksum = count + len(piece), zlib.crc32(piece.tobytes(), checksum)
        file.seek(0)
        _write_header(file, dtype, count)
        assert file.tell() == start, "numpy pads the header so that a longer array fits in"

    def write_about(file: BinaryIO) -> None:
        import json

        about = {"format": FORMAT, "version": VERSION, "level": level, "count": count, "dtype": dtype.name,
                 "crc32": checksum, "vocabulary": vocabulary}  # fmt: skip
        file.write(json.dumps(about, ensure_ascii=False).encode("utf-8"))

    _replace(target, write)
    _replace(_beside(target), write_about)


def _first_checksum(level: str, vocabulary: list[str] | None) -> int:
    import json

    return zlib.crc32(json.dumps([level, vocabulary]).encode("ascii"))


def _write_header(file: BinaryIO, dtype: np.dtype[Any], count: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": dtype.str, "fortran_order": False, "shape": (count,)})


def _replace(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file under a temporary name and move it into place: it is never seen half written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _beside(path: str | os.PathLike[str]) -> Path:
    return Path(f"{os.fspath(path)}.json")


# ------------------------------------------------------------------------------ reading the numbers


def _read_about(path: Path) -> dict[str, Any]:
    import json

    try:
        about = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise malformed(path, getattr(error, "lineno", None), f"is not JSON ({str(error)[:100]})") from None
    except ValueError as error:  # an integer of thousands of digits
        if str(path) in str(error):
            raise
        raise malformed(path, None, f"is not JSON ({str(error)[:100]})") from None
    problem = _problem(about)
    if problem:
        raise malformed(path, None, problem)
    found: dict[str, Any] = about
    return found


def _problem(about: Any) -> str | None:
    """Return what is wrong with the description of a token file, or None."""
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        return f"must be an object whose format is {FORMAT!r}"
    if about.get("version") != VERSION:
        return f"version must be {VERSION}; got {short(about.get('version'))}"
    level, words = about.get("level"), about.get("vocabulary")
    if level not in LEVELS:
        return f"level must be one of {', '.join(LEVELS)}; got {short(level)}"
    for key in ("count", "crc32"):
        if type(about.get(key)) is not int or not 0 <= about[key] < 2**62:
            return f"{key} must be an integer from 0 on; got {short(about.get(key))}"
    if level == "byte":
        if words is not None:
            return f"vocabulary must be null for bytes; got {short(words)}"
    elif not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        return f"vocabulary must be a list of strings; got {short(words)}"
    elif len(set(words)) < len(words):
        return "vocabulary must hold every string once"
    dtype = _dtype(256 if words is None else len(words)).name
    if about.get("dtype") != dtype:
        return f"dtype must be {dtype!r} for this vocabulary; got {short(about.get('dtype'))}"
    return None


def _map(path: Path, dtype: np.dtype[Any], count: int) -> np.memmap[Any, Any]:
    # A mapped file is read by its header alone, so the header must be the one that is written for this description.
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("error")
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"version {version} of the format")
            header = np.lib.format.read_array_header_1_0(file)
            start = file.tell()
    except OSError:
        raise
    except Exception as error:  # numpy raises several kinds on a damaged header
        reason = " ".join(str(error).split())[:100]
        raise malformed(path, 0, f"is not the header of a token file ({reason})", unit="byte") from None
    if header != ((count,), False, dtype):
        found = f"{short(header[2])} of shape {short(header[0])}"
        raise malformed(path, 0, f"{_beside(path)} says {dtype.name} of shape ({count},); got {found}", "byte")
    size, right = path.stat().st_size, start + count * dtype.itemsize
    if size != right or count == 0:
        problem = f"must have {right} bytes, as {_beside(path)} says, and hold a token; got {size} bytes"
        raise malformed(path, None, problem)
    return np.memmap(path, dtype, "r", offset=start, shape=(count,))


def _check_content(path: Path, tokens: np.memmap[Any, Any], about: dict[str, Any]) -> None:
    checksum = _first_checksum(about["level"], about["vocabulary"])
    size = 256 if about["level"] == "byte" else len(about["vocabulary"])
    for start in range(0, len(tokens), CHUNK):
        piece = np.asarray(tokens[start : start + CHUNK])
        checksum = zlib.crc32(piece.tobytes(), checksum)
        largest = int(piece.max())
        if largest >= size:
            raise malformed(path, None, f"holds the number {largest}; {_beside(path)} has {size} words or characters")
    if checksum != about["crc32"]:
        problem = f"the CRC-32 of it and its vocabulary is {checksum}, but {_beside(path)} says {about['crc32']}"
        raise malformed(path, None, problem)
