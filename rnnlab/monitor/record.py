"""The file of a record: a row at a time as CSV or JSON lines, cut back to a checkpoint, and read again.

A number is written with as many digits as it takes to read the same number back; one that is not finite is written as
``nan``, ``inf`` or ``-inf``, in JSON as a string, since JSON has no such number.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path

import numpy as np

__all__ = ["append", "cut", "read_record"]

Row = dict[str, float]


def append(path: Path, row: Row, first: bool) -> None:
    """Append a row; the first one makes the file anew.

    Raises
    ------
    OSError
        It cannot be written; the message names the file.
    """
    if path.suffix == ".jsonl":
        text = json.dumps({name: v if math.isfinite(v) else repr(v) for name, v in row.items()}) + "\n"
    else:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([*([list(row)] if first else []), [repr(v) for v in row.values()]])
        text = stream.getvalue()
    try:
        with open(path, "w" if first else "a", encoding="utf-8", newline="") as file:
            file.write(text)
    except OSError as error:
        raise OSError(error.errno, f"the record cannot be written ({error.strerror})", str(path)) from None


def cut(path: Path, count: int, size: int) -> list[Row]:
    """Cut a record back to its first ``count`` rows, which are ``size`` bytes, and return them.

    Raises
    ------
    ValueError
        The file does not begin with them.
    """
    data = path.read_bytes() if path.exists() else b""
    try:
        rows = _parse(data[:size], path)
    except ValueError:
        rows = []
    if len(data) < size or len(rows) != count:
        raise ValueError(
            f"{path} must begin with the {count} rows of {size} bytes that it held at the checkpoint; "
            f"it has {len(data)} bytes, and was changed or removed since"
        )
    os.truncate(path, size)  # one step for the file system: a kill leaves the file either long or short
    return rows


def read_record(file: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the columns of a record that a `rnnlab.Monitor` wrote.

    Parameters
    ----------
    file : path
        Ending in ``.csv`` or ``.jsonl``. A last row that a kill cut short is left out.

    Returns
    -------
    dict
        Column -> array of floats, one for each row.

    Raises
    ------
    ValueError
        A row is malformed; the message names its line.
    """
    path = Path(file)
    data = path.read_bytes()
    rows = _parse(data[: data.rfind(b"\n") + 1], path)
    return {name: np.array([row[name] for row in rows], float) for name in (rows[0] if rows else [])}


def _parse(data: bytes, path: Path) -> list[Row]:
    rows: list[Row] = []
    names: list[str] | None = None
    for k, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        try:
            if path.suffix == ".jsonl":
                row = {name: float(value) for name, value in json.loads(line).items()}
            else:
                cells = next(csv.reader([line]))
                if names is None:
                    names = cells
                    continue
                row = {name: float(cell) for name, cell in zip(names, cells, strict=True)}
        except (ValueError, TypeError, AttributeError, StopIteration):
            raise ValueError(f"{path}, line {k}: is no row of a record") from None
        if rows and row.keys() != rows[0].keys():
            raise ValueError(f"{path}, line {k}: must have the columns of the first row; got {', '.join(row)}")
        rows.append(row | {name: int(row[name]) for name in ("step", "epoch") if name in row})
    return rows
