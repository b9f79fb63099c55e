"""The page: HTML that needs no other file, no script and no network, for a phone as well as for a desk."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from rnnlab.plots.series import Results, count, number, why_empty
from rnnlab.report.sentences import listed, score

__all__ = ["Picture", "page"]

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --faint: #5a5a5a; --line: #d4d4d4; --tint: #f4f4f2;
  --warn: #8a4b00; --warn-tint: #fff3df; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e6; --paper: #17181a; --faint: #a9a9a6; --line: #3d3e41;
  --tint: #222326; --warn: #ffc97a; --warn-tint: #3a2b14; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 52rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
.lead { font-size: 1.05rem; }
.notice { border-left: .3rem solid var(--warn); background: var(--warn-tint); padding: .6rem .9rem; }
.box { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--line); }
thead th { font-size: .9rem; color: var(--faint); vertical-align: bottom; }
tbody th { font-weight: 600; }
.best th, .best td { background: var(--tint); }
td small { display: block; color: var(--warn); }
td code { white-space: nowrap; }
.settings th { font-weight: 400; color: var(--faint); white-space: nowrap; }
figure { margin: 0; }
img { display: block; width: 100%; max-width: 100%; height: auto; background: #ffffff; border-radius: .3rem; }
figcaption { margin-top: .5rem; }
pre { overflow-x: auto; background: var(--tint); padding: .7rem; border-radius: .3rem; }
@media (max-width: 30rem) { body { padding: .6rem; } table { font-size: .9rem; }
  th, td { padding-right: .6rem; } h1 { font-size: 1.35rem; } }
footer { margin-top: 2rem; color: var(--faint); font-size: .9rem; }
"""

CELLS = {"rnn": "vanilla RNN", "lstm": "LSTM", "gru": "GRU"}
TASKS = {
    "text": "learns to predict the next character of a text",
    "adding": "learns to add the two marked ones of many numbers (the adding task, a test of memory)",
    "copying": "learns to repeat digits after a delay (the copying task, a test of memory)",
}


class Picture(NamedTuple):
    """A picture of the page: its name, title, the sentence under it, and its PNG."""

    name: str
    title: str
    sentence: str
    png: bytes


def page(results: Results, pictures: Sequence[Picture]) -> str:
    """Return the report of a comparison as HTML.

    Parameters
    ----------
    results : mapping
    pictures : sequence of Picture

    Returns
    -------
    str
    """
    title = f"rnnlab compare: {_cell(results)}, {_subject(results)}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _notice(results),
        f'<p class="lead">{escape(_summary(results))}</p>',
        "<h2>The arms</h2>",
        _table_of_arms(results),
        f"<p>{escape(_what_diverged_means())}</p>",
        *(_figure(picture) for picture in pictures),
        "<h2>To repeat it</h2>",
        f"<pre><code>{escape(str(results.get('command', 'rnnlab compare')))}</code></pre>",
        "<h2>Settings</h2>",
        _rows({**results["settings"], "seeds": results["seeds"]}),
        "<h2>Versions</h2>",
        _rows(results["versions"]),
        f"<footer>Made by rnnlab; the runs took {escape(_time(results['seconds']))}. "
        "Every number is in results.json, every step in history.csv.</footer>",
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


# --------------------------------------------------------------------------------------- what was run


def _cell(results: Results) -> str:
    cell = str(results["settings"].get("cell"))
    return CELLS.get(cell, cell)


def _subject(results: Results) -> str:
    settings = results["settings"]
    return str(settings.get("text") or "text") if settings.get("task") == "text" else f"{settings.get('task')} task"


def _summary(results: Results) -> str:
    """Say in plain words what was run."""
    settings, arms = results["settings"], results["arms"]
    task = TASKS.get(str(settings.get("task")), f"learns the task {settings.get('task')}")
    about = f" ({settings['text']})" if settings.get("task") == "text" and settings.get("text") else ""
    rates, seeds = _rates_per_arm(results), len(results["seeds"])
    gets = "gets" if results["complete"] else "was to get"
    ways = f"{count(len(arms), 'arm')}: {listed([arm['title'] for arm in arms.values()])}" if arms else "no arm"
    return (
        f"A {_cell(results)} with {settings.get('hidden')} hidden units {task}{about}, trained in {ways}. "
        f"Each arm {gets} {rates} with {count(seeds, 'seed')} at each rate, and every run the same budget of "
        f"{count(int(settings['steps']), 'step')}: so each arm is compared at the learning rate that suits it."
    )


def _rates_per_arm(results: Results) -> str:
    swept = results["settings"].get("learning_rates") or {}
    ran = {name: {run["learning_rate"] for run in arm["runs"]} for name, arm in results["arms"].items()}
    amounts = sorted({len(swept.get(name, rates)) for name, rates in ran.items()}) or [0]
    if amounts[0] == amounts[-1]:
        return count(amounts[0], "learning rate")
    return f"{amounts[0]} to {amounts[-1]} learning rates"


def _notice(results: Results) -> str:
    """Say that the comparison was stopped, where it was."""
    if results["complete"]:
        return ""
    done = sum(len(arm["runs"]) for arm in results["arms"].values())
    planned = results.get("planned_runs")
    of_all = f"{done} of {planned} runs are" if planned else f"{count(done, 'run')} {'is' if done == 1 else 'are'}"
    return f'<p class="notice"><strong>Stopped before the end:</strong> {of_all} in, all else is missing here.</p>'


def _what_diverged_means() -> str:
    return (
        "A run counts as diverged when its loss or its gradient was no longer a finite number, or when both its "
        "validation loss and its training loss (the mean of the last tenth of the steps) were higher at the end than "
        "at the beginning. A rate at which any seed diverged cannot be an arm's best."
    )


def _time(seconds: float) -> str:
    if seconds < 120:
        return count(round(seconds), "second")
    return count(round(seconds / 60), "minute")


# ------------------------------------------------------------------------------------ tables, pictures


def _table_of_arms(results: Results) -> str:
    arms, metric = results["arms"], results["metric"]
    means = [arm[f"{metric['key']}_mean"] for arm in arms.values() if arm["best_learning_rate"] is not None]
    lowest = min((value for value in means if value is not None), default=None)
    rows = []
    for arm in arms.values():
        value = arm[f"{metric['key']}_mean"]
        best = ' class="best"' if value is not None and value == lowest else ""
        cells = (_rate_cell(arm), escape(_value(arm, results)), escape(_share(arm)))
        body = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f'<tr{best}><th scope="row">{escape(arm["title"])}</th>{body}</tr>')
    spread = ", mean ± spread over seeds" if len(results["seeds"]) > 1 else ""
    heads = ("arm", "best learning rate", f"{metric['name']}{spread}", "runs that diverged")
    head = "".join(f'<th scope="col">{escape(words)}</th>' for words in heads)
    return f'<div class="box"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _rate_cell(arm: Mapping[str, Any]) -> str:
    if arm["best_learning_rate"] is None:
        return escape(why_empty(arm))
    edge = (
        "<small>at the edge of the sweep: widen it with <code>--learning-rates</code></small>"
        if arm["best_at_edge"]
        else ""
    )
    return f"{escape(number(arm['best_learning_rate']))}{edge}"


def _value(arm: Mapping[str, Any], results: Results) -> str:
    key = results["metric"]["key"]
    value, spread = arm[f"{key}_mean"], arm[f"{key}_std"]
    if value is None or arm["best_learning_rate"] is None:
        return "–"
    seeds = sum(run["learning_rate"] == arm["best_learning_rate"] for run in arm["runs"])
    words = score(value, results)
    return f"{words}\u00a0±\u00a0{score(spread, results)}" if seeds > 1 and spread is not None else words


def _share(arm: Mapping[str, Any]) -> str:
    if not arm["runs"]:
        return "–"
    lost = sum(bool(run["diverged"]) for run in arm["runs"])
    return f"{lost / len(arm['runs']):.0%} ({lost} of {len(arm['runs'])})"


def _rows(table: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(str(key).replace("_", " "))}</th><td>{escape(_words(value))}</td></tr>'
        for key, value in table.items()
    )
    return f'<div class="box"><table class="settings"><tbody>{rows}</tbody></table></div>'


def _words(value: Any) -> str:
    """Return a setting for people.

    Examples
    --------
    >>> _words({"sgd": [0.1, 1.0]}), _words(None), _words(True), _words(300)
    ('sgd: 0.1, 1', '–', 'yes', '300')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_words(entry)}" for key, entry in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(map(_words, value))
    return str(value)


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    title, sentence = escape(picture.title), escape(picture.sentence)
    return (
        f'<section aria-labelledby="{escape(picture.name)}">\n<h2 id="{escape(picture.name)}">{title}</h2>\n<figure>\n'
        f'<img alt="Chart: {title}; what it shows is said below." src="data:image/png;base64,{data}">\n'
        f"<figcaption>{sentence}</figcaption>\n</figure>\n</section>"
    )
