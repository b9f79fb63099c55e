"""Results and traces of a comparison that was never run, with an outcome that is known."""

import numpy as np

TITLES = {
    "sgd": "plain SGD",
    "clip": "SGD with clipping",
    "wgn": "weight gradient normalization",
    "projection": "SGD with spectral projection",
    "adam": "Adam",
    "centralize": "SGD with centralized gradients",
    "block": "block-normalized gradients",
}
FOUR = ("sgd", "clip", "wgn", "projection")
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
# Value over the best that an arm reaches, at its best rate, and how fast it gets worse with log10 of the rate.
BEST = {"sgd": (2.6, 0.3), "clip": (2.3, 1.0), "wgn": (2.5, 0.001), "projection": (2.7, 0.3)}
METRICS = {
    "text": ("validation bits per character", "validation_bpc", "bits per character", 6.0),
    "adding": ("validation mean squared error", "validation_loss", "", 6.0),
}


def fake(arms=FOUR, rates=None, seeds=(0, 1), steps=60, task="text", diverged=(), keep=lambda arm, rate, seed: True):
    """Return results and traces: runs above three times the best rate diverge, and so do all of the arms ``diverged``.

    The arm "clip" is best, with 2.3 at rate 1. ``keep(arm, rate, seed)`` says which runs are done.
    """
    rng = np.random.default_rng(0)
    rates = {arm: tuple(np.array(rates or RATES) * (0.001 if arm == "wgn" else 1)) for arm in arms}
    name, key, unit, guess = METRICS[task]
    plan = [(arm, float(rate), seed) for arm in arms for rate in rates[arm] for seed in seeds]
    done = [run for run in plan if keep(*run)]
    runs = {run: _run(*run, steps, task, run[0] in diverged) for run in done}
    results = {
        "settings": {
            "task": task, "cell": "rnn", "hidden": 128, "steps": steps, "batch": 32, "length": 50, "clip_norm": 1.0,
            "text": "Shakespeare (embedded)" if task == "text" else None, "backend": "numpy", "dtype": "float32",
            "explosion_factor": 10.0, "projection_of": "weight_hh", "projection_max_norm": 1.0,
            "spectrum_of": "weight_hh", "learning_rates": {arm: list(rates[arm]) for arm in arms},
        },
        "seeds": list(seeds),
        "versions": {"rnnlab": "0.1.0", "numpy": "2.4.0", "python": "3.11.2", "platform": "Linux"},
        "seconds": 81.2,
        "complete": len(done) == len(plan),
        "planned_runs": len(plan),
        "command": "rnnlab compare --cell rnn",
        "metric": {
            "name": name, "key": key, "unit": unit, "guess": guess, "guess_title": "uniform guess",
        },
        "arms": {arm: _arm(arm, key, [runs[run] for run in done if run[0] == arm], rates[arm]) for arm in arms},
    }  # fmt: skip
    traces = [_trace(rng, *run, runs[run]) for run in done]
    rng.shuffle(traces)
    return results, traces


def _run(arm, rate, seed, steps, task, lost):
    value, slope = BEST.get(arm, (3.0, 0.5))
    best = 0.001 if arm == "wgn" else 1.0
    lost = lost or rate > 2 * best
    value += slope * np.log10(best / rate) + 0.02 * seed
    ended = lost and rate > 5 * best
    return {
        "learning_rate": rate,
        "seed": seed,
        "validation_loss": None if ended else 9.0 if lost else value * (np.log(2) if task == "text" else 1),
        "validation_bpc": None if ended or task != "text" else 9.0 if lost else value,
        "training_loss": None if ended else 0.65 * value,
        "diverged": lost,
        "diverged_at": steps // 2 if ended else None,
        "steps": steps // 2 + 1 if ended else steps,
        "explosions": 2 if lost else min(seed, 2),
        "seconds": 1.2,
    }


def _arm(arm, key, runs, rates):
    lost = {run["learning_rate"] for run in runs if run["diverged"]}
    means = {}
    for rate in {run["learning_rate"] for run in runs} - lost:
        means[rate] = np.mean([run[key] for run in runs if run["learning_rate"] == rate])
    best = min(means, key=means.get, default=None)
    row = {"title": TITLES.get(arm, arm), "best_learning_rate": best}
    row["best_at_edge"] = best is not None and len(rates) > 1 and best in (min(rates), max(rates))
    for name in ("validation_loss", "validation_bpc"):
        at_best = [run[name] for run in runs if run["learning_rate"] == best and run[name] is not None]
        row[f"{name}_mean"] = float(np.mean(at_best)) if at_best else None
        row[f"{name}_std"] = float(np.std(at_best, ddof=len(at_best) > 1)) if at_best else None
    row["diverged_fraction"] = sum(run["diverged"] for run in runs) / len(runs) if runs else None
    return row | {"runs": runs}


def _trace(rng, arm, rate, seed, run):
    steps, ended = run["steps"], run["validation_loss"] is None
    time = np.arange(steps)
    loss = 1.6 + 2.5 * np.exp(-time / 15) + 0.05 * rng.normal(size=steps)
    norm = 0.5 * np.exp(0.3 * rng.normal(size=steps))
    explosions = np.array([step for step in (20, 25)[: run["explosions"]] if step < steps], dtype=int)
    norm[explosions] *= 30
    if ended:
        loss[-1], norm[-1] = np.nan, np.inf
    grown = {"sgd": 2.0, "projection": 0.0}.get(arm, 1.0) + 0.05 * seed * (arm != "projection")
    looks = np.linspace(0, steps, 6, dtype=int)
    spectral = np.where(looks == 0, 1.1, 1 + grown * looks / steps)
    distance = np.arange(50)
    return {
        "arm": arm,
        "learning_rate": rate,
        "seed": seed,
        "training_loss": loss,
        "gradient_norm": norm,
        "explosions": explosions,
        "spectrum_steps": looks,
        "spectral_norm": np.where(ended & (looks > 0), np.nan, spectral),
        "spectral_radius": np.where(ended & (looks > 0), np.nan, 0.7 * spectral),
        "through_time_start": 0.5**distance,
        "through_time_end": np.array([]) if ended else {"clip": 1.02, "sgd": 0.9}.get(arm, 0.8) ** distance,
    }
