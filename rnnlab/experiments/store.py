"""The folder of an experiment: a line of JSON for every run that is done, appended whole, and read again.

``runs/VARIANT.jsonl`` holds the runs; ``running/`` the checkpoints of long ones that are under way. A kill may tear the
last line of a file; it is cut off when the folder is next opened, and its run is done again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rnnlab import checkpoint

__all__ = ["Store", "StoreError", "open_store"]

KEYS = ("experiment", "variant", "arm", "rate", "option", "seed", "config")


class StoreError(ValueError):
    """The folder cannot be used; the message is one line."""


class Store:
    """The runs of one experiment in a folder; made by `open_store`.

    Attributes
    ----------
    folder : Path
    records : list of dict
        The runs that are done.
    """

    def __init__(self, folder: Path, experiment: str) -> None:
        self.folder, self.experiment = folder, experiment
        self.records: list[dict[str, Any]] = []
        try:
            (folder / "runs").mkdir(parents=True, exist_ok=True)
            for path in sorted((folder / "runs").glob("*.jsonl")):
                self.records += _read(path)
        except OSError as error:
            raise StoreError(f"{error.filename or folder}: cannot be read or written ({error.strerror})") from None
        for record in self.records:
            if record["experiment"] != experiment:
                raise StoreError(f"{folder} holds runs of {record['experiment']}, not of {experiment}")

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a run: its line is in the file, and on the disk, when this returns.

        Raises
        ------
        StoreError
            It cannot be written; the runs that were there are as they were.
        """
        path = self.folder / "runs" / f"{_file_name(record['variant'])}.jsonl"
        line = json.dumps(record, allow_nan=False, ensure_ascii=False).encode() + b"\n"
        try:
            with open(path, "ab", buffering=0) as file:
                size = file.seek(0, os.SEEK_END)
                try:
                    written = file.write(line)
                    if written != len(line):  # a disk that fills up takes a part
                        raise OSError(28, "no space left on the device")
                    os.fsync(file.fileno())
                except OSError:
                    with contextlib.suppress(OSError):
                        file.truncate(size)
                    raise
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
        self.records.append(dict(record))

    def running(self, name: str) -> Path:
        """Return the folder for the checkpoints of a run; it need not exist."""
        return self.folder / "running" / name

    def forget(self, name: str) -> None:
        """Remove the checkpoints of a run that is done."""
        shutil.rmtree(self.running(name), ignore_errors=True)


@contextlib.contextmanager
def open_store(folder: str | os.PathLike[str], experiment: str) -> Iterator[Store]:
    """Open the folder of an experiment, and keep every other process out of it.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    experiment : str
        A folder with runs of another one is refused.

    Yields
    ------
    Store

    Raises
    ------
    StoreError
        Another process works in the folder, it holds something else, or a line in it is no run.

    Examples
    --------
    >>> import tempfile
    >>> run = {"experiment": "toy", "variant": "a b", "arm": "sgd", "rate": 0.1, "option": None, "seed": 0}
    >>> run["config"] = "0123456789abcdef"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open_store(folder, "toy") as store:
    ...         store.append(run)
    ...     with open_store(folder, "toy") as store:
    ...         store.records == [run], [path.name for path in Path(folder, "runs").iterdir()]
    (True, ['a_b.jsonl'])
    """
    path = Path(folder)
    _check_folder(path)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(checkpoint.lock(path))
        except checkpoint.CheckpointError as error:
            raise StoreError(str(error)) from None
        yield Store(path, experiment)


def _check_folder(path: Path) -> None:
    """Refuse a folder that is in the way, before anything is written."""
    if path.exists() and not path.is_dir():
        raise StoreError(f"{path}: is no folder")
    if path.is_dir() and any(path.iterdir()) and not (path / "runs").is_dir() and not (path / "lock").exists():
        raise StoreError(f"{path}: exists and is not an empty folder, nor does it hold an experiment")


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the runs of a file, and cut off a torn last line."""
    data = path.read_bytes()
    lines = data.split(b"\n")
    records, whole = [], 0
    for number, line in enumerate(lines, 1):
        last = number >= len(lines) - 1  # what follows, if anything, is the empty end of the file
        record = _parsed(line) if number < len(lines) else None
        if record is None:
            if not last:
                raise StoreError(f"{path}, line {number}: is no run; remove the line to go on without it")
            break
        records.append(record)
        whole += len(line) + 1
    if whole < len(data):
        os.truncate(path, whole)
    return records


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and all(key in record for key in KEYS) else None


def _file_name(variant: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", variant).lstrip(".") or "_"
