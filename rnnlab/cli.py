"""The command ``rnnlab``: exit status 0 on success, 1 on a failed check, 2 on bad input, 130 after Ctrl-C."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import rnnlab
from rnnlab.backend import BackendError
from rnnlab.commands import InputError, compare, data, gradcheck, reproduce, sweep, train

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, instead of the usage and a line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; each command sets ``run``."""
    top = _Parser(prog="rnnlab", description="Recurrent networks with hand-written backpropagation through time.")
    top.add_argument("--version", action="version", version=f"rnnlab {rnnlab.__version__}")
    commands = top.add_subparsers(metavar="command", required=True, parser_class=_Parser)
    for module in (compare, train, reproduce, sweep, gradcheck, data):
        name = module.__name__.rpartition(".")[2]
        sub = commands.add_parser(name, help=module.HELP, description=module.DESCRIPTION)
        module.add_arguments(sub)
        sub.set_defaults(run=module.run, prog=sub.prog)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Without the program's name; by default ``sys.argv[1:]``.

    Returns
    -------
    int
        The exit status.

    Examples
    --------
    >>> main(["gradcheck", "no_such_module:Layer"])     # one line on stderr
    2
    """
    arguments: Any = parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except (InputError, BackendError) as error:
        one_line = " ".join(str(error).split())
        print(f"{arguments.prog}: {one_line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{arguments.prog}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
