"""Where data files lie, how they are read, the register of data sets, and downloads from a server of this machine."""

import functools
import gc
import gzip
import hashlib
import http.server
import io
import sys
import threading
import types
import zipfile

import numpy as np
import pytest
from fuzz import check_loader, mutations, time_limit

from rnnlab.data import files, registry
from rnnlab.data.files import DataError, find, malformed, read_gzip, read_lines, read_npz, read_text, short
from rnnlab.data.registry import DATASETS, DataFile, Dataset, DownloadError, checksum, dataset, fetch, locate


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Two folders: that of RNNLAB_DATA and that of the downloads."""
    named, downloads = tmp_path / "named", tmp_path / "downloads"
    named.mkdir()
    monkeypatch.setenv("RNNLAB_DATA", str(named))
    monkeypatch.setattr(files, "cache", lambda: downloads)
    monkeypatch.setattr(registry, "cache", lambda: downloads)
    return named, downloads


def put(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# ------------------------------------------------------------------------------------ finding files


def test_a_file_is_taken_from_rnnlab_data_first_and_then_from_the_downloads(places):
    named, downloads = places
    last = put(downloads / "ptb" / "a.txt")
    assert find("ptb/a.txt") == last
    first = put(named / "ptb" / "a.txt")
    assert find("ptb/a.txt") == first


def test_a_root_is_the_only_folder_that_is_looked_in(places, tmp_path):
    named, downloads = places
    put(named / "ptb" / "a.txt"), put(downloads / "ptb" / "a.txt")
    with pytest.raises(FileNotFoundError, match="there is no ptb/a.txt in") as caught:
        find("ptb/a.txt", tmp_path)
    assert str(named) not in str(caught.value)
    own = put(tmp_path / "ptb" / "a.txt")
    assert find("ptb/a.txt", tmp_path) == find("ptb/a.txt", str(tmp_path)) == own


def test_a_missing_file_is_an_error_that_says_where_it_was_looked_for_and_what_to_do(places):
    with pytest.raises(FileNotFoundError) as caught:
        find("ptb/a.txt")
    for part in ("ptb/a.txt", *map(str, places), "rnnlab data fetch ptb", "RNNLAB_DATA"):
        assert part in str(caught.value)


def test_a_folder_in_place_of_the_file_is_not_the_file(places):
    (places[0] / "ptb" / "a.txt").mkdir(parents=True)
    with pytest.raises(FileNotFoundError):
        find("ptb/a.txt")


def test_a_root_or_rnnlab_data_that_is_no_folder_is_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="root must be a folder .*'.*nope'"):
        find("ptb/a.txt", tmp_path / "nope")
    monkeypatch.setenv("RNNLAB_DATA", str(tmp_path / "nope"))
    with pytest.raises(FileNotFoundError, match="RNNLAB_DATA must be a folder .*'.*nope'"):
        find("ptb/a.txt")


def test_looking_for_a_file_needs_no_pooch(monkeypatch):
    monkeypatch.setenv("RNNLAB_DATA", "")
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(FileNotFoundError, match=f"in {str(files.cache())!r}"):
        find("ptb/a.txt")


def test_the_cache_is_that_of_pooch():
    pooch = pytest.importorskip("pooch")
    assert str(files.cache()) == str(pooch.os_cache("rnnlab"))


# ------------------------------------------------------------------------------------ reading files


def test_malformed_names_the_place():
    assert str(malformed("a.tsv", 7, "is bad")) == "a.tsv, line 7: is bad"
    assert str(malformed("a.gz", 0, "is bad", unit="byte")) == "a.gz, byte 0: is bad"
    assert str(malformed("a.npz", None, "is bad")) == "a.npz: is bad"
    assert isinstance(malformed("a", 1, "b"), ValueError)


def test_short_never_exceeds_its_limit_nor_a_line():
    assert short("ab\n") == "'ab\\n'"
    for longest in (5, 6, 40):
        assert len(short("x\n" * 500, longest)) <= longest


def test_text_loses_a_byte_order_mark_and_carriage_returns(tmp_path):
    path = put(tmp_path / "a", b"\xef\xbb\xbfone\r\ntwo\x0cthree\r\n")
    assert read_text(path) == "one\ntwo\x0cthree\n"
    assert read_lines(path) == ["one", "two\x0cthree"]
    assert read_lines(put(tmp_path / "b", b"one\n\n")) == ["one", ""]
    assert read_lines(put(tmp_path / "c", b"")) == []


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("content", [b"one\ntwo\xff\n", b"one\ntwo\xe2\x82", b"one\ntwo\xc3\x28\n"])
def test_a_byte_that_is_not_utf8_is_named_with_its_line_and_offset(tmp_path, mark, content):
    path = put(tmp_path / "a", mark + content)
    with pytest.raises(DataError) as caught:
        read_text(path)
    at = len(mark) + 7
    assert str(caught.value).startswith(
        f"{path}, line 2: byte 0x{(mark + content)[at]:02x} at offset {at} is not UTF-8"
    )


def test_gzip(tmp_path):
    whole = gzip.compress(bytes(range(256)) * 10)
    path = put(tmp_path / "a.gz", whole)
    assert read_gzip(path) == bytes(range(256)) * 10
    assert read_gzip(path, longest=2560) == bytes(range(256)) * 10
    with pytest.raises(DataError, match="a.gz: unpacks to more than 2559 bytes"):
        read_gzip(path, longest=2559)
    for length in range(1, len(whole)):
        put(path, whole[:length])
        with pytest.raises(DataError, match=r"a\.gz: "):
            read_gzip(path)
    put(path, b"no gzip")
    with pytest.raises(DataError, match="is not a sound gzip file"):
        read_gzip(path)


def test_gzip_files_mutated_at_random_are_refused_or_unpack_alike(tmp_path):
    path, content = tmp_path / "a.gz", b"some text, some text" * 5
    good = {content, b"", content * 2}  # a file may be empty, and may hold two members
    check_loader(lambda: read_gzip(path, 10**6), gzip.compress(content), path, good.__contains__, 300)


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def test_npz(tmp_path):
    path = put(tmp_path / "a.npz", npz(a=np.arange(3), b=np.eye(2)))
    arrays = read_npz(path)
    np.testing.assert_array_equal(arrays["a"], [0, 1, 2])
    np.testing.assert_array_equal(arrays["b"], np.eye(2))
    with pytest.raises(DataError, match=r"a\.npz: .*unpacks to more than 100 bytes"):
        read_npz(path, longest=100)


def test_an_npz_with_python_objects_is_refused_and_nothing_in_it_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    objects = np.empty(1, object)
    objects[0] = Trap()
    path = put(tmp_path / "a.npz", npz(a=objects))
    (tmp_path / "sprung").unlink(missing_ok=True)
    with pytest.raises(DataError, match="not a sound .npz file of plain arrays .*Object arrays"):
        read_npz(path)
    assert not (tmp_path / "sprung").exists()


def test_an_npz_member_longer_or_shorter_than_its_header_is_refused(tmp_path):
    member = io.BytesIO()
    np.save(member, np.arange(5))
    for content in (member.getvalue() + b"x", member.getvalue()[:-1]):
        path = tmp_path / "a.npz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", content)
        with pytest.raises(DataError, match=r"a\.npz: "):
            read_npz(path)


# ------------------------------------------------------------------------------------- the register


def test_every_file_of_the_register_lies_in_its_set_s_folder_and_has_a_checksum():
    names = [file.name for found in DATASETS for file in found.files]
    assert len(set(names)) == len(names) == 54
    for found in DATASETS:
        assert dataset(found.name) is found and found.licence and found.about
        assert found.by_hand or all(file.address for file in found.files)
        for file in found.files:
            assert file.name.startswith(f"{found.name}/") and file.size > 0
            for digest in (file.sha256, file.download_sha256 or file.sha256):
                assert len(digest) == 64 and set(digest) <= set("0123456789abcdef")
            assert file.address is None or file.address.startswith("https://")


def test_an_unknown_set_is_an_error_that_lists_the_known_ones():
    for function in (dataset, fetch, locate):
        with pytest.raises(ValueError, match="name must be one of ptb, ett, .*; got 'nope'"):
            function("nope")


@pytest.mark.parametrize("name", [found.name for found in DATASETS])
def test_the_real_files_have_the_checksums_of_the_register(name, data_root):
    for file, path in locate(name, data_root):
        if path is None:
            pytest.skip(f"no {file.name} in {data_root}")
        assert checksum(path) == file.sha256, file.name


def test_the_checksum_is_of_the_content_not_of_how_it_is_packed(tmp_path):
    content = b"abc" * 100
    assert checksum(put(tmp_path / "a.txt", content)) == hashlib.sha256(content).hexdigest()
    quick, small = gzip.compress(content, 1, mtime=1), gzip.compress(content, 9, mtime=2)
    assert quick != small
    for packed in (quick, small):
        assert checksum(put(tmp_path / "a.gz", packed)) == hashlib.sha256(content).hexdigest()
    one = checksum(put(tmp_path / "a.npz", npz(a=np.arange(3), b=np.eye(2))))
    np.savez(tmp_path / "b.npz", b=np.eye(2), a=np.arange(3))
    assert checksum(tmp_path / "b.npz") == one
    others = [
        {"a": np.arange(3)},
        {"a": np.arange(3), "c": np.eye(2)},
        {"a": np.arange(3), "b": np.eye(2) + 1e-9},
        {"a": np.arange(3), "b": np.eye(2).reshape(4)},
        {"a": np.arange(3).astype(">i8"), "b": np.eye(2)},
    ]
    assert one not in {checksum(put(tmp_path / "a.npz", npz(**arrays))) for arrays in others}


# ---------------------------------------------------------------------------------------- downloads


leaves_sockets = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and remembers what was asked for."""

    asked: list = []

    def log_message(self, *arguments):
        self.asked.append(self.path)


@pytest.fixture
def server(tmp_path):
    """A folder, the address that serves it, and the list of what is asked for."""
    folder = tmp_path / "served"
    folder.mkdir()
    Handler.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}", Handler.asked
        httpd.shutdown()
        thread.join()
    gc.collect()  # requests leaves sockets to the garbage collector: collected here, they disturb no other test


@pytest.fixture
def register(monkeypatch):
    """A function that puts a data set of these files in place of the register."""
    pytest.importorskip("pooch")
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)

    def put_in_place(*entries):
        monkeypatch.setattr(registry, "DATASETS", (Dataset("toy", "a toy", "none", entries, "ask someone"),))

    return put_in_place


def sha(content):
    return hashlib.sha256(content).hexdigest()


@leaves_sockets
def test_fetch_downloads_once_and_the_loaders_find_it(server, register, places):
    folder, address, asked = server
    put(folder / "x.txt", b"hello")
    register(DataFile("toy/a.txt", 5, sha(b"hello"), f"{address}/x.txt"), DataFile("toy/b.txt", 1, sha(b"b")))
    (path,) = fetch("toy")
    assert path == places[1] / "toy" / "a.txt" == find("toy/a.txt") and path.read_bytes() == b"hello"
    count = len(asked)
    assert count > 0
    assert fetch("toy") == [path] and len(asked) == count


@leaves_sockets
def test_fetch_replaces_a_file_that_is_not_right(server, register, tmp_path):
    folder, address, _ = server
    put(folder / "x.txt", b"hello")
    register(DataFile("toy/a.txt", 5, sha(b"hello"), f"{address}/x.txt"))
    old = put(tmp_path / "own" / "toy" / "a.txt", b"old")
    assert fetch("toy", tmp_path / "own") == [old] and old.read_bytes() == b"hello"


@leaves_sockets
def test_a_download_with_a_wrong_checksum_is_refused_and_the_old_file_kept(server, register, tmp_path):
    folder, address, _ = server
    put(folder / "x.txt", b"changed")
    register(DataFile("toy/a.txt", 5, sha(b"hello"), f"{address}/x.txt"))
    with pytest.raises(DownloadError, match=r"toy/a\.txt cannot be downloaded from .*x\.txt: SHA256 hash") as caught:
        fetch("toy", tmp_path / "own")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "own" / "toy" / "a.txt").exists()
    old = put(tmp_path / "own" / "toy" / "a.txt", b"old")
    with pytest.raises(DownloadError):
        fetch("toy", tmp_path / "own")
    assert old.read_bytes() == b"old"


@leaves_sockets
def test_a_file_that_is_not_on_the_server_or_a_folder_that_cannot_be_written_is_one_line(server, register, tmp_path):
    folder, address, _ = server
    register(DataFile("toy/a.txt", 5, sha(b"hello"), f"{address}/x.txt"))
    with pytest.raises(DownloadError, match="404") as caught:
        fetch("toy", tmp_path / "own")
    assert "\n" not in str(caught.value)
    put(folder / "x.txt", b"hello")
    put(tmp_path / "file")
    with pytest.raises(DownloadError, match=r"toy/a\.txt cannot be downloaded"):
        fetch("toy", tmp_path / "file")


@leaves_sockets
def test_packed_files_are_checked_as_they_come_and_as_they_unpack(server, register, tmp_path):
    folder, address, asked = server
    packed = gzip.compress(b"hello")
    put(folder / "a.gz", packed)
    register(DataFile("toy/a.gz", 5, sha(b"hello"), f"{address}/a.gz", sha(packed)))
    (path,) = fetch("toy", tmp_path / "own")
    assert path.read_bytes() == packed
    put(path, gzip.compress(b"hello", 1, mtime=5))
    count = len(asked)
    fetch("toy", tmp_path / "own")
    assert len(asked) == count, "packed otherwise, but the same content"
    register(DataFile("toy/a.gz", 5, sha(b"other"), f"{address}/a.gz", sha(packed)))
    with pytest.raises(DownloadError, match="a.gz: SHA-256 is .*; it must be"):
        fetch("toy", tmp_path / "own")


def fake_matlab():
    """What scipy.io.loadmat gives for a file of piano rolls: cells of matrices."""
    cells = {}
    for part, lengths in (("train", (3, 2)), ("valid", (4,)), ("test", (1, 5))):
        row = np.empty((1, len(lengths)), object)
        for k, length in enumerate(lengths):
            row[0, k] = np.full((length, 88), k, np.uint8)
        cells[f"{part}data"] = row
    return cells


@leaves_sockets
def test_music_comes_as_a_matlab_file_and_is_converted(server, register, tmp_path, monkeypatch):
    from rnnlab.data import piano_rolls

    folder, address, _ = server
    put(folder / "JSB_Chorales.mat", b"matlab")
    arrays = {}
    for part in ("train", "valid", "test"):
        pieces = list(fake_matlab()[f"{part}data"].ravel())
        arrays |= {
            f"{part}_roll": np.concatenate(pieces),
            f"{part}_lengths": np.array(list(map(len, pieces)), np.int32),
        }
    right = checksum(put(tmp_path / "right.npz", npz(**arrays)))
    register(DataFile("music/JSB_Chorales.npz", 5, right, f"{address}/JSB_Chorales.mat", sha(b"matlab")))
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DownloadError, match="needs SciPy: pip install scipy"):
        fetch("toy", tmp_path / "own")
    scipy_io = types.SimpleNamespace(loadmat=lambda path: fake_matlab())
    monkeypatch.setitem(sys.modules, "scipy", types.SimpleNamespace(io=scipy_io))
    monkeypatch.setitem(sys.modules, "scipy.io", scipy_io)
    assert fetch("toy", tmp_path / "own") == [tmp_path / "own" / "music" / "JSB_Chorales.npz"]
    rolls = piano_rolls("jsb", tmp_path / "own")
    assert [len(piece) for piece in rolls.train + rolls.valid + rolls.test] == [3, 2, 4, 1, 5]
    left = sorted(path.name for path in (tmp_path / "own" / "music").iterdir())
    assert left == ["JSB_Chorales.mat", "JSB_Chorales.npz"]


def test_a_set_without_addresses_says_how_to_get_it(tmp_path):
    with pytest.raises(DownloadError, match="ucr cannot be downloaded file by file: take https://www.cs.ucr.edu/"):
        fetch("ucr", tmp_path)


@pytest.mark.parametrize("folder", [None, "own"])
def test_without_pooch_a_download_says_what_to_install(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DownloadError, match="downloads need pooch: pip install pooch"):
        fetch("ett", folder and tmp_path / folder)


# ---------------------------------------------------------------------------- the fuzz engine itself


def test_mutations_are_the_same_for_the_same_seed_and_mostly_differ_from_the_original():
    original = b"1\t0.5\t0.25\n2\t1.5\t2.5\n"
    first = list(mutations(original, 3, 200))
    assert first == list(mutations(original, 3, 200)) != list(mutations(original, 4, 200))
    assert len(first) == 200 and len(set(first)) > 150 and sum(mutant != original for mutant in first) > 180
    assert all(isinstance(mutant, bytes) for mutant in mutations(b"", 0, 100))


def test_a_loader_that_hangs_or_raises_or_takes_anything_is_found(tmp_path):
    def hang():
        while True:
            pass

    with pytest.raises(TimeoutError), time_limit(0.05):
        hang()
    path = tmp_path / "a"

    def refuse(error):
        def load():
            if path.read_bytes() != b"sound\n":
                raise error
            return b"sound\n"

        return load

    def check(load):
        return check_loader(load, b"sound\n", path, lambda result: result == b"sound\n", 20)

    assert check(refuse(malformed(path, 1, "is bad")))[1] > 15
    for error, message in [
        (KeyError("x"), "KeyError"),
        (UserWarning("x"), "UserWarning"),
        (malformed("other", 1, "is bad"), "the error must name"),
        (malformed(path, 1, "is\nbad"), "must be one line"),
    ]:
        with pytest.raises(AssertionError, match=message):
            check(refuse(error))
    with pytest.raises(AssertionError, match="an implausible result was accepted"):
        check(path.read_bytes)
