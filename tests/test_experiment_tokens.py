"""Token files of words, characters and bytes as the data of a configuration."""

import numpy as np
import pytest

from rnnlab.data import write_tokens
from rnnlab.experiments.config import ConfigError, load_config, parse_config
from rnnlab.experiments.problems import make_problem

LINES = "the cat sat on the mat\nthe dog sat on the log\n"
TEXT = LINES * 40


@pytest.fixture
def folder(tmp_path):
    """A folder with token files of words: for training, validation, test."""
    vocabulary = None
    for name, part in (("train", TEXT), ("valid", LINES * 8), ("test", LINES * 9)):
        (tmp_path / f"{name}.txt").write_text(part)
        vocabulary = write_tokens(tmp_path / f"{name}.txt", tmp_path / f"{name}.npy", vocabulary=vocabulary)
    return tmp_path


def tables(folder, **data):
    data = {"name": str(folder / "train.npy"), "batch_size": 4, "length": 7, **data}
    return {"data": data, "optimizer": {"learning_rate": 1.0}, "training": {"steps": 1}}


def test_a_token_file_is_mapped_and_split_where_no_other_is_named(folder):
    problem = make_problem(parse_config(tables(folder)))
    assert isinstance(problem.train.tokens, np.memmap) and problem.measure.name == "perplexity"
    sizes = [len(source.tokens) for source in (problem.train, problem.valid, problem.test)]
    assert sum(sizes) == len(TEXT.split()) + TEXT.count("\n") and sizes[0] == round(0.9 * sum(sizes))
    params = problem.model.init(np.random.default_rng(0))
    batch, _ = problem.train.epoch(np.random.default_rng(0))[0]
    assert np.isfinite(problem.model.loss_and_grads(params, batch)[0])


def test_files_to_validate_and_to_test_on_are_found_beside_the_configuration(folder):
    (folder / "a.toml").write_text(
        '[data]\nname = "train.npy"\nvalid = "valid.npy"\ntest = "test.npy"\nbatch_size = 2\n'
        "[optimizer]\nlearning_rate = 1.0\n[training]\nsteps = 1\n"
    )
    problem = make_problem(load_config(folder / "a.toml")[0])
    counts = [len(np.load(folder / f"{name}.npy")) for name in ("train", "valid", "test")]
    assert [len(source.tokens) for source in (problem.train, problem.valid, problem.test)] == counts


@pytest.mark.parametrize(("level", "measure"), [("character", "bits per character"), ("byte", "bits per byte")])
def test_characters_and_bytes_are_measured_in_bits(folder, level, measure):
    write_tokens(folder / "train.txt", folder / "other.npy", level=level)
    problem = make_problem(parse_config(tables(folder, name=str(folder / "other.npy"))))
    assert problem.measure.name == measure and problem.measure.of_loss(np.log(2)) == pytest.approx(1)


def test_files_that_do_not_go_together_are_refused(folder):
    write_tokens(folder / "valid.txt", folder / "other.npy")
    paths = {name: str(folder / f"{name}.npy") for name in ("valid", "test", "other")}
    with pytest.raises(ConfigError, match="valid and test go together"):
        make_problem(parse_config(tables(folder, valid=paths["valid"])))
    write_tokens(folder / "test.txt", folder / "other.npy", level="character")
    with pytest.raises(ConfigError, match="must have the vocabulary of .*train.npy"):
        make_problem(parse_config(tables(folder, valid=paths["other"], test=paths["test"])))
    with pytest.raises(ConfigError, match="valid: there is no token file '.*no.npy'"):
        parse_config(tables(folder, valid="no.npy", test=paths["test"]))
    with pytest.raises(ConfigError, match="name: there is no token file '.*no.npy'"):
        parse_config(tables(folder, name="no.npy"))
    with pytest.raises(ConfigError, match="valid does not go with name = 'adding'"):
        make_problem(parse_config(tables(folder, name="adding", valid=paths["valid"])))
