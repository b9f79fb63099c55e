"""A training killed at any moment and resumed gives the same numbers, bit for bit, as one never stopped."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from rnnlab import checkpoint

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")

# Everything that a checkpoint must hold takes part: a two-layer LSTM with dropout, a state carried from batch to
# batch, Adam's moments, a schedule that listens, a projection that remembers, best parameters, a callback's record.
# Writing to the disk is slowed down, so that kills fall into it too.
CHILD = """
import os, pathlib, shutil, signal, sys, time
import numpy as np, rnnlab as rl
from rnnlab import checkpoint
from rnnlab.data.batches import Streams
from rnnlab.monitor import Monitor
from rnnlab.training import fit

folder, moment = pathlib.Path(sys.argv[1]), sys.argv[2]

def slowed(function):
    def slow(*args, **options):
        time.sleep(0.002)
        return function(*args, **options)
    return slow

def deadly(function, calls, after):
    def counted(*args, **options):
        counted.calls += 1
        if counted.calls == calls and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        done = function(*args, **options)
        if counted.calls == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    counted.calls = 0
    return counted

os.fsync, os.replace = slowed(os.fsync), slowed(os.replace)
if moment != "random":
    place, name, calls = moment.split()
    module = np.lib.format if name == "write_array" else os
    setattr(module, name, deadly(getattr(module, name), int(calls), place == "after"))

tokens = np.random.default_rng(5).integers(0, 9, 600)
layers = rl.Stacked([rl.LSTM(6, 8), rl.GRU(8, 7, reset="before")], dropout=0.3)
model = rl.models.LanguageModel(9, 6, layers, dropout=0.2)
optimizer = rl.optim.chain(
    rl.optim.clip_by_global_norm(0.5),
    rl.optim.adam(rl.optim.schedules.reduce_on_plateau(0.03, factor=0.5)),
    rl.optim.project_spectral_norm(0.9, only="recurrent.layer1.weight_hn"),
)
monitor = Monitor(["gradient_norm", "update_ratio"], every=1, file=folder / "record.jsonl", max_share=None)
print("ready", flush=True)
result = fit(
    model, Streams(tokens[:500], 4, 7), optimizer, epochs=3, seed=3, valid=Streams(tokens[500:], 2, 20),
    validate_every=4, callbacks=[monitor], folder=folder, checkpoint_every=3, keep=2, resume=True,
)
checkpoint.write(folder / "result.npz", result._asdict())
"""


def start(folder, moment="random"):
    command = [sys.executable, "-c", CHILD, str(folder), moment]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return child


def finish(child):
    """Wait for a child; say whether it got to the end or was killed. Anything else is an error."""
    _, errors = child.communicate(timeout=120)
    assert child.returncode in (0, -signal.SIGKILL), errors
    assert child.returncode or not errors
    return child.returncode == 0


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def assert_same(folder, whole):
    found = files(folder)
    # Killed between the last checkpoint and the removal of the oldest, which has to wait for the next checkpoint.
    found.pop("checkpoint-0000000048.npz", None)
    assert sorted(found) == sorted(whole)
    for name, content in whole.items():
        assert found[name] == content, name


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The files that a run never stopped leaves, and how many seconds it takes."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    child = start(folder)
    child.stdout.readline()
    begin = time.perf_counter()
    assert finish(child)
    seconds = time.perf_counter() - begin
    whole = files(folder)
    result = checkpoint.read(folder / "result.npz")
    assert len(result["history"]) == 54 and result["best_step"] is not None
    assert len({row["learning_rate"] for row in result["history"]}) > 1  # the schedule did listen
    assert len(whole["record.jsonl"].splitlines()) == 54
    assert sorted(whole) == [
        "best.npz",
        "checkpoint-0000000051.npz",
        "checkpoint-0000000054.npz",
        "record.jsonl",
        "result.npz",
    ]
    return whole, seconds


def test_killed_at_every_stage_of_writing_a_checkpoint(uninterrupted, tmp_path):
    whole, _ = uninterrupted
    moments = ("before write_array 200", "before fsync 4", "before replace 5", "after replace 5", "before unlink 9")
    for moment in moments:
        assert not finish(start(tmp_path, moment)), f"{moment}: it lived on"
        assert not (tmp_path / "result.npz").exists()
    assert finish(start(tmp_path))
    assert_same(tmp_path, whole)


def kill_at_random(kills, uninterrupted, tmp_path, seed):
    """Kill trainings at random moments, whole training after whole training; return what was met."""
    whole, seconds = uninterrupted
    rng = random.Random(seed)
    met = {"finished": 0, "in the middle of a write": 0, "before the first checkpoint": 0, "resumed": 0}
    folder = tmp_path / "0"
    while kills:
        folder.mkdir(exist_ok=True)
        met["resumed"] += bool(checkpoint.checkpoints(folder))
        child = start(folder)
        if rng.random() < 0.9:
            child.stdout.readline()
        time.sleep(rng.uniform(0, seconds / 3))
        os.kill(child.pid, signal.SIGKILL)
        if finish(child):
            met["finished"] += 1
            assert_same(folder, whole)
            folder = tmp_path / str(met["finished"])
            continue
        kills -= 1
        met["in the middle of a write"] += any(folder.glob("*.partial"))
        met["before the first checkpoint"] += not checkpoint.checkpoints(folder)
    folder.mkdir(exist_ok=True)
    assert finish(start(folder))
    assert_same(folder, whole)
    return met


def test_killed_at_a_few_random_moments(uninterrupted, tmp_path):
    kill_at_random(5, uninterrupted, tmp_path, seed=1)


@pytest.mark.slow
def test_killed_at_200_random_moments(uninterrupted, tmp_path):
    met = kill_at_random(200, uninterrupted, tmp_path, seed=2)
    assert met["in the middle of a write"] >= 5 and met["resumed"] >= 50, met
