"""``rnnlab data``: which data sets are here, get them, check them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from rnnlab.commands import InputError
from rnnlab.data.files import DataError
from rnnlab.data.registry import DATASETS, DataFile, Dataset, DownloadError, checksum, fetch, locate

__all__ = ["DESCRIPTION", "HELP", "add_arguments", "run"]

HELP = "list, download and check data sets"
DESCRIPTION = (
    "List the data sets that experiments use, download one, or compare the files that are here with their SHA-256 "
    "checksums. Files are looked for in --root; else in the folder that RNNLAB_DATA names, then among the downloads. "
    "Exit status 1 if a file is not what it should be or cannot be downloaded."
)
NAMES = tuple(found.name for found in DATASETS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(metavar="action", required=True, dest="action")
    actions.add_parser("list", help="one data set a line: its name, where it is, size, licence")
    get = actions.add_parser("fetch", help="download a data set, with its checksums verified")
    get.add_argument("name", choices=NAMES, help="the data set")
    get.add_argument("--out", metavar="DIR", help="the folder to write to (the cache, where the loaders look)")
    check = actions.add_parser("check", help="verify the checksums of what is here")
    check.add_argument("name", nargs="?", choices=NAMES, help="the data set (all)")
    for name in ("list", "check"):
        actions.choices[name].add_argument("--root", metavar="DIR", help="the folder that holds the data sets")


def run(arguments: Any) -> int:
    """Run the command; return the exit status."""
    action = {"list": _list, "fetch": _fetch, "check": _check}[arguments.action]
    try:
        return action(arguments)
    except DownloadError as error:
        print(f"rnnlab data fetch: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except FileNotFoundError as error:
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None


# ------------------------------------------------------------------------------------------- list


def _list(arguments: Any) -> int:
    rows = [_row(found, arguments.root) for found in DATASETS]
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    for name, where, size, licence in rows:
        print(f"{name:<{widths[0]}}  {where:<{widths[1]}}  {size:>{widths[2]}}  {licence}")
    return 0


def _row(found: Dataset, root: str | None) -> tuple[str, str, str, str]:
    files = locate(found.name, root)
    here = [(file, path) for file, path in files if path is not None]
    places = dict.fromkeys(_folder(file, path) for file, path in here)
    where = " and ".join(places) or "not here"
    if here and len(here) < len(files):
        where += f" ({len(here)} of {len(files)} files)"
    return found.name, where, f"{sum(file.size for file in found.files) / 1e6:.1f} MB", found.licence


def _folder(file: DataFile, path: Path) -> str:
    """Return the folder of data sets that a file lies in, with the set's own folder."""
    root = os.fspath(path).removesuffix(str(Path(file.name)))
    return os.path.join(root, file.name.split("/")[0])


# ---------------------------------------------------------------------------------- fetch and check


def _fetch(arguments: Any) -> int:
    for path in fetch(arguments.name, arguments.out, progress=sys.stderr.isatty()):
        print(path)
    left = [file.name for found in DATASETS if found.name == arguments.name for file in found.files if not file.address]
    if left:
        by_hand = next(found.by_hand for found in DATASETS if found.name == arguments.name)
        print(f"rnnlab data fetch: {', '.join(left)} has to be fetched by hand: {by_hand}", file=sys.stderr)
    return 0


def _check(arguments: Any) -> int:
    wrong = 0
    for name in NAMES if arguments.name is None else (arguments.name,):
        files = [(file, path) for file, path in locate(name, arguments.root) if path is not None]
        if not files and arguments.name is not None:
            raise InputError(f"{name} is not here; run `rnnlab data fetch {name}`, or set RNNLAB_DATA")
        problems = [problem for file, path in files if (problem := _problem(file, path))]
        for problem in problems:
            print(f"rnnlab data check: {problem}", file=sys.stderr)
        wrong += len(problems)
        verdict = f"WRONG, files: {len(problems)} of {len(files)}" if problems else f"ok, files: {len(files)}"
        print(f"{name:<{max(map(len, NAMES))}}  {verdict if files else 'not here'}")
    return 1 if wrong else 0


def _problem(file: DataFile, path: Path) -> str | None:
    try:
        found = checksum(path)
    except DataError as error:
        return str(error)
    return None if found == file.sha256 else f"{path}: its SHA-256 is {found}; it must be {file.sha256}"
