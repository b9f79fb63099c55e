"""The command ``rnnlab data``: what it prints, and its exit status."""

import gzip
import hashlib

import numpy as np
import pytest

from rnnlab.cli import main
from rnnlab.commands import data as command
from rnnlab.data import files, registry
from rnnlab.data.registry import DataFile, Dataset, DownloadError


def sha(content):
    return hashlib.sha256(content).hexdigest()


TOYS = (
    Dataset("toy", "a toy", "free", (DataFile("toy/a.txt", 1_500_000, sha(b"a")), DataFile("toy/b.gz", 4, sha(b"b")))),
    Dataset("other", "another", "not free", (DataFile("other/c.txt", 3, sha(b"c"), "https://example.org/c"),)),
)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder for two toy data sets, which take the register's place."""
    for module in (command, registry):
        monkeypatch.setattr(module, "DATASETS", TOYS)
    monkeypatch.setattr(command, "NAMES", ("toy", "other"))
    monkeypatch.setattr(files, "cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(registry, "cache", lambda: tmp_path / "cache")
    folder = tmp_path / "data"
    (folder / "toy").mkdir(parents=True)
    (folder / "toy" / "a.txt").write_bytes(b"a")
    (folder / "toy" / "b.gz").write_bytes(gzip.compress(b"b"))
    monkeypatch.setenv("RNNLAB_DATA", str(folder))
    return folder


def run(capsys, *argv):
    try:
        status = main(["data", *map(str, argv)])
    except SystemExit as exit_:
        status = exit_.code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out.splitlines(), err.splitlines()


def test_list_prints_a_set_a_line_with_where_it_is(root, capsys):
    status, out, err = run(capsys, "list")
    assert status == 0 and not err
    assert out[0].split("  ") == ["toy", "", f"{root}/toy", "1.5 MB", "free"]
    assert out[1].split()[:3] == ["other", "not", "here"] and out[1].endswith("0.0 MB  not free")
    (root / "toy" / "b.gz").unlink()
    assert f"{root}/toy (1 of 2 files)" in run(capsys, "list")[1][0]


def test_root_takes_the_place_of_rnnlab_data(root, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert "not here" in run(capsys, "list", "--root", tmp_path / "empty")[1][0]
    assert run(capsys, "check", "--root", tmp_path / "empty")[:2] == (0, ["toy    not here", "other  not here"])


def test_check_passes_over_sets_that_are_not_here(root, capsys):
    assert run(capsys, "check") == (0, ["toy    ok, files: 2", "other  not here"], [])
    assert run(capsys, "check", "toy") == (0, ["toy    ok, files: 2"], [])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"A", f"a.txt: its SHA-256 is {sha(b'A')}; it must be {sha(b'a')}"),
        ("b.gz", gzip.compress(b"B"), f"b.gz: its SHA-256 is {sha(b'B')}; it must be {sha(b'b')}"),
        ("b.gz", gzip.compress(b"b")[:-3], "b.gz: the gzip file is cut short"),
    ],
)
def test_check_fails_and_names_a_file_that_is_not_right(root, capsys, name, content, message):
    (root / "toy" / name).write_bytes(content)
    status, out, err = run(capsys, "check")
    assert status == 1 and out == ["toy    WRONG, files: 1 of 2", "other  not here"]
    assert err == [f"rnnlab data check: {root}/toy/{message}"]


def test_bad_input_is_one_line_and_status_2(root, tmp_path, capsys, monkeypatch):
    for argv, part in [
        (("check", "nope"), "invalid choice: 'nope'"),
        (("fetch", "nope"), "invalid choice: 'nope'"),
        (("fetch",), "required: name"),
        ((), "required: action"),
        (("check", "other"), "other is not here; run `rnnlab data fetch other`"),
        (("list", "--root", tmp_path / "no"), "root must be a folder that holds data sets; there is no folder"),
    ]:
        status, out, err = run(capsys, *argv)
        assert status == 2 and not out and len(err) == 1 and part in err[0], argv
    monkeypatch.setenv("RNNLAB_DATA", str(tmp_path / "no"))
    status, _, err = run(capsys, "list")
    assert status == 2 and "RNNLAB_DATA must be a folder" in err[0]


def test_a_file_that_cannot_be_read_is_one_line(root, capsys, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(command, "checksum", refuse)
    status, _, err = run(capsys, "check")
    assert status == 2 and err == [f"rnnlab data: {root}/toy/a.txt: cannot be read (Permission denied)"]


def test_fetch_prints_the_files(root, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(registry, "_retrieve", lambda file, folder, progress: put(folder / "c.txt", b"c"))
    path = tmp_path / "own" / "other" / "c.txt"
    assert run(capsys, "fetch", "other", "--out", tmp_path / "own") == (0, [str(path)], [])
    assert run(capsys, "fetch", "other") == (0, [str(tmp_path / "cache" / "other" / "c.txt")], [])
    assert run(capsys, "check", "other")[:2] == (0, ["other  ok, files: 1"])


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_failed_download_is_one_line_and_status_1(root, tmp_path, capsys, monkeypatch):
    def fail(*arguments):
        raise DownloadError("c.txt cannot be downloaded:\nno network")

    monkeypatch.setattr(registry, "_retrieve", fail)
    status, out, err = run(capsys, "fetch", "other")
    assert status == 1 and not out and err == ["rnnlab data fetch: c.txt cannot be downloaded: no network"]


def test_a_set_that_has_no_addresses_says_how_to_get_it(tmp_path, capsys):
    status, out, err = run(capsys, "fetch", "ucr", "--out", tmp_path)
    assert status == 1 and not out and len(err) == 1 and "timeseriesclassification.com" in err[0]


def test_what_is_left_to_fetch_by_hand_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(registry, "_fetch_file", lambda file, folder, progress: folder / file.name)
    status, out, err = run(capsys, "fetch", "text", "--out", tmp_path)
    assert status == 0 and len(out) == 2
    assert len(err) == 1 and "enwik8_first_1000000_bytes.txt has to be fetched by hand" in err[0]


def test_the_real_sets_pass(data_root, capsys):
    status, out, err = run(capsys, "check", "--root", data_root)
    assert status == 0 and len(out) == 7 and not err


def test_the_real_list_names_every_set_first(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("RNNLAB_DATA", str(tmp_path))
    status, out, _ = run(capsys, "list")
    assert status == 0
    assert [line.split()[0] for line in out] == ["ptb", "ett", "music", "ucr", "text", "mnist", "mackey_glass"]
    assert np.unique([line.index("MB") for line in out]).size == 1
