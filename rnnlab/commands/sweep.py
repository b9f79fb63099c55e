"""``rnnlab sweep``: a user's own configuration over a grid of learning rates and seeds."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from rnnlab.commands import InputError
from rnnlab.commands.reproduce import add_running, positive, reported
from rnnlab.experiments.adjust import read_rates, read_setting, read_value
from rnnlab.experiments.config import ConfigError, load_config
from rnnlab.experiments.experiment import Arm, Experiment, Variant, merged

__all__ = ["DESCRIPTION", "HELP", "add_arguments", "run"]

HELP = "train a TOML file's network over a grid of learning rates and seeds"
DESCRIPTION = (
    "Train the network of a TOML file, as rnnlab train reads it, with every learning rate of a grid (and every value "
    "of one other key) and several seeds, and report the best rate, success rates and 95 % intervals. The same command "
    "goes on where it was stopped; other rates, values and seeds add to what is in the folder."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("config", metavar="CONFIG.toml", help="see rnnlab train; a table [monitor] is recorded for every run")
    add("--rates", metavar="a,b,c", required=True, help="the grid of [optimizer] learning_rate")
    add("--set", metavar="TABLE.KEY=a,b", help="a second grid, such as optimizer.clip_global_norm=5,10")
    add("--seeds", type=int, metavar="K", default=3, help="how many seeds (3)")
    add_running(parser, "the folder (rnnlab-sweep-CONFIG)")


def run(arguments: Any) -> int:
    """Run the command; return the exit status."""
    path = Path(arguments.config)
    try:
        config, _ = load_config(path)
        rates = read_rates(arguments.rates)
        option = None if arguments.set is None else _option(arguments.set)
    except ConfigError as error:
        raise InputError(str(error)) from None
    tables = {name: table for name, table in config._asdict().items() if table is not None}
    arm = Arm(path.stem, {}, rates, option)
    seeds = tuple(range(positive("--seeds", arguments.seeds)))
    variant = Variant(config.data["name"] if "/" not in config.data["name"] else Path(config.data["name"]).name,
                      merged(tables, {}), (arm,))  # fmt: skip
    about = f"The network of {path.name} over a grid of learning rates, chosen by `rnnlab sweep`."
    experiment = Experiment(f"sweep of {path.stem}", f"Sweep of {path.stem}", about, "", (), (variant,), seeds)
    words = ["rnnlab", "sweep", arguments.config, "--rates", arguments.rates]
    words += [] if arguments.set is None else ["--set", arguments.set]
    command = shlex.join([*words, "--seeds", str(arguments.seeds)])
    out = Path(arguments.out or f"rnnlab-sweep-{path.stem}")
    return reported(experiment, experiment.plan(), out, arguments, command)


def _option(given: str) -> tuple[str, tuple[Any, ...]]:
    name, equals, words = given.partition("=")
    if not equals or "." not in name or not words:
        raise InputError(f"--set must be TABLE.KEY=VALUES, such as optimizer.clip_global_norm=5,10; got {given!r}")
    read_setting(given)  # there is such a key
    return name, tuple(dict.fromkeys(read_value(word) for word in words.split(",")))
