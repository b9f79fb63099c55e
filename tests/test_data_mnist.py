"""The MNIST loader: its three forms, the real files, and what is wrong with a file."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from fuzz import check_loader

import rnnlab as rl
from rnnlab.data.files import DataError
from rnnlab.data.mnist import mnist

NAMES = {
    (part, kind): f"{file}-{kind}-idx{axes}-ubyte"
    for part, file in (("train", "train"), ("test", "t10k"))
    for kind, axes in (("images", 3), ("labels", 1))
}


def idx(array):
    """Return an array of bytes as an IDX file, by the format's own words: 0, 0, type 8, axes, sizes, data."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(root, sizes=(3, 2), packed=False):
    """Write the four files, random; return the images and the labels of train and test."""
    rng = np.random.default_rng(0)
    (root / "mnist").mkdir(exist_ok=True)
    made = {}
    for part, size in zip(("train", "test"), sizes, strict=True):
        made[part] = rng.integers(0, 256, (size, 28, 28), np.uint8), rng.integers(0, 10, size, np.uint8)
        for kind, array in zip(("images", "labels"), made[part], strict=True):
            path = root / "mnist" / NAMES[part, kind]
            if packed:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(idx(array)))
            else:
                path.write_bytes(idx(array))
    return made


# ------------------------------------------------------------------------------- the three forms


@pytest.mark.parametrize("packed", [False, True])
def test_each_form_orders_the_pixels_as_it_says(tmp_path, packed):
    made = write(tmp_path, packed=packed)
    order = np.random.default_rng(0).permutation(784)
    forms = {as_: mnist(tmp_path, as_) for as_ in ("rows", "pixels", "permuted")}
    np.testing.assert_array_equal(forms["permuted"].permutation, order)
    assert forms["rows"].permutation is None and forms["pixels"].permutation is None
    for part, (images, labels) in made.items():
        n = len(images)
        expected = (images / 255).astype(np.float32)
        rows, pixels, permuted = (getattr(forms[as_], part).x for as_ in ("rows", "pixels", "permuted"))
        assert rows.shape == (28, n, 28) and pixels.shape == permuted.shape == (784, n, 1)
        assert rows.dtype == pixels.dtype == permuted.dtype == np.float32
        for k in range(n):
            np.testing.assert_array_equal(rows[:, k], expected[k])
            np.testing.assert_array_equal(pixels[:, k, 0], expected[k].ravel())
            np.testing.assert_array_equal(permuted[:, k, 0], expected[k].ravel()[order])
        for data in forms.values():
            assert getattr(data, part).y.tolist() == labels.tolist() and getattr(data, part).y.dtype.kind == "i"


def test_the_permutation_is_the_seeds(tmp_path):
    write(tmp_path)
    first, again, other = (mnist(tmp_path, "permuted", seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.train.x, again.train.x)
    assert (first.permutation != other.permutation).any()
    np.testing.assert_array_equal(
        first.train.x[np.argsort(first.permutation)], other.train.x[np.argsort(other.permutation)]
    )


@pytest.mark.parametrize("as_", ["rows", "pixels", "permuted"])
def test_no_second_copy_of_the_images_is_made(tmp_path, as_):
    write(tmp_path, sizes=(4000, 1))
    mnist(tmp_path, as_)  # whatever is imported on the first call
    tracemalloc.start()
    data = mnist(tmp_path, as_)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The file and, where they are permuted, its shuffled bytes are each a quarter of the result.
    assert peak < 1.7 * data.train.x.nbytes
    assert data.train.x[:, 7].base is not None and data.train.x.transpose(1, 0, 2).flags.c_contiguous


def test_a_form_that_there_is_not_is_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match="as_ must be one of rows, pixels, permuted; got 'columns'"):
        mnist(tmp_path, "columns")


def test_a_classifier_takes_a_batch(tmp_path):
    write(tmp_path)
    train = mnist(tmp_path).train
    model = rl.models.SequenceClassifier(rl.RNN(28, 6), num_classes=10)
    loss, _ = model.loss(model.init(np.random.default_rng(0)), (train.x[:, :2], train.y[:2], None))
    assert np.isfinite(loss)


# ------------------------------------------------------------------------------- the real files


def test_the_real_files_hold_the_known_digits(data_root):
    data = mnist(data_root)
    assert data.train.x.shape == (28, 60_000, 28) and data.test.x.shape == (28, 10_000, 28)
    assert np.bincount(data.train.y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4] and data.test.y[:3].tolist() == [7, 2, 1]
    assert data.train.x.min() == 0 and data.train.x.max() == 1
    # The mean and standard deviation that everyone normalizes by.
    assert abs(data.train.x.mean(dtype=float) - 0.1307) < 5e-5 and abs(data.train.x.std(dtype=float) - 0.3081) < 5e-5
    with gzip.open(data_root / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        raw = file.read()
    last = np.frombuffer(raw[-784:], np.uint8).reshape(28, 28)
    np.testing.assert_array_equal(np.rint(data.test.x[:, -1] * 255).astype(np.uint8), last)


# ------------------------------------------------------------------------------- what is wrong


def patched(offset, value):
    return lambda data: data[:offset] + value + data[offset + len(value) :]


FAULTS = [  # kind of file, what is done to it, what the error says
    ("images", lambda data: b"", ", byte 0: the file ends in its header; must have 16 bytes"),
    ("labels", lambda data: data[:7], ", byte 7: the file ends in its header; must have 8 bytes"),
    ("images", patched(3, b"\x01"), ", byte 0: found the magic number 2049; must be 2051"),
    ("labels", patched(3, b"\x03"), ", byte 0: found the magic number 2051; must be 2049"),
    ("images", patched(11, b"\x1d"), ", byte 8: found the number of rows 29; must be 28"),
    ("images", patched(15, b"\x1b"), ", byte 12: found the number of columns 27; must be 28"),
    ("images", lambda data: data[:-1], ", byte 16: found .* bytes behind the header; must be"),
    ("images", lambda data: data + b"\x00", ", byte 16: found .* bytes behind the header; must be"),
    ("images", patched(4, b"\xff\xff\xff\xff"), ", byte 16: found .* bytes behind the header; must be 3367254359280"),
    ("labels", lambda data: data[:-1], ", byte 8: found . bytes behind the header; must be"),
    ("labels", patched(9, b"\x0a"), ", byte 9: found the label 10; must be from 0 to 9"),
    ("labels", lambda data: patched(7, bytes([data[7] - 1]))(data[:-1]), ", byte 4: found . labels; .* has . images"),
    ("labels", lambda data: patched(7, b"\x00")(data[:8]), ", byte 4: found a count of 0; must be positive"),
]


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind, change, message", FAULTS)
def test_each_fault_of_a_file_is_one_clear_error(tmp_path, part, packed, kind, change, message):
    write(tmp_path, packed=packed)
    path = tmp_path / "mnist" / (NAMES[part, kind] + (".gz" if packed else ""))
    data = path.read_bytes()
    path.write_bytes(gzip.compress(change(gzip.decompress(data))) if packed else change(data))
    with pytest.raises(DataError, match=f"{path.name}{message}") as caught:
        mnist(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_gzip_file_cut_short_or_damaged_is_one_clear_error(tmp_path):
    write(tmp_path, packed=True)
    path = tmp_path / "mnist" / (NAMES["train", "images"] + ".gz")
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], data[:-3], data[:5], patched(200, b"\x00\x00\x00")(data), b"plain"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=path.name):
            mnist(tmp_path)


@pytest.mark.parametrize("name", NAMES.values())
def test_a_missing_file_is_said_to_be_missing(tmp_path, name):
    write(tmp_path)
    (tmp_path / "mnist" / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"mnist/{name}"):
        mnist(tmp_path)


# ------------------------------------------------------------------------------- mutated files


def fuzz(root, kind, packed, count, seed):
    write(root, packed=packed)
    path = root / "mnist" / (NAMES["train", kind] + (".gz" if packed else ""))

    def plausible(data):
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if packed else raw
        x, y = data.train.x, data.train.y
        if kind == "labels":
            return x.shape == (784, 3, 1) and y.tolist() == list(raw[8:])
        images = np.frombuffer(raw[16:], np.uint8).reshape(3, 784)
        return y.shape == (3,) and np.array_equal(np.rint(x[:, :, 0].T * 255), images)

    original = path.read_bytes()
    return check_loader(lambda: mnist(root, "pixels"), original, path, plausible, count, seed)


CASES = [(kind, packed) for kind in ("images", "labels") for packed in (False, True)]


@pytest.mark.parametrize("kind, packed", CASES)
def test_mutated_files_are_refused_or_read_as_they_say(tmp_path, kind, packed):
    taken, refused = fuzz(tmp_path, kind, packed, count=300, seed=0)
    assert taken > 0 and refused > 100


@pytest.mark.slow
@pytest.mark.parametrize("kind, packed", CASES)
def test_thousands_of_mutated_files_are_refused_or_read_as_they_say(tmp_path, kind, packed):
    fuzz(tmp_path, kind, packed, count=2500, seed=1)
