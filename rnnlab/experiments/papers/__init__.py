"""The experiments that ``rnnlab reproduce`` knows, a file each: what is run, what the papers report, what must hold."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

from rnnlab.experiments.experiment import Experiment

__all__ = ["EXPERIMENTS"]

FILES = {
    "wu2024-mnist": "wu2024_mnist",
    "wu2024-ptb": "wu2024_ptb",
    "wu2024-ettm1": "wu2024_ettm1",
    "wu2024-ucr": "wu2024_ucr",
    "kanai2017-nottingham": "kanai2017_nottingham",
    "kanai2017-ptb": "kanai2017_ptb",
    "long-memory": "long_memory",
}


class _Experiments(Mapping[str, Experiment]):
    """Name -> experiment; a file is imported when its experiment is asked for."""

    def __getitem__(self, name: str) -> Experiment:
        experiment: Experiment = importlib.import_module(f"{__name__}.{FILES[name]}").EXPERIMENT
        return experiment

    def __iter__(self) -> Iterator[str]:
        return iter(FILES)

    def __len__(self) -> int:
        return len(FILES)


EXPERIMENTS: Mapping[str, Experiment] = _Experiments()
