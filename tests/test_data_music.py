"""Piano rolls: the real ones, malformed files, and pieces of different lengths as a batch."""

import io
import re
import zipfile

import numpy as np
import pytest
from fuzz import check_loader
from hypothesis import given
from hypothesis import strategies as st

from rnnlab.data import DataError, pad, piano_rolls

PARTS = ("train", "valid", "test")
mutated = pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])


def arrays(rng):
    """Six arrays in the form of the real ones."""
    found = {}
    for part, lengths in (("train", [4, 1, 3]), ("valid", [2]), ("test", [5, 2])):
        found[f"{part}_roll"] = rng.integers(0, 2, (sum(lengths), 88)).astype(np.uint8)
        found[f"{part}_lengths"] = np.array(lengths, np.int32)
    return found


def write(folder, found, name="Nottingham"):
    (folder / "music").mkdir(exist_ok=True)
    path = folder / "music" / f"{name}.npz"
    np.savez_compressed(path, **found)
    return path


@pytest.mark.parametrize(
    ("name", "pieces", "steps", "notes"),
    [
        ("nottingham", (694, 173, 170), (176_561, 45_513, 44_463), (31, 93)),
        ("jsb", (229, 76, 77), (13_807, 4602, 4725), (43, 96)),
    ],
)
def test_the_real_pieces_have_the_published_numbers(name, pieces, steps, notes, data_root):
    if not (data_root / "music").is_dir():
        pytest.skip(f"no music in {data_root}")
    data = piano_rolls(name, data_root)
    for part, count, total in zip(data, pieces, steps, strict=True):
        assert len(part) == count and sum(map(len, part)) == total
        for piece in part:
            assert piece.dtype == np.uint8 and piece.shape[1:] == (88,) and set(np.unique(piece)) <= {0, 1}
    sounding = np.flatnonzero(np.concatenate([piece for part in data for piece in part]).any(axis=0))
    assert (sounding.min() + 21, sounding.max() + 21) == notes
    if name == "nottingham":
        lengths = [len(piece) for part in data for piece in part]
        assert (min(lengths), max(lengths)) == (40, 1793)
        assert [sum(int((~piece.any(axis=1)).sum()) for piece in part) for part in data] == [487, 51, 19]


@pytest.mark.parametrize(("name", "file"), [("nottingham", "Nottingham"), ("jsb", "JSB_Chorales")])
def test_pieces_are_cut_where_the_lengths_say(name, file, tmp_path):
    found = arrays(np.random.default_rng(0))
    write(tmp_path, found, file)
    data = piano_rolls(name, tmp_path)
    for part in PARTS:
        pieces = getattr(data, part)
        assert [len(piece) for piece in pieces] == found[f"{part}_lengths"].tolist()
        np.testing.assert_array_equal(np.concatenate(pieces), found[f"{part}_roll"])


def test_an_unknown_set_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(ValueError, match="name must be one of nottingham, jsb; got 'bach'"):
        piano_rolls("bach", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"music/JSB_Chorales\.npz .*rnnlab data fetch music"):
        piano_rolls("jsb", tmp_path)


def spoil(key, change):
    return lambda found: found | {key: change(found[key])}


def with_a(value):
    def change(roll):
        changed = roll.copy()
        changed[5, 60] = value
        return changed

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: {k: v for k, v in found.items() if k != "valid_roll"}, "has no array valid_roll; found test_le"),
        (lambda found: {"a": np.zeros(1)}, "has no array train_roll; found a"),
        (
            spoil("train_roll", lambda roll: roll[:, :87]),
            "train_roll must be uint8 of shape (steps, 88); got uint8 of s",
        ),
        (
            spoil("train_roll", lambda roll: roll.astype(float)),
            "train_roll must be uint8 of shape (steps, 88); got flo",
        ),
        (spoil("train_roll", lambda roll: roll * np.nan), "train_roll must be uint8 of shape (steps, 88); got float64"),
        (spoil("test_roll", lambda roll: roll[:-1]), "test_lengths sum to 7, but test_roll has 6 steps"),
        (spoil("test_roll", with_a(2)), "test_roll must hold 0 and 1; got 2 at step 5, key 60"),
        (spoil("test_lengths", lambda k: k * 1.0), "test_lengths must be one or more integers from 1 on; got float64"),
        (spoil("test_lengths", lambda k: k - 2), "test_lengths must be one or more integers from 1 on"),
        (
            spoil("test_lengths", lambda k: k[None]),
            "test_lengths must be one or more integers from 1 on; got int32 of ",
        ),
        (spoil("test_lengths", lambda k: k[:0]), "test_lengths must be one or more integers from 1 on"),
        (
            spoil("test_lengths", lambda k: np.array([2**63 - 1, 2**63 - 1, 9])),
            "test_lengths sum to 184467440737095516",
        ),
    ],
)
def test_a_malformed_file_is_refused(change, message, tmp_path):
    path = write(tmp_path, change(arrays(np.random.default_rng(0))))
    with pytest.raises(DataError, match=re.escape(f"{path}: {message}")):
        piano_rolls("nottingham", tmp_path)


def test_a_truncated_file_is_refused(tmp_path):
    path = write(tmp_path, arrays(np.random.default_rng(0)))
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"Nottingham\.npz: is not a sound \.npz file"):
            piano_rolls("nottingham", tmp_path)


def plausible(data):
    shapes = all(
        piece.dtype == np.uint8 and piece.ndim == 2 and piece.shape[1] == 88 for part in data for piece in part
    )
    return shapes and all(part and all(len(piece) and piece.max() < 2 for piece in part) for part in data)


@mutated
def test_mutated_files_are_refused_unless_the_pieces_are_the_same(tmp_path, count):
    found = arrays(np.random.default_rng(0))
    path = write(tmp_path, found)

    def same(data):
        return all(np.array_equal(np.concatenate(getattr(data, part)), found[f"{part}_roll"]) for part in PARTS)

    check_loader(lambda: piano_rolls("nottingham", tmp_path), path.read_bytes(), path, same, count)


@mutated
@pytest.mark.parametrize("key", ["train_roll", "train_lengths"])
def test_mutated_arrays_are_refused_or_plausible_where_the_archive_s_checksums_are_right(tmp_path, key, count):
    """The archive around a mutated array is a sound one: `write_to` holds the array until `load` packs it."""
    found = arrays(np.random.default_rng(0))
    path = write(tmp_path, found)
    member = io.BytesIO()
    np.save(member, found.pop(key))

    def load():
        mutant = path.read_bytes()
        np.savez(path, **found)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(f"{key}.npy", mutant)
        return piano_rolls("nottingham", tmp_path)

    taken, refused = check_loader(load, member.getvalue(), path, plausible, count)
    assert taken and refused


# ------------------------------------------------------------------------------------------- batches


@given(seed=st.integers(0, 2**32 - 1), lengths=st.lists(st.integers(0, 7), min_size=1, max_size=5))
def test_padded_pieces_come_back_at_their_lengths_and_the_rest_is_zero(seed, lengths):
    rng = np.random.default_rng(seed)
    pieces = [rng.normal(size=(length, 3)) for length in lengths]
    x, found = pad(pieces)
    assert x.shape == (max(lengths), len(lengths), 3) and found.tolist() == lengths and found.dtype == np.int64
    for n, piece in enumerate(pieces):
        np.testing.assert_array_equal(x[: len(piece), n], piece)
        assert not x[len(piece) :, n].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.complex128])
def test_padding_keeps_the_dtype(dtype):
    assert pad([np.ones((2, 3), dtype)])[0].dtype == dtype


def test_what_cannot_be_padded_is_named():
    with pytest.raises(ValueError, match="sequences must hold at least one array; got none"):
        pad([])
    with pytest.raises(ValueError, match=r"sequences must all have shape \(T, 3\); got \(2, 4\) at 1"):
        pad([np.ones((2, 3)), np.ones((2, 4))])
    with pytest.raises(ValueError, match=r"sequences must all have shape \(T, D\); got \(2,\) at 0"):
        pad([np.ones(2)])


def test_a_model_takes_a_padded_batch():
    import rnnlab as rl

    rng = np.random.default_rng(0)
    x, lengths = pad([rng.integers(0, 2, (length, 88)).astype(float) for length in (4, 7, 2)])
    model = rl.models.PianoRollModel(rl.GRU(88, 5))
    loss, _ = model.loss(model.init(rng, np.float64), (x, lengths))
    assert 40 < loss < 80  # an untrained model: about 88 log 2 = 61 a frame
