"""The loader of UCR and UEA sets: the real files, both formats, and what is wrong with a file."""

import numpy as np
import pytest
from fuzz import check_loader
from hypothesis import given
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab.data.files import DataError
from rnnlab.data.ucr import numbers, ucr

SIZES = {  # train, test, length, classes
    "ArrowHead": (36, 175, 251, [0, 1, 2]), "Beef": (30, 30, 470, [1, 2, 3, 4, 5]), "CBF": (30, 900, 128, [1, 2, 3]),
    "Chinatown": (20, 343, 24, [1, 2]), "Coffee": (28, 28, 286, [0, 1]),
    "DistalPhalanxOutlineCorrect": (600, 276, 80, [0, 1]), "ECG200": (100, 100, 96, [-1, 1]),
    "ECG5000": (500, 4500, 140, [1, 2, 3, 4, 5]), "FaceFour": (24, 88, 350, [1, 2, 3, 4]),
    "GunPoint": (50, 150, 150, [1, 2]), "ItalyPowerDemand": (67, 1029, 24, [1, 2]),
    "MedicalImages": (381, 760, 99, list(range(1, 11))), "MoteStrain": (20, 1252, 84, [1, 2]),
    "OSULeaf": (200, 242, 427, [1, 2, 3, 4, 5, 6]), "ProximalPhalanxOutlineAgeGroup": (400, 205, 80, [1, 2, 3]),
    "SmoothSubspace": (150, 150, 15, [1, 2, 3]), "SonyAIBORobotSurface1": (20, 601, 70, [1, 2]),
    "SyntheticControl": (300, 300, 60, [1, 2, 3, 4, 5, 6]), "Trace": (100, 100, 275, [1, 2, 3, 4]),
}  # fmt: skip


def write(root, train, test=None, suffix=".tsv", name="Tiny"):
    """Write a set; return the paths of its two files. `test` is by default the same as `train`."""
    folder = root / "ucr" / name
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}_{part}{suffix}" for part in ("TRAIN", "TEST")]
    for path, text in zip(paths, (train, train if test is None else test), strict=True):
        path.write_text(text, newline="")
    return paths


# ------------------------------------------------------------------------------- the real files


@pytest.mark.parametrize("name", SIZES)
def test_real_tsv_sets_are_what_numpy_reads_from_them(data_root, name):
    train, test, length, classes = SIZES[name]
    data = ucr(name, data_root)
    assert data.classes.tolist() == data.train.classes.tolist() == data.test.classes.tolist() == classes
    for part, n, file in ((data.train, train, "TRAIN"), (data.test, test, "TEST")):
        raw = np.loadtxt(data_root / "ucr" / name / f"{name}_{file}.tsv", delimiter="\t")
        assert part.x.shape == (length, n, 1) and part.x.dtype == np.float64
        assert part.y.shape == part.lengths.shape == (n,) and part.y.dtype.kind == "i"
        np.testing.assert_array_equal(part.x[..., 0].T, raw[:, 1:])
        np.testing.assert_array_equal(data.classes[part.y], raw[:, 0])
        assert (part.lengths == length).all()


def test_japanese_vowels_are_ragged_and_have_twelve_dimensions(data_root):
    data = ucr("JapaneseVowels", data_root)
    assert data.train.x.shape == (26, 270, 12) and data.test.x.shape == (29, 370, 12)
    assert data.classes.tolist() == list(range(1, 10))
    assert np.bincount(data.train.y).tolist() == [30] * 9
    assert (data.train.lengths.min(), data.train.lengths.max()) == (7, 26)
    assert (data.test.lengths.min(), data.test.lengths.max()) == (7, 29)
    for part, file in ((data.train, "TRAIN"), (data.test, "TEST")):
        assert_says_what_a_ts_file_says(part, data_root / "ucr" / "JapaneseVowels" / f"JapaneseVowels_{file}.ts")
    # The last value of the last dimension of the first case, and where its padding begins.
    assert data.train.x[19, 0, 11] == -0.175986 and data.train.lengths[0] == 20 and not data.train.x[20:, 0].any()


def test_a_classifier_takes_what_is_loaded(data_root):
    data = ucr("JapaneseVowels", data_root)
    model = rl.models.SequenceClassifier(rl.GRU(12, 4), num_classes=len(data.classes))
    params = model.init(np.random.default_rng(0))
    loss, _ = model.loss(params, (data.train.x, data.train.y, data.train.lengths))
    assert 1 < loss < 4


# ------------------------------------------------------------------------------- both formats by hand


def test_padding_with_nan_gives_lengths_and_zeros(tmp_path):
    write(tmp_path, "3\t1\t2\t3\n-1\t4\tNaN\tnan\n3\t5\t0\tNaN\n", "-1\t7\t8\n")
    data = ucr("Tiny", tmp_path)
    assert data.train.x[..., 0].T.tolist() == [[1, 2, 3], [4, 0, 0], [5, 0, 0]]
    assert data.train.lengths.tolist() == [3, 1, 2] and data.train.y.tolist() == [1, 0, 1]
    assert data.test.x.shape == (2, 1, 1) and data.test.y.tolist() == [0] and data.classes.tolist() == [-1, 3]


TS = """\
# a comment, and an empty line

@problemName Tiny
@timeStamps false
@missing false
@univariate false
@dimensions 2
@equalLength false
@classLabel true walk run
@data
1,2,3:4,5,6:walk
-1.5:2e3:run
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ts_files_may_be_ragged_and_multivariate(tmp_path, end):
    write(tmp_path, TS.replace("\n", end), suffix=".ts")
    data = ucr("Tiny", tmp_path)
    assert data.train.x.shape == (3, 2, 2) and data.train.lengths.tolist() == [3, 1]
    assert data.train.x[:, 0].tolist() == [[1, 4], [2, 5], [3, 6]]
    assert data.train.x[:, 1].tolist() == [[-1.5, 2000], [0, 0], [0, 0]]
    assert data.classes.tolist() == ["run", "walk"] and data.test.y.tolist() == [1, 0]  # sorted, not as in the header


@pytest.mark.parametrize(
    "labels, classes",
    [("10 9 9", [9, 10]), ("1.0 2e0 1", [1, 2]), ("b a10 a9", ["a10", "a9", "b"]), ("-1 0 -1", [-1, 0])],
)
def test_classes_are_in_ascending_order_of_numbers_else_of_text(tmp_path, labels, classes):
    labels = labels.split()
    write(tmp_path, "".join(f"{label}\t0\t1\n" for label in labels))
    data = ucr("Tiny", tmp_path)
    assert data.classes.tolist() == classes and data.train.classes is data.test.classes
    kind = type(classes[0])
    assert data.classes[data.train.y].tolist() == [kind(float(a)) if kind is int else a for a in labels]


def test_labels_of_a_ts_file_may_be_fractions_and_its_header_may_be_short(tmp_path):
    write(tmp_path, "@data\n1,2:0.5\n3,4:-1\n\n", suffix=".ts")
    data = ucr("Tiny", tmp_path)
    assert data.classes.tolist() == [-1, 0.5] and data.train.x[..., 0].T.tolist() == [[1, 2], [3, 4]]


@given(
    st.lists(
        st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=1, max_size=5),
        min_size=1, max_size=5,
    )
)  # fmt: skip
def test_what_is_written_is_read_in_both_formats(tmp_path_factory, series):
    root = tmp_path_factory.mktemp("ucr")
    T = max(map(len, series))
    tsv = "".join(f"{n % 2}\t" + "\t".join(map(repr, s + [np.nan] * (T - len(s)))) + "\n" for n, s in enumerate(series))
    ts = "@data\n" + "".join(",".join(map(repr, s)) + f":{n % 2}\n" for n, s in enumerate(series))
    for text, suffix in ((tsv, ".tsv"), (ts, ".ts")):
        write(root, text, suffix=suffix, name=suffix[1:])
        part = ucr(suffix[1:], root).test
        assert [part.x[:k, n, 0].tolist() for n, k in enumerate(part.lengths)] == series
        assert part.y.tolist() == [n % 2 for n in range(len(series))]


# ------------------------------------------------------------------------------- what is wrong


TSV_ERRORS = [  # which file, its text, what the error says
    (0, "", "_TRAIN.tsv: is empty"),
    (1, "", "_TEST.tsv: is empty"),
    (0, "1\t2\t3\n\n2\t3\t4\n", "_TRAIN.tsv, line 2: found ''; must be a label and a series"),
    (0, "1\t2\t3\n2\t3\n", "_TRAIN.tsv, line 2: found 1 values; every line must have as many as line 1, which has 2"),
    (0, "1\t2\t3\n2\tNaN\t4\n", "_TRAIN.tsv, line 2: found 'NaN' in column 2; must be a finite number"),
    (0, "1\t2\t3\n2\tNaN\tNaN\n", "_TRAIN.tsv, line 2: found nothing but NaN"),
    (1, "1\t2\t?\n", "_TEST.tsv, line 1: found '[?]' in column 3; must be a finite number"),
    (1, "1\t2\tinf\n", "_TEST.tsv, line 1: found 'inf' in column 3"),
    (1, "1\t2\t1e400\n", "_TEST.tsv, line 1: found '1e400' in column 3"),
    (1, "1\t1_0\t2\n", "_TEST.tsv, line 1: found '1_0' in column 2"),
    (1, "1\t\t2\n", "_TEST.tsv, line 1: found '' in column 2"),
    (1, "2\t2\t3\n1\t0\t0\n3\t0\t0\n", "_TEST.tsv, line 3: found the label '3'; .*_TRAIN.tsv has 1, 2"),
    (1, "1\t2\n2\t3\n", "_TEST.tsv, line 1: found 1 values in every line; .*_TRAIN.tsv has 2"),
    (0, "1\t2\t3\nx\t0\t0\n2\t1\t1\n", "_TRAIN.tsv, line 2: found the label 'x'; must be an integer"),
    (0, "1\t2\t3\n2.5\t0\t0\n2\t1\t1\n", "_TRAIN.tsv, line 2: found the label '2.5'; must be an integer"),
    (0, "a\t2\t3\n1\t0\t0\nb\t1\t1\n", "_TRAIN.tsv, line 2: found the label '1'; must be text"),
    (0, "\t2\t3\n\t0\t0\n", "_TRAIN.tsv, line 1: found the label ''; must not be empty"),
    (0, "1\t2\t3\n2\t\xff\t0\n", r"_TRAIN.tsv, line 2: found 'ÿ' in column 2"),
]


@pytest.mark.parametrize("which, text, message", TSV_ERRORS)
def test_each_fault_of_a_tsv_file_is_one_clear_error(tmp_path, which, text, message):
    paths = write(tmp_path, "1\t0\t1\n2\t1\t0\n")
    ucr("Tiny", tmp_path)
    paths[which].write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        ucr("Tiny", tmp_path)
    assert "\n" not in str(caught.value)


TS_ERRORS = [  # what is replaced in TS, by what, what the error says
    ("@data\n", "", "line 10: found '1,2,3:4,5,6:walk'; before @data a line must begin with # or @"),
    ("1,2,3:4,5,6:walk\n-1.5:2e3:run\n", "", "holds no case"),
    (TS, "# nothing\n", "has no line @data"),
    ("@missing false", "@missing no", "line 5: found @missing 'no'; must be true or false"),
    ("@missing false", "@mising false", "line 5: found '@mising'; allowed are @problemname, "),
    ("@missing false", "@TimeStamps false", "line 5: found @timestamps again; it stands in line 4"),
    ("@timeStamps false", "@timeStamps true", "line 4: found @timestamps true; series with time stamps are not read"),
    ("@missing false", "@targetLabel true", "line 5: found @targetlabel true; sets for regression are not read"),
    ("@dimensions 2", "@dimensions two", "line 7: found @dimensions 'two'; must be a positive integer"),
    ("@dimensions 2", "@dimensions 3", "line 11: found 2 dimensions before the label; must be 3"),
    ("@univariate false", "@univariate true", "line 7: found @dimensions 2; @univariate true allows only 1"),
    ("@univariate false\n@dimensions 2", "@univariate true", "line 10: found 2 dimensions before the label; must be 1"),
    ("@equalLength false", "@equalLength true", "line 12: found 1 values; all series must have 3"),
    ("@equalLength false", "@equalLength true\n@seriesLength 1", "line 12: found 3 values; all series must have 1"),
    ("true walk run", "true walk", "line 12: found the label 'run'; @classLabel allows walk"),
    ("true walk run", "true walk run walk", "line 9: found the label 'walk' twice"),
    ("true walk run", "false", "line 9: found @classLabel 'false'; must be true and the labels"),
    ("true walk run", "", "line 9: found @classLabel ''; must be true and the labels"),
    ("4,5,6", "4,5", "line 11: found 2 values in dimension 2; must be 3, as in dimension 1"),
    ("4,5,6", "4,?,6", "line 11: found '[?]' as value 2 of dimension 2; must be a finite number"),
    ("4,5,6", "4,5,NaN", "line 11: found 'NaN' as value 3 of dimension 2; must be a finite number"),
    ("1,2,3:4,5,6:walk", "walk", "line 11: found 0 dimensions before the label; must be 2"),
    ("-1.5:2e3", "-1.5", "line 12: found 1 dimensions before the label; must be 2"),
]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("old, new, message", TS_ERRORS)
def test_each_fault_of_a_ts_file_is_one_clear_error(tmp_path, which, old, new, message):
    paths = write(tmp_path, TS, suffix=".ts")
    assert old in TS
    paths[which].write_text(TS.replace(old, new))
    with pytest.raises(DataError, match=f"Tiny_{('TRAIN', 'TEST')[which]}.ts(, |: ){message}") as caught:
        ucr("Tiny", tmp_path)
    assert "\n" not in str(caught.value)


def test_train_and_test_must_have_the_same_dimensions(tmp_path):
    write(tmp_path, TS, "@data\n1:walk\n", suffix=".ts")
    with pytest.raises(DataError, match="Tiny_TEST.ts, line 2: found 1 dimensions; .*Tiny_TRAIN.ts has 2"):
        ucr("Tiny", tmp_path)


def test_an_unknown_name_lists_the_nearest_ones(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data set 'Beef' in .*; set RNNLAB_DATA to the folder that holds"):
        ucr("Beef", tmp_path)
    for name in ("Coffee", "Computers", "Beef"):
        write(tmp_path, "1\t0\n", name=name)
    with pytest.raises(FileNotFoundError, match="no data set 'cofee' in .*ucr; the nearest there: Coffee$"):
        ucr("cofee", tmp_path)
    with pytest.raises(FileNotFoundError, match="no data set 'zzz' in .*; there are 3 others$"):
        ucr("zzz", tmp_path)
    for name in ("../ucr/Coffee", "", ".", "Coffee/../Beef"):  # a name is a name, not a path
        with pytest.raises(FileNotFoundError, match="there is no data set"):
            ucr(name, tmp_path)


def test_half_a_set_names_the_missing_half(tmp_path):
    paths = write(tmp_path, "1\t0\n")
    paths[1].unlink()
    with pytest.raises(FileNotFoundError, match="there is no .*Tiny_TEST.tsv, although the other half"):
        ucr("Tiny", tmp_path)


@given(st.text("0123456789.eE+-_ infaxNn\u0663", max_size=6))
def test_numbers_are_decimal_and_finite(text):
    """What is taken is what float() makes of it; what is refused is no plain number, alone or among others."""
    value = numbers([text])[0]
    assert np.array_equal(numbers(["1", text, "2"]), [1, value, 2], equal_nan=True)
    try:
        expected = float(text)
    except ValueError:
        expected = np.nan
    plain = set(text) <= set("0123456789.eE+- ") and np.isfinite(expected)
    assert value == expected if plain else np.isnan(value)


# ------------------------------------------------------------------------------- mutated files


def file_lines(path):
    return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n").split("\n")


def same_label(label, text):
    return label == text if isinstance(label, str) else label == float(text)


def says_what_a_tsv_file_says(part, path):
    rows = [line.split("\t") for line in file_lines(path)]
    series = [[float(v) for v in row[1:] if not np.isnan(float(v))] for row in rows]
    labels = part.classes[part.y].tolist()
    return (
        [part.x[:k, n, 0].tolist() for n, k in enumerate(part.lengths)] == series
        and len(labels) == len(rows)
        and all(same_label(label, row[0].strip()) for label, row in zip(labels, rows, strict=True))
    )


def assert_says_what_a_ts_file_says(part, path):
    lines = [line.strip() for line in file_lines(path)]
    start = next(k for k, line in enumerate(lines) if line.lower().startswith("@data"))
    lines = [line for line in lines[start + 1 :] if line and not line.startswith("#")]
    assert part.x.shape[1] == len(lines)
    for n, line in enumerate(lines):
        *dimensions, label = line.split(":")
        values = np.array([[float(v) for v in dimension.split(",")] for dimension in dimensions]).T
        np.testing.assert_array_equal(part.x[: part.lengths[n], n], values)
        assert not part.x[part.lengths[n] :, n].any()
        assert same_label(part.classes[part.y[n]].item(), label.strip())
    return True


def sound(data):
    """What must hold of any set, whatever its files."""
    assert np.unique(data.classes).tolist() == data.classes.tolist()
    for part in (data.train, data.test):
        T, N, D = part.x.shape
        assert part.y.shape == part.lengths.shape == (N,) and np.isfinite(part.x).all()
        assert part.lengths.min() >= 1 and part.lengths.max() == T
        assert part.y.min() >= 0 and part.y.max() < len(part.classes)
    assert data.train.x.shape[2] == data.test.x.shape[2] and set(data.train.y) == set(range(len(data.classes)))
    return True


TSV = "1\t0.25\t-1.5\t3e-2\n2\t1\t2\t3\n1\t7\t8\tNaN\n2\t0.5\tNaN\tNaN\n"
FUZZED = [(TSV, ".tsv", says_what_a_tsv_file_says), (TS, ".ts", assert_says_what_a_ts_file_says)]


def fuzz(root, text, suffix, says, which, count, seed):
    path = write(root, text, suffix=suffix)[which]

    def plausible(data):
        return sound(data) and says((data.train, data.test)[which], path)

    return check_loader(lambda: ucr("Tiny", root), text.encode(), path, plausible, count, seed)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("text, suffix, says", FUZZED, ids=["tsv", "ts"])
def test_mutated_files_are_refused_or_read_as_they_say(tmp_path, text, suffix, says, which):
    taken, refused = fuzz(tmp_path, text, suffix, says, which, count=300, seed=0)
    assert refused > taken > 5


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("text, suffix, says", FUZZED, ids=["tsv", "ts"])
def test_thousands_of_mutated_files_are_refused_or_read_as_they_say(tmp_path, text, suffix, says, which):
    fuzz(tmp_path, text, suffix, says, which, count=5000, seed=1)
