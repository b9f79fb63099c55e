"""Penn Treebank, and texts of any size as token files."""

import json
import os
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from fuzz import check_loader
from hypothesis import given
from hypothesis import strategies as st

from rnnlab.data import DataError, open_tokens, penn_treebank, tokens, write_tokens

TRAIN = " the cat saw the <unk> \n a dog saw the cat \n the N cats \n"
VALID = " the dog saw N \n"
TEST = " a cat saw the dog \n the cat \n"
mutated = pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])


# ------------------------------------------------------------------------------------ Penn Treebank


@pytest.fixture
def treebank(tmp_path):
    """A small set in the form of the real one."""
    (tmp_path / "ptb").mkdir()
    for part, text in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        (tmp_path / "ptb" / f"ptb.{part}.txt").write_text(text)
    return tmp_path


def words(data, part):
    return " ".join(data.vocabulary[k] for k in getattr(data, part))


def test_the_real_treebank_has_the_published_numbers(data_root):
    if not (data_root / "ptb").is_dir():
        pytest.skip(f"no Penn Treebank in {data_root}")
    data = penn_treebank(data_root)
    assert [len(part) for part in data[:3]] == [929_589, 73_760, 82_430]
    assert len(data.vocabulary) == len(set(data.vocabulary)) == 10_000
    counts = np.bincount(data.train, minlength=10_000)
    assert (np.diff(counts) <= 0).all() and counts.min() > 0
    assert data.vocabulary[:3] == ["the", "<unk>", "<eos>"]
    assert [int((part == 2).sum()) for part in data[:3]] == [42_068, 3370, 3761]
    assert words(data, "train").startswith("aer banknote berlitz calloway")
    assert words(data, "valid").startswith("consumers may want to move their telephones a little closer to the tv set")
    assert words(data, "test").startswith("no it was n't black monday <eos> but while")
    for part in data[:3]:
        assert part.dtype == np.int64 and part.min() >= 0 and part.max() < 10_000


def test_words_become_numbers_and_every_sentence_ends(treebank):
    data = penn_treebank(treebank)
    assert words(data, "train") == "the cat saw the <unk> <eos> a dog saw the cat <eos> the N cats <eos>"
    assert words(data, "valid") == "the dog saw N <eos>"
    assert words(data, "test") == "a cat saw the dog <eos> the cat <eos>"
    assert data.vocabulary == ["the", "<eos>", "cat", "saw", "<unk>", "N", "a", "cats", "dog"]


def test_an_unknown_word_counts_as_unk_or_is_named_with_its_line(treebank):
    (treebank / "ptb" / "ptb.valid.txt").write_text(" the zebra saw N \n")
    assert words(penn_treebank(treebank), "valid") == "the <unk> saw N <eos>"
    (treebank / "ptb" / "ptb.train.txt").write_text(TRAIN.replace("<unk>", "bird"))
    (treebank / "ptb" / "ptb.test.txt").write_text(" the cat \n a cat \n a zebra \n")
    (treebank / "ptb" / "ptb.valid.txt").write_text(VALID)
    with pytest.raises(
        DataError, match=r"ptb\.test\.txt, line 3: the word 'zebra' is not in .*train.txt, nor is <unk>"
    ):
        penn_treebank(treebank)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: the file is empty"),
        (b" the cat \n a do", "line 2: the last line has no end"),
        (b" the cat \n\n a dog \n", "line 2: is empty; every line must hold a sentence"),
        (b" the cat \n a \x00dog \n", r"line 2: found the control character '\\x00'"),
        (b" the cat \n a \xc2\x85 dog \n", r"line 2: found the control character '\\x85'"),
        (b" the cat \n a \xff dog \n", "line 2: byte 0xff at offset 13 is not UTF-8"),
    ],
)
@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_a_malformed_file_is_refused_with_its_line(treebank, part, content, message):
    (treebank / "ptb" / f"ptb.{part}.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"ptb\.{part}\.txt, {message}"):
        penn_treebank(treebank)


def test_a_missing_part_is_named(treebank):
    (treebank / "ptb" / "ptb.valid.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"ptb/ptb\.valid\.txt"):
        penn_treebank(treebank)


def plausible_treebank(data):
    size = len(data.vocabulary)
    sound = all(len(part) and part.min() >= 0 and part.max() < size for part in data[:3])
    ended = all(data.vocabulary[part[-1]] == "<eos>" for part in data[:3])
    split = all(word and word.split() == [word] for word in data.vocabulary)
    return sound and ended and split and len(set(data.vocabulary)) == size == len(set(data.train.tolist()))


@mutated
@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_mutated_treebanks_are_refused_or_plausible(treebank, part, count):
    path = treebank / "ptb" / f"ptb.{part}.txt"
    taken, refused = check_loader(lambda: penn_treebank(treebank), path.read_bytes(), path, plausible_treebank, count)
    assert taken > count / 20 and refused > count / 20


# --------------------------------------------------------------------------------------- token files


def lines(text):
    """What a file of words stands for, written the plain way."""
    whole = text.split("\n")
    if whole[-1] == "":
        whole.pop()
    return [word for line in whole for word in [*line.split(), "<eos>"]]


texts = st.text(st.sampled_from("ab \n\té€\u2028\r𝄞"), min_size=1, max_size=60)


@given(text=texts, chunk=st.integers(1, 9))
def test_words_do_not_depend_on_where_the_pieces_of_the_file_are_cut(text, chunk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "text").write_bytes(text.encode())
    before, tokens.CHUNK = tokens.CHUNK, chunk
    try:
        vocabulary = write_tokens(folder / "text", folder / "text.npy")
        opened = open_tokens(folder / "text.npy")
    finally:
        tokens.CHUNK = before
    assert [vocabulary[k] for k in opened.tokens] == lines(text)
    counts = Counter(lines(text))
    assert opened.vocabulary == vocabulary == sorted(counts, key=lambda word: (-counts[word], word))


@given(text=texts, chunk=st.integers(1, 9))
def test_characters_and_bytes_come_back_as_they_were(text, chunk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "text").write_bytes(text.encode())
    before, tokens.CHUNK = tokens.CHUNK, chunk
    try:
        write_tokens(folder / "text", folder / "c.npy", level="character")
        write_tokens(folder / "text", folder / "b.npy", level="byte")
        characters, single = open_tokens(folder / "c.npy"), open_tokens(folder / "b.npy")
    finally:
        tokens.CHUNK = before
    assert "".join(characters.vocabulary[k] for k in characters.tokens) == text
    assert characters.vocabulary == sorted(set(text)) and characters.level == "character"
    assert b"".join(single.vocabulary[k] for k in single.tokens) == text.encode() == single.tokens.tobytes()


def test_a_text_much_larger_than_a_piece_takes_no_more_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "CHUNK", 2**13)
    rng = np.random.default_rng(0)
    line = " ".join(f"w{k}" for k in rng.integers(0, 300, 40)) + "\n"
    peaks = []
    for repeats in (100, 10_000):
        with (tmp_path / "text").open("w") as file:
            file.writelines(line for _ in range(repeats))
        tracemalloc.start()
        write_tokens(tmp_path / "text", tmp_path / "text.npy")
        opened = open_tokens(tmp_path / "text.npy")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(opened.tokens) == 41 * repeats
    assert (tmp_path / "text").stat().st_size > 150 * tokens.CHUNK
    assert max(peaks) < 5e5 and peaks[1] < peaks[0] + 1e5


def test_the_dtype_is_the_smallest_that_holds_the_vocabulary(tmp_path):
    (tmp_path / "text").write_text(" ".join(f"w{k}" for k in range(300)) + "\n")
    write_tokens(tmp_path / "text", tmp_path / "text.npy")
    opened = open_tokens(tmp_path / "text.npy")
    assert opened.tokens.dtype == np.uint16 and isinstance(opened.tokens, np.memmap)
    assert not opened.tokens.flags.writeable
    np.testing.assert_array_equal(np.load(tmp_path / "text.npy", allow_pickle=False), opened.tokens)
    for size, dtype in ((256, np.uint8), (257, np.uint16), (65_536, np.uint16), (65_537, np.uint32)):
        write_tokens(tmp_path / "text", tmp_path / "b.npy", vocabulary=["<unk>", *map(str, range(size - 1))])
        opened = open_tokens(tmp_path / "b.npy")
        assert opened.tokens.dtype == dtype and len(opened.vocabulary) == size and not opened.tokens.any()


def test_another_text_takes_the_vocabulary_of_the_first(tmp_path):
    (tmp_path / "train").write_text("a b <unk>\na b\na\n")
    (tmp_path / "valid").write_text("b a\nzebra\n")
    vocabulary = write_tokens(tmp_path / "train", tmp_path / "train.npy")
    assert write_tokens(tmp_path / "valid", tmp_path / "valid.npy", vocabulary=vocabulary) == vocabulary
    opened = open_tokens(tmp_path / "valid.npy")
    assert [vocabulary[k] for k in opened.tokens] == ["b", "a", "<eos>", "<unk>", "<eos>"]
    with pytest.raises(DataError, match="valid, line 2: the word 'zebra' is not in the vocabulary"):
        write_tokens(tmp_path / "valid", tmp_path / "valid.npy", vocabulary=["a", "b", "<eos>"])
    with pytest.raises(DataError, match="valid, line 2: the character 'z' is not in the vocabulary"):
        write_tokens(tmp_path / "valid", tmp_path / "valid.npy", "character", vocabulary=list("ab \n"))


@pytest.mark.parametrize("chunk", [1, 3, 2**20])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "text: the file is empty"),
        (b"one\ntwo \xff\n", "text, line 2: byte 0xff at offset 8 is not UTF-8"),
        (b"one\ntwo \xe2\x82", "text, line 2: byte 0xe2 at offset 8 is not UTF-8"),
        (b"\xef\xbb\xbfone\n\xc3(\n", "text, line 2: byte 0xc3 at offset 7 is not UTF-8"),
        (b"one\n" + b"x" * 100_000, "text, line 2: found a word of more than 65536 characters"),
    ],
)
def test_a_text_that_is_none_is_refused_and_nothing_is_left(tmp_path, monkeypatch, chunk, content, message):
    if chunk < 4 and len(content) > 1000:
        chunk *= 1000
    monkeypatch.setattr(tokens, "CHUNK", chunk)
    (tmp_path / "text").write_bytes(content)
    for vocabulary in (None, ["<unk>"]):
        with pytest.raises(DataError, match=message):
            write_tokens(tmp_path / "text", tmp_path / "text.npy", vocabulary=vocabulary)
        assert os.listdir(tmp_path) == ["text"]


def test_a_byte_order_mark_is_no_character(tmp_path):
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbfab")
    assert write_tokens(tmp_path / "text", tmp_path / "text.npy", "character") == ["a", "b"]


def test_wrong_arguments_are_named(tmp_path):
    text = tmp_path / "text"
    text.write_text("a")
    with pytest.raises(ValueError, match="level must be one of word, character, byte; got 'line'"):
        write_tokens(text, tmp_path / "t.npy", level="line")
    with pytest.raises(ValueError, match="vocabulary must be None for level='byte'"):
        write_tokens(text, tmp_path / "t.npy", level="byte", vocabulary=["a"])
    with pytest.raises(ValueError, match="vocabulary must hold at least one string"):
        write_tokens(text, tmp_path / "t.npy", vocabulary=[])
    with pytest.raises(ValueError, match="vocabulary must hold every string once; got 'a'"):
        write_tokens(text, tmp_path / "t.npy", vocabulary=["a", "b", "a"])
    with pytest.raises(FileNotFoundError, match="nope"):
        write_tokens(tmp_path / "nope", tmp_path / "t.npy")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*t\.npy"):
        open_tokens(tmp_path / "t.npy")


@pytest.fixture
def token_file(tmp_path):
    """A small token file of words."""
    (tmp_path / "text").write_text("a b c\nb c\nc\n")
    write_tokens(tmp_path / "text", tmp_path / "text.npy")
    return tmp_path / "text.npy"


def test_a_failed_write_keeps_the_file_that_was_there(token_file):
    old = token_file.read_bytes(), (token_file.parent / "text.npy.json").read_bytes()
    text = token_file.with_name("text")
    text.write_bytes(b"a b\n" * 1000 + b"\xff")
    with pytest.raises(DataError):
        write_tokens(text, token_file, vocabulary=["a", "b", "<eos>"])
    assert (token_file.read_bytes(), (token_file.parent / "text.npy.json").read_bytes()) == old
    assert sorted(os.listdir(token_file.parent)) == ["text", "text.npy", "text.npy.json"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "other", "must be an object whose format is 'rnnlab tokens'"),
        ("version", 2, "version must be 1; got 2"),
        ("level", "line", "level must be one of word, character, byte; got 'line'"),
        ("level", "byte", "vocabulary must be null for bytes"),
        ("count", -1, "count must be an integer from 0 on; got -1"),
        ("count", 9.0, "count must be an integer from 0 on; got 9.0"),
        ("crc32", None, "crc32 must be an integer from 0 on; got None"),
        ("vocabulary", [], r"vocabulary must be a list of strings; got \[\]"),
        ("vocabulary", ["a", 1], "vocabulary must be a list of strings"),
        ("vocabulary", ["a", "a", "b", "c"], "vocabulary must hold every string once"),
        ("dtype", "uint16", "dtype must be 'uint8' for this vocabulary; got 'uint16'"),
    ],
)
def test_a_wrong_description_is_refused(token_file, key, value, message):
    beside = token_file.with_name("text.npy.json")
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {key: value}))
    with pytest.raises(DataError, match=rf"text\.npy\.json: {message}"):
        open_tokens(token_file)


def test_a_file_that_does_not_fit_its_description_is_refused(token_file):
    sound, beside = token_file.read_bytes(), token_file.with_name("text.npy.json")
    about = json.loads(beside.read_text())
    for content, message in [
        (sound[:-1], "must have 137 bytes, .* and hold a token; got 136 bytes"),
        (sound + b"\0", "must have 137 bytes, .* got 138 bytes"),
        (sound[:-1] + b"\x01", "the CRC-32 of it and its vocabulary is"),
        (sound[:-1] + b"\x04", r"holds the number 4; .*text\.npy\.json has 4 words"),
        (b"text", "byte 0: is not the header of a token file"),
        (sound.replace(b"|u1", b"|i1"), r"byte 0: .*text\.npy\.json says uint8 of shape \(9,\); got dtype\('int8'\)"),
    ]:
        token_file.write_bytes(content)
        with pytest.raises(DataError, match=rf"text\.npy.*{message}"):
            open_tokens(token_file)
    token_file.write_bytes(sound[:-1] + b"\x01")
    assert len(open_tokens(token_file, check=False).tokens) == 9
    token_file.write_bytes(sound)
    beside.write_text(json.dumps(about | {"count": 8}))
    with pytest.raises(DataError, match=r"says uint8 of shape \(8,\)"):
        open_tokens(token_file)
    beside.write_text("{")
    with pytest.raises(DataError, match=r"text\.npy\.json, line 1: is not JSON"):
        open_tokens(token_file)


def plausible_tokens(opened):
    vocabulary = opened.vocabulary
    return len(opened.tokens) > 0 and opened.tokens.max() < len(vocabulary) == len(set(vocabulary))


@mutated
def test_mutated_token_files_are_refused_unless_their_numbers_are_the_same(token_file, count):
    right = open_tokens(token_file).tokens.tolist()
    check_loader(
        lambda: open_tokens(token_file),
        token_file.read_bytes(),
        token_file,
        lambda opened: opened.tokens.tolist() == right,
        count,
    )


@mutated
def test_mutated_descriptions_are_refused_unless_they_say_the_same(token_file, count):
    beside = token_file.with_name("text.npy.json")
    right = open_tokens(token_file)

    def same(opened):
        return opened.vocabulary == right.vocabulary and opened.tokens.tolist() == right.tokens.tolist()

    check_loader(lambda: open_tokens(token_file), beside.read_bytes(), beside, same, count)


@mutated
@pytest.mark.parametrize("level", ["word", "character"])
def test_mutated_texts_are_refused_or_become_token_files(tmp_path, monkeypatch, level, count):
    monkeypatch.setattr(os, "fsync", lambda file: None)  # thousands of them take minutes while others write
    text = tmp_path / "text"

    def load():
        write_tokens(text, tmp_path / "text.npy", level)
        return open_tokens(tmp_path / "text.npy")

    check_loader(load, "one two é\n two € three\n".encode() * 3, text, plausible_tokens, count)


def test_opening_a_token_file_runs_nothing_that_lies_in_it(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    objects = np.empty(3, object)
    objects[:] = [Trap(), 1, 2]
    np.save(tmp_path / "text.npy", objects, allow_pickle=True)
    (tmp_path / "sprung").unlink(missing_ok=True)
    about = {"format": "rnnlab tokens", "version": 1, "level": "byte", "count": 3, "dtype": "uint8", "crc32": 0}
    (tmp_path / "text.npy.json").write_text(json.dumps(about | {"vocabulary": None}))
    with pytest.raises(DataError, match=r"text\.npy, byte 0"):
        open_tokens(tmp_path / "text.npy")
    assert not (tmp_path / "sprung").exists()
