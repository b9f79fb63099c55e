"""Checkpoints: what goes in comes out, a damaged one is noticed, a failed write harms nothing, one process a folder."""

import errno
import json
import os
import signal
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import rnnlab.checkpoint as checkpoint
from rnnlab.checkpoint import CheckpointError, DamagedError

# --------------------------------------------------------------------------- what goes in comes out


def assert_same(a, b):
    """The same to the last bit, types included."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for left, right in zip(a, b, strict=True):
            assert_same(left, right)
    elif isinstance(a, (np.ndarray, np.generic)):
        assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        assert a.flags.f_contiguous == b.flags.f_contiguous or not a.flags.forc
    elif isinstance(a, float):
        assert np.float64(a).tobytes() == np.float64(b).tobytes() or a != a and b != b
    else:
        assert a == b


dtypes = st.sampled_from(["?", "i1", "<u8", ">i4", "<f2", "<f4", "<f8", "<c8", "<c16", "<U3", "S2", "<M8[s]"])
arrays = dtypes.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)))
views = arrays.flatmap(lambda a: st.sampled_from([a, a.T, a[..., ::2] if a.ndim else a, np.asfortranarray(a)]))
numbers = st.floats(width=32).map(np.float32) | st.integers(-9, 9).map(np.int64) | st.booleans().map(np.bool_)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | numbers | views
trees = st.recursive(
    leaves,
    lambda t: (
        st.lists(t, max_size=3)
        | st.tuples(t, t)
        | st.dictionaries(st.text(max_size=4) | st.integers(), t, max_size=3)
        | st.just({"a": {"b": np.ones(1)}, "a.b": np.zeros(2), "a.b'": np.ones(3)})
    ),
    max_leaves=8,
)


@given(trees)
def test_a_tree_comes_back_to_the_last_bit(tmp_path_factory, tree):
    path = checkpoint.write(tmp_path_factory.mktemp("tree") / "a.npz", tree)
    assert_same(checkpoint.read(path), tree)


@pytest.mark.parametrize("bits", ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"])
def test_a_generator_goes_on_where_it_was(tmp_path, bits):
    rng = np.random.Generator(getattr(np.random, bits)(7)).spawn(3)[2]
    rng.spawn(2)
    rng.random(5, dtype="f")  # half a word is left over
    copy = checkpoint.read(checkpoint.write(tmp_path / "a.npz", (rng,)))[0]
    assert np.array_equal(copy.random(9, dtype="f"), rng.random(9, dtype="f"))
    assert np.array_equal(copy.normal(size=9), rng.normal(size=9))
    assert copy.spawn(1)[0].random() == rng.spawn(1)[0].random()


def test_the_same_tree_is_the_same_bytes_and_numpy_opens_it(tmp_path):
    tree = {"params": {"w": np.arange(6.0).reshape(2, 3)}, "step": 3}
    one, two = (checkpoint.write(tmp_path / name, tree) for name in ("one.npz", "two.npz"))
    assert one.read_bytes() == two.read_bytes()
    with np.load(one) as file:
        assert np.array_equal(file["params.w"], tree["params"]["w"])


class OwnGenerator(np.random.PCG64):
    pass


@pytest.mark.parametrize(
    "tree, message",
    [
        ({"a": [0, {1, 2}]}, "a.1 is a set, which"),
        ({"a": np.array([None])}, "a is an array of objects"),
        (object(), "tree is a object"),
        ({"a": {(1, 2): 3}}, "a must have strings or ints as keys"),
        ({"rng": np.random.Generator(OwnGenerator(1))}, "a generator must be one of NumPy's"),
    ],
)
def test_what_cannot_be_saved_is_named_and_nothing_is_written(tmp_path, tree, message):
    with pytest.raises(TypeError, match=message.replace(".", r"\.")):
        checkpoint.write(tmp_path / "a.npz", tree)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------- damage is noticed


@pytest.fixture
def small(tmp_path):
    rng = np.random.default_rng(0)
    tree = {"w": rng.normal(size=3), "n": 2, "deep": ({"s": "text"}, None), "rng": [1.5, np.array(7)]}
    return checkpoint.write(tmp_path / "small.npz", tree), tree


def test_every_torn_file_is_noticed(small):
    path, _ = small
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedError, match="damaged or no checkpoint"):
            checkpoint.read(path)


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_every_wrong_byte_is_noticed_or_means_nothing(small, mask):
    path, tree = small
    whole, noticed = path.read_bytes(), 0
    for k in range(len(whole)):
        path.write_bytes(whole[:k] + bytes([whole[k] ^ mask]) + whole[k + 1 :])
        try:
            found = checkpoint.read(path)
        except DamagedError as error:
            assert "\n" not in str(error)
            noticed += 1
        else:
            assert_same(found, tree)  # such as a wrong time of day in the zip's directory
    assert noticed > 0.7 * len(whole)


@given(st.binary(max_size=80))
def test_no_other_file_is_taken_for_a_checkpoint(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("other") / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DamagedError):
        checkpoint.read(path)
    np.savez(path, w=np.ones(2))
    with pytest.raises(DamagedError):
        checkpoint.read(path)


def test_a_checkpoint_of_another_version_is_one_clear_error(tmp_path):
    path = checkpoint.save(tmp_path, {"w": np.ones(2)}, 1)
    checkpoint.save(tmp_path, {"w": np.ones(2)}, 2)
    newest = tmp_path / "checkpoint-0000000002.npz"
    with zipfile.ZipFile(newest, "w") as archive:
        archive.writestr("tree.json", json.dumps({"format": "rnnlab checkpoint", "version": 2, "tree": None}))
    with pytest.raises(CheckpointError, match="is of version 2 of the format; this rnnlab reads version 1$"):
        checkpoint.load(tmp_path)
    assert checkpoint.read(path)["w"].sum() == 2


def test_a_pickle_is_never_loaded(tmp_path):
    path = tmp_path / "a.npz"
    head = {"format": "rnnlab checkpoint", "version": 1, "tree": {"array": "w"}}
    np.savez(path, w=np.array([print]), allow_pickle=True)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("tree.json", json.dumps(head))
    with pytest.raises(DamagedError, match="allow_pickle=False"):
        checkpoint.read(path)
    for code in ({"generator": {"dict": [["state", {"dict": [["bit_generator", "seed"]]}]]}}, {"evil": 1}):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("tree.json", json.dumps({**head, "tree": code}))
        with pytest.raises(DamagedError):
            checkpoint.read(path)


# ----------------------------------------------------------------------- a folder of checkpoints


def names(folder):
    return [path.name for path in checkpoint.checkpoints(folder)]


def test_the_last_few_are_kept_and_nothing_else_is_touched(tmp_path):
    checkpoint.write(tmp_path / "best.npz", 1.0)
    (tmp_path / "checkpoint-notes.npz").write_text("mine")
    for step in (5, 10, 15, 20):
        checkpoint.save(tmp_path, step, step, keep=2)
    assert names(tmp_path) == ["checkpoint-0000000020.npz", "checkpoint-0000000015.npz"]
    assert (tmp_path / "best.npz").exists() and (tmp_path / "checkpoint-notes.npz").read_text() == "mine"
    checkpoint.save(tmp_path, 12, 12, keep=2)  # of a run that went back to step 10 or so
    assert names(tmp_path) == ["checkpoint-0000000012.npz"] and checkpoint.load(tmp_path) == 12


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, {"step": step}, step)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoint.load(tmp_path)["step"] == 3
    newest = checkpoint.checkpoints(tmp_path)[0]
    newest.write_bytes(newest.read_bytes()[:-7])
    with pytest.warns(UserWarning, match="checkpoint-0000000003.npz is damaged.*; trying the checkpoint before it"):
        assert checkpoint.load(tmp_path)["step"] == 2
    for path in checkpoint.checkpoints(tmp_path):
        path.write_bytes(b"")
    with pytest.warns(UserWarning), pytest.raises(CheckpointError, match="holds no whole checkpoint"):
        checkpoint.load(tmp_path)


def test_a_folder_without_checkpoints(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(CheckpointError, match="holds no checkpoint$"):
            checkpoint.load(folder)
    with pytest.raises(CheckpointError, match="cannot read .*: No such file"):
        checkpoint.read(tmp_path / "none.npz")


@pytest.mark.parametrize("step, keep", [(-1, 1), (0, 0)])
def test_wrong_numbers(tmp_path, step, keep):
    with pytest.raises(ValueError, match="got -?[01] and [01]"):
        checkpoint.save(tmp_path, 0, step, keep)


# ---------------------------------------------------------------- a failed write harms nothing


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_is_one_clear_error_and_the_last_good_checkpoint_stays(tmp_path, monkeypatch):
    good = checkpoint.save(tmp_path, {"w": np.ones(5)}, 1, keep=1)
    content = good.read_bytes()

    def full(path, mode, *rest):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))  # the name was still to be had
        return open("/dev/full", mode, *rest)

    monkeypatch.setattr(checkpoint, "open", full, raising=False)
    for size in (5, 10**6):
        with pytest.raises(CheckpointError, match="cannot write .*2.npz: No space left on device; the last good") as e:
            checkpoint.save(tmp_path, {"w": np.ones(size)}, 2, keep=1)
        assert str(good) in str(e.value) and "\n" not in str(e.value)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == [good.name] and good.read_bytes() == content


LIMITED = """
import resource, signal, sys
import numpy as np
from rnnlab import checkpoint
folder = sys.argv[1]
checkpoint.save(folder, {"w": np.ones(10)}, 1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoint.save(folder, {"w": np.ones(10**5)}, 2)
except checkpoint.CheckpointError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="files cannot be limited here")
def test_a_write_that_fails_in_the_middle(tmp_path):
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "cannot write" in done.stdout and "the last good checkpoint is" in done.stdout and not done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-0000000001.npz"]
    assert checkpoint.load(tmp_path)["w"].sum() == 10


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_an_error_of_the_disk_at_the_last_moment(tmp_path, monkeypatch, name):
    good = checkpoint.save(tmp_path, 1, 1)

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, name, broken)
    with pytest.raises(CheckpointError, match="Input/output error; the last good checkpoint is .*1.npz"):
        checkpoint.save(tmp_path, 2, 2)
    assert list(tmp_path.iterdir()) == [good] and checkpoint.load(tmp_path) == 1


@pytest.mark.skipif(not os.path.isdir("/sys/kernel"), reason="there is no folder that nobody can write to")
def test_a_read_only_folder_is_one_clear_error():
    with pytest.raises(CheckpointError, match="^cannot write to /sys/kernel: "), checkpoint.lock("/sys/kernel"):
        pass
    with pytest.raises(CheckpointError, match="^cannot write /sys/kernel/checkpoint-0000000001.npz: .*is none$"):
        checkpoint.save("/sys/kernel", 1, 1)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="^cannot write to .*file"), checkpoint.lock(tmp_path / "file"):
        pass


# ------------------------------------------------------------------------ one process a folder

HOLDER = """
import sys, time
from rnnlab import checkpoint
with checkpoint.lock(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_and_a_dead_one_is_not_waited_for(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(CheckpointError, match=f"is in use by process {holder.pid} on "), checkpoint.lock(tmp_path):
            pass
        (tmp_path / "checkpoint-0000000003.npz.partial").write_text("half")
    finally:
        holder.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        holder.communicate()
    for _ in range(2):  # and it is given back
        with checkpoint.lock(tmp_path):
            assert [path.name for path in tmp_path.iterdir()] == ["lock"]  # the leftover is gone
            assert f"process {os.getpid()} on " in (tmp_path / "lock").read_text()


def test_the_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(KeyError), checkpoint.lock(tmp_path):
        raise KeyError
    with checkpoint.lock(tmp_path):
        pass


def test_locking_without_fcntl(tmp_path, monkeypatch):
    class Msvcrt:
        LK_NBLCK, held = 2, False

        def locking(self, descriptor, mode, size):
            assert (mode, size) == (2, 1)
            if self.held:
                raise PermissionError(errno.EACCES, "Permission denied")
            self.held = True

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", Msvcrt())
    with checkpoint.lock(tmp_path):
        with pytest.raises(CheckpointError, match=f"in use by process {os.getpid()}"), checkpoint.lock(tmp_path):
            pass


def test_where_files_cannot_be_locked_there_is_a_warning(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    problem = OSError(errno.ENOLCK, "No locks available")

    def flock(*_):
        raise problem

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(UserWarning, match="lies where files cannot be locked"), checkpoint.lock(tmp_path):
        pass
    problem = OSError(errno.EIO, "Input/output error")
    with pytest.raises(CheckpointError, match="Input/output error"), checkpoint.lock(tmp_path):
        pass


def test_arrays_of_a_gpu_go_back_there_if_asked(tmp_path, monkeypatch):
    class ndarray(np.ndarray):
        def get(self):
            return np.asarray(self)

    ndarray.__module__ = "cupy"
    asked = []
    monkeypatch.setattr(checkpoint, "to_backend", lambda a, backend: asked.append(backend) or a)
    tree = {"w": np.arange(3.0).view(ndarray), "step": np.array(2)}
    path = checkpoint.write(tmp_path / "a.npz", tree)
    found = checkpoint.read(path, "cupy")
    assert asked == ["cupy"] and np.array_equal(found["w"], np.arange(3.0)) and found["step"] == 2
