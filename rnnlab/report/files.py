"""What a comparison leaves in its folder: results.json, history.csv, the pictures and report.html."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path

from rnnlab import plots
from rnnlab.plots.series import Results, Trace
from rnnlab.report.page import Picture, page
from rnnlab.report.sentences import (
    about_gradient_norm,
    about_gradient_through_time,
    about_learning_rate,
    about_spectrum,
    about_training_loss,
)

__all__ = ["write_history", "write_report", "write_results"]

COLUMNS = ("arm", "learning_rate", "seed", "step", "training_loss", "gradient_norm", "explosion")


def write_report(folder: str | os.PathLike[str], results: Results, traces: Sequence[Trace]) -> Path:
    """Draw the pictures of a comparison and write the page that holds them.

    Parameters
    ----------
    folder : path
    results : mapping
        What `write_results` writes.
    traces : sequence of mappings
        The series of the runs; see `rnnlab.plots`.

    Returns
    -------
    Path
        Of ``report.html``, which needs no other file and no network.
    """
    drawn = (
        ("learning_rate", "Validation against the learning rate", plots.learning_rate_sensitivity(results),
         about_learning_rate(results)),
        ("training_loss", "Training loss at the best rates", plots.training_loss(results, traces),
         about_training_loss(results)),
        ("gradient_norm", "Gradient norm and explosions", plots.gradient_norm(results, traces),
         about_gradient_norm(results, traces)),
        ("spectrum", "Spectrum of the recurrent matrix", plots.spectrum(results, traces),
         about_spectrum(results, traces)),
        ("gradient_through_time", "The gradient on its way back through time",
         plots.gradient_through_time(results, traces), about_gradient_through_time(results, traces)),
    )  # fmt: skip
    pictures = []
    for name, title, figure, sentence in drawn:
        png, _ = plots.save(figure, folder, name)
        pictures.append(Picture(name, title, sentence, png.read_bytes()))
    path = Path(folder) / "report.html"
    _write(path, page(results, pictures))
    return path


def write_results(folder: str | os.PathLike[str], results: Results) -> Path:
    """Write ``results.json``, strict JSON.

    Parameters
    ----------
    folder : path
    results : mapping
        Of plain dicts, lists, strings, finite numbers and None.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        A number is not finite.
    """
    path = Path(folder) / "results.json"
    _write(path, json.dumps(results, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    return path


def write_history(folder: str | os.PathLike[str], traces: Sequence[Trace]) -> Path:
    """Write ``history.csv``, one line for each step of each run.

    Parameters
    ----------
    folder : path
    traces : sequence of mappings

    Returns
    -------
    Path
    """
    path = Path(folder) / "history.csv"
    with plots.replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for trace in sorted(traces, key=lambda trace: (trace["arm"], trace["learning_rate"], trace["seed"])):
            exploded = set(map(int, trace["explosions"]))
            pairs = zip(trace["training_loss"], trace["gradient_norm"], strict=True)
            for step, (loss, norm) in enumerate(pairs):
                numbers = f"{loss:.7g}", f"{norm:.7g}", int(step in exploded)
                writer.writerow((trace["arm"], trace["learning_rate"], trace["seed"], step, *numbers))
    return path


def _write(path: Path, text: str) -> None:
    with plots.replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
