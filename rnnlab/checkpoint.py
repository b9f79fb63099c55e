"""Checkpoints: a tree of arrays, numbers and generators in one file, written whole or not at all.

A checkpoint is a ``.npz`` file that `numpy.load` opens: one array a member, and ``tree.json``, which says what hangs
where and holds everything else. NumPy's own format keeps every dtype (complex ones too), zero-dimensional
arrays and Fortran order; a file format made for weights alone, such as safetensors, does not. Nothing is pickled.

- *Written atomically*: under another name in the same folder, flushed to the disk, then renamed.
- *Checked*: every member carries a CRC-32, looked at before anything is made of its bytes. `load` passes over a damaged
  checkpoint with a warning and takes the one before.
- *One writer*: `lock` keeps a second process out of the folder; the system frees it when the process ends, however.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import socket
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rnnlab.backend import BackendError, to_backend

__all__ = ["CheckpointError", "DamagedError", "checkpoints", "load", "lock", "read", "save", "write"]

FORMAT, VERSION = "rnnlab checkpoint", 1
HEAD = "tree.json"
GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")

Name = str | os.PathLike[str]


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read; the message is one line that says which and why."""


class DamagedError(CheckpointError):
    """A file is no whole checkpoint."""


# ------------------------------------------------------------------------- a folder of checkpoints


def save(folder: Name, tree: Any, step: int, keep: int = 3) -> Path:
    """Write ``checkpoint-STEP.npz`` into a folder, then remove all but the newest few.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    tree : Any
        Nested dicts (of strings or ints), lists and tuples of arrays, numbers, strings, None, and
        `numpy.random.Generator`.
    step : int
        Checkpoints of later steps are removed as well: a run that went back to before them has left them behind.
    keep : int
        How many are kept, this one included.

    Returns
    -------
    Path

    Raises
    ------
    CheckpointError
        The disk is full, or the folder cannot be written to. The checkpoints that were there are as they were.
    TypeError
        The tree holds something else.

    Examples
    --------
    >>> import tempfile, numpy as np, rnnlab.checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for step in (10, 20, 30):
    ...         path = rnnlab.checkpoint.save(folder, {"w": np.ones(2), "step": step}, step, keep=2)
    ...     [path.name for path in rnnlab.checkpoint.checkpoints(folder)], rnnlab.checkpoint.load(folder)["step"]
    (['checkpoint-0000000030.npz', 'checkpoint-0000000020.npz'], 30)
    """
    folder = Path(folder)
    if step < 0 or keep < 1:
        raise ValueError(f"step must be at least 0 and keep at least 1; got {step} and {keep}")
    path = folder / f"checkpoint-{step:010d}.npz"
    try:
        write(path, tree)
    except CheckpointError as error:
        last = next(iter(checkpoints(folder)), None)
        raise CheckpointError(f"{error}; the last good checkpoint is {last or 'none'}") from error.__cause__
    found = checkpoints(folder)
    later, rest = [p for p in found if p > path], [p for p in found if p <= path]
    with contextlib.suppress(OSError):
        for old in later + rest[keep:]:
            old.unlink()
    return path


def load(folder: Name, backend: str = "numpy") -> Any:
    """Return the tree of the newest checkpoint of a folder that is whole.

    Parameters
    ----------
    folder : path
    backend : {"numpy", "cupy"}
        Where arrays go that were CuPy's when they were saved; all others are NumPy's.

    Returns
    -------
    Any
        As it was saved; of a subclass of dict or tuple the plain one.

    Raises
    ------
    CheckpointError
        There is no whole checkpoint, or the newest is of another version of the format.

    Warns
    -----
    UserWarning
        A damaged checkpoint was passed over.
    """
    found = checkpoints(folder)
    for path in found:
        try:
            return read(path, backend)
        except DamagedError as error:
            warnings.warn(f"{error}; trying the checkpoint before it", stacklevel=2)
    raise CheckpointError(f"{folder} holds no {'whole ' if found else ''}checkpoint")


def checkpoints(folder: Name) -> list[Path]:
    """Return the paths of a folder's checkpoints, the newest first."""
    return sorted(Path(folder).glob("checkpoint-" + "[0-9]" * 10 + ".npz"), reverse=True)


@contextlib.contextmanager
def lock(folder: Name) -> Iterator[None]:
    """Keep every other process, and every other run of this one, from training in a folder.

    The lock is the operating system's, on the file ``lock`` in the folder: it ends with the process, even a killed
    one; the file stays. Leftovers of a killed writer are removed.

    Parameters
    ----------
    folder : path
        Made if it is not there.

    Raises
    ------
    CheckpointError
        The folder is in use, or cannot be written to.

    Examples
    --------
    >>> import tempfile, rnnlab.checkpoint
    >>> with tempfile.TemporaryDirectory() as folder, rnnlab.checkpoint.lock(folder):
    ...     try:
    ...         with rnnlab.checkpoint.lock(folder):
    ...             pass
    ...     except rnnlab.checkpoint.CheckpointError as error:
    ...         print("is in use by process" in str(error))
    True
    """
    folder = Path(folder)
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(folder / "lock", "a+", encoding="utf-8"))
            if not _seize(file.fileno(), folder):
                file.seek(0)
                raise CheckpointError(f"{folder} is in use by {file.read().strip() or 'another process'}")
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            for leftover in folder.glob("*.partial"):
                leftover.unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(f"cannot write to {folder}: {error.strerror or error}") from error
        yield


def _seize(descriptor: int, folder: Path) -> bool:
    """Lock an open file; False where somebody holds it."""
    try:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            os.lseek(descriptor, 2**30, os.SEEK_SET)  # far behind the text: a locked byte cannot be read
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        warnings.warn(f"{folder} lies where files cannot be locked: let only one process use it", stacklevel=4)
    return True


# ------------------------------------------------------------------------------------- one file


def write(path: Name, tree: Any) -> Path:
    """Write a tree to a file, all of it or nothing.

    Parameters
    ----------
    path : path
        What was there is replaced.
    tree : Any
        See `save`.

    Returns
    -------
    Path

    Raises
    ------
    CheckpointError
        The file cannot be written; what was there is as it was.
    TypeError
        The tree holds something that cannot be saved.

    Examples
    --------
    >>> import tempfile, numpy as np, rnnlab.checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = rnnlab.checkpoint.write(f"{folder}/best.npz", {"params": {"w": np.ones(2)}, "loss": 0.5})
    ...     rnnlab.checkpoint.read(path), np.load(path)["params.w"]
    ({'params': {'w': array([1., 1.])}, 'loss': 0.5}, array([1., 1.]))
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")
    arrays: dict[str, np.ndarray] = {}
    head = json.dumps({"format": FORMAT, "version": VERSION, "tree": _encode(tree, "", arrays)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as stream:
            _write_members(stream, head, arrays)
            stream.flush()
            os.fsync(stream.fileno())  # else a power cut could leave the new name with an empty file
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return path


def _write_members(stream: BinaryIO, head: str, arrays: dict[str, np.ndarray]) -> None:
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo(HEAD), head)
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _sync_folder(folder: Path) -> None:
    """Make a rename last; where a folder cannot be opened (Windows) the system sees to it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Name, backend: str = "numpy") -> Any:
    """Return the tree that `write` wrote.

    Parameters
    ----------
    path : path
    backend : {"numpy", "cupy"}
        See `load`.

    Raises
    ------
    DamagedError
        The file is no whole checkpoint.
    CheckpointError
        It cannot be opened, or is of another version of the format.
    """
    try:
        stream = open(path, "rb")
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    with stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                head = json.loads(archive.read(HEAD))
                if head["format"] != FORMAT:
                    raise ValueError(f"its format is {head['format']!r}")
                if head["version"] != VERSION:
                    raise CheckpointError(
                        f"{path} is of version {head['version']} of the format; this rnnlab reads version {VERSION}"
                    )
                return _decode(head["tree"], archive, backend)
        except (BackendError, CheckpointError):
            raise
        except Exception as error:  # whatever zipfile, json and numpy say of bytes that are not as they were
            raise DamagedError(f"{path} is damaged or no checkpoint ({type(error).__name__}: {error})") from error


# ----------------------------------------------------------------- a tree as JSON, its arrays apart


def _encode(tree: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if tree is None or type(tree) in (bool, int, float, str):
        return tree
    if isinstance(tree, np.generic):
        return {"scalar": _keep(np.asarray(tree), path, arrays)}
    if type(tree).__module__.partition(".")[0] == "cupy":
        return {"cupy": _keep(tree.get(), path, arrays)}
    if isinstance(tree, np.ndarray):
        return {"array": _keep(np.asarray(tree), path, arrays)}
    if isinstance(tree, np.random.Generator):
        return {"generator": _encode(_generator_state(tree), path, arrays)}
    if isinstance(tree, Mapping):
        if any(type(key) not in (str, int) for key in tree):
            raise TypeError(f"{path or 'tree'} must have strings or ints as keys; got {list(tree)!r}")
        return {"dict": [[key, _encode(child, _below(path, key), arrays)] for key, child in tree.items()]}
    if isinstance(tree, (list, tuple)):
        parts = [_encode(child, _below(path, k), arrays) for k, child in enumerate(tree)]
        return parts if isinstance(tree, list) else {"tuple": parts}
    raise TypeError(f"{path or 'tree'} is a {type(tree).__name__}, which a checkpoint cannot hold")


def _keep(array: np.ndarray, path: str, arrays: dict[str, np.ndarray]) -> str:
    if array.dtype.hasobject:
        raise TypeError(f"{path or 'tree'} is an array of objects, which a checkpoint cannot hold")
    name = path or "tree"
    while name in arrays:  # {"a": {"b": ...}, "a.b": ...}
        name += "'"
    arrays[name] = array
    return name


def _below(path: str, key: str | int) -> str:
    return f"{path}.{key}" if path else str(key)


def _decode(code: Any, archive: zipfile.ZipFile, backend: str) -> Any:
    if isinstance(code, list):
        return [_decode(part, archive, backend) for part in code]
    if not isinstance(code, dict):
        return code
    ((kind, content),) = code.items()
    if kind in ("array", "scalar", "cupy"):
        member = io.BytesIO(archive.read(f"{content}.npy"))  # read whole, and so checked, before it is looked into
        array = np.lib.format.read_array(member, allow_pickle=False)
        if kind == "cupy":
            return to_backend(array, backend)
        return array[()] if kind == "scalar" else array
    if kind == "dict":
        return {key: _decode(child, archive, backend) for key, child in content}
    if kind == "tuple":
        return tuple(_decode(part, archive, backend) for part in content)
    if kind == "generator":
        return _generator(_decode(content, archive, backend))
    raise ValueError(f"it holds a {kind!r}")


def _generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """Return all of a generator, also where it is in handing out children by ``spawn``."""
    bits = rng.bit_generator
    if bits.state["bit_generator"] not in GENERATORS:
        raise TypeError(f"a generator must be one of NumPy's, {', '.join(GENERATORS)}; got {rng!r}")
    seed: Any = bits.seed_seq
    known = isinstance(seed, np.random.SeedSequence)
    return {"state": bits.state, "seed": seed.state if known else None}


def _generator(saved: dict[str, Any]) -> np.random.Generator:
    name = saved["state"]["bit_generator"]
    if name not in GENERATORS:
        raise ValueError(f"it holds a generator {name!r}")
    seed = None if saved["seed"] is None else np.random.SeedSequence(**saved["seed"])
    bits = getattr(np.random, name)(seed)
    bits.state = saved["state"]
    return np.random.Generator(bits)
