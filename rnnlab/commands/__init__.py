"""The commands of ``rnnlab``, one a file: its arguments, their checks, and what it prints."""

from __future__ import annotations

import argparse

import numpy as np

from rnnlab.backend import BACKENDS, default_backend, to_backend

__all__ = ["InputError", "add_backend", "usable_backend"]


class InputError(Exception):
    """What the user gave cannot be used; the message is one line."""


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add ``--backend``."""
    parser.add_argument("--backend", choices=BACKENDS, help="arrays to compute with (RNNLAB_BACKEND, then numpy)")


def usable_backend(given: str | None) -> str:
    """Return the backend that was asked for, on the command line or by the environment.

    Raises
    ------
    InputError
        The environment asks for a backend that there is not.
    BackendError
        There is no such device here.
    """
    try:
        backend = given or default_backend()
    except ValueError as error:
        raise InputError(str(error)) from None
    to_backend(np.zeros(1), backend)
    return backend
