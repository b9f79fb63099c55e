"""A tiny experiment on the adding task, for the tests of the engine: 2 variants, 3 arms, runs of 20 small steps."""

from rnnlab.experiments.experiment import FAILS, HOLDS, Arm, Claim, Experiment, Quick, Variant


def config(length, **training):
    """Tables of a small GRU on the adding task."""
    return {
        "data": {"name": "adding", "length": length, "batch_size": 4, "batches": 5},
        "model": {"cell": "gru", "hidden": 4},
        "optimizer": {"update": "sgd"},
        "training": {"steps": 20, **training},
    }


def clip_is_no_worse(results):
    """A claim."""
    plain, clipped = (results.test("short", arm) for arm in ("sgd", "clip"))
    return (HOLDS if clipped.mean <= plain.mean + 1 else FAILS), f"{clipped.mean:.3f} against {plain.mean:.3f}."


ARMS = (
    Arm("sgd", {}, (0.01, 0.1)),
    Arm("clip", {}, (0.1,), ("optimizer.clip_global_norm", (0.5, 1.0))),
    Arm("wild", {"optimizer": {"momentum": 0.9}}, (1e30,)),
)
TOY = Experiment(
    name="toy",
    title="A toy",
    about="It shows that the engine runs.",
    source="Nobody 2026",
    claims=(
        Claim("clip", "Clipping is no worse.", clip_is_no_worse),
        Claim("absent", "What was not run is better.", lambda results: (HOLDS, str(results.test("short", "absent")))),
    ),
    variants=(
        Variant("short", config(6), ARMS, {"sgd": 0.5, "clip": None}),
        Variant("long, ragged", config(9), ARMS[:1]),
    ),
    seeds=(0, 1),
    quick=Quick(
        variants=("short",), rates={"sgd": (0.1,)}, options={"clip": (1.0,)}, changes={"training": {"steps": 4}}
    ),
)
