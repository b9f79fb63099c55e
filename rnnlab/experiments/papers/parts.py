"""What the experiments share: the arms of Wu et al. with their rivals, and claims that compare two arms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rnnlab.experiments.analysis import Missing, Results
from rnnlab.experiments.arms import half_decades
from rnnlab.experiments.experiment import FAILS, HOLDS, UNDECIDED, Arm

__all__ = ["KANAI", "WU", "better", "counted", "shown", "wgn_arms"]

WU = (
    "Wu, Xiang, Lu, Li, Huang and Huang, weight gradient normalization (WGN), Applied Sciences 14(15), 6578, 2024; "
    "doi 10.3390/app14156578"
)
KANAI = "S. Kanai, Y. Fujiwara, S. Iwamura, Preventing gradient explosions in gated recurrent units, NIPS 2017"


def wgn_arms(
    sgd: Sequence[float],
    steps: Sequence[float] = half_decades(-4, -2),
    clip: float | None = None,
    schedule: Mapping[str, Any] | None = None,
) -> tuple[Arm, ...]:
    """Return plain SGD, SGD with clipping, weight gradient normalization and the rivals that its paper left out.

    Parameters
    ----------
    sgd : sequence of float
        Rates of what moves a weight by ``rate * gradient``.
    steps : sequence of float
        Rates of what moves every weight by about ``rate``.
    clip : float, optional
        The threshold; by default 0.25, 1 and 5 are tried.
    schedule : mapping, optional
        Of all arms but ``wgn``, whose rate the paper keeps fixed; ``wgn-decay`` then is the same with the schedule.

    Returns
    -------
    tuple of Arm
    """
    sgd, steps = tuple(sgd), tuple(steps)
    blocks = tuple(float(f"{30 * rate:.0e}") for rate in steps)  # a step of length rate, not rate * sqrt(size)
    thresholds = (0.25, 1.0, 5.0) if clip is None else (clip,)

    def arm(name: str, table: dict[str, Any], rates: tuple[float, ...], option: Any = None) -> Arm:
        decay = {} if schedule is None or name == "wgn" else {"schedule": dict(schedule)}
        return Arm(name, {"optimizer": {**table, **decay}}, rates, option)

    arms = [
        arm("sgd", {}, sgd),
        arm("clip", {}, sgd, ("optimizer.clip_global_norm", thresholds)),
        arm("wgn", {"wgn": True}, steps),
        arm("block", {"block_normalize": True}, blocks),
        arm("centralize", {"centralize": True}, sgd),
        arm("uncentred", {"wgn": True, "wgn_center": False}, steps),
        arm("rmsprop", {"update": "rmsprop"}, steps),
        arm("adam", {"update": "adam"}, steps),
    ]
    if schedule is not None:
        arms.insert(3, arm("wgn-decay", {"wgn": True}, steps))
    return tuple(arms)


def better(variants: Sequence[str], arm: str, other: str) -> Callable[[Results], tuple[str, str]]:
    """Return a check that an arm's test figure is the better one on every variant that was run.

    Each arm is taken at its own best rate. Where both have an interval and these overlap, or the figures are equal, it
    is not decided. Of one seed the words say so.
    """

    def check(results: Results) -> tuple[str, str]:
        def compare(variant: str) -> tuple[str, str]:
            one, two = results.test(variant, arm), results.test(variant, other)
            sign = 1 if results.arm(variant, arm).higher_is_better else -1
            verdict = HOLDS if sign * (one.mean - two.mean) > 0 else FAILS
            overlap = one.half is not None and two.half is not None and one.overlaps(two)
            if overlap or one.mean == two.mean:
                verdict = UNDECIDED
            few = "" if min(one.seeds, two.seeds) > 1 else " (one seed)"
            return verdict, f"{variant}: {arm} {shown(one)}, {other} {shown(two)}{few}"

        return counted([compare(variant) for variant in present(results, variants)])

    return check


def present(results: Results, variants: Sequence[str]) -> list[str]:
    """Return those of the variants that have a run, of whichever arm; the report says which have none."""
    found = [name for name in variants if any(arm.runs for arm in results.arms.get(name, {}).values())]
    if not found:
        raise Missing(f"there is no run on {' or '.join(variants)}")
    return found


def counted(parts: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return the verdict over several cases: it fails with the first that fails, and holds where all hold."""
    verdicts = {verdict for verdict, _ in parts}
    verdict = FAILS if FAILS in verdicts else UNDECIDED if UNDECIDED in verdicts else HOLDS
    return verdict, "; ".join(words for _, words in parts) + "."


def shown(value: Any) -> str:
    """A mean with its interval, where there is one."""
    digits = 1 if abs(value.mean) >= 20 else 4
    return f"{value.mean:.{digits}f}" + ("" if value.half is None else f" +- {value.half:.{digits}f}")
