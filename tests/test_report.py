"""The report: a page that needs nothing else, with sentences that are true of the data."""

import base64
import csv
import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from fake_results import FOUR, fake
from test_plots import CASES

from rnnlab import report
from rnnlab.report import sentences

NAMES = ("learning_rate", "training_loss", "gradient_norm", "spectrum", "gradient_through_time")
VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Reads a page: tags that do not match raise, addresses and words are collected."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.addresses, self.tags, self.words = [], [], [], []
        self.attributes = []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def written(tmp_path, results, traces):
    path = report.write_report(tmp_path, results, traces)
    return path.read_text(encoding="utf-8")


def captions(page):
    return [html.unescape(found) for found in re.findall("<figcaption>(.*?)</figcaption>", page)]


@pytest.mark.parametrize("case", CASES)
def test_the_page_is_whole_and_needs_no_other_file(case, tmp_path):
    page = written(tmp_path, *CASES[case]())
    parsed = Page(page)
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert ("name", "viewport") in parsed.attributes and parsed.tags.count("h1") == 1
    assert "script" not in parsed.tags and "link" not in parsed.tags
    assert not re.search(r"https?://|url\(|@import", page)
    assert len(parsed.addresses) == 5 and all(a.startswith("data:image/png;base64,") for a in parsed.addresses)
    for name, address in zip(NAMES, parsed.addresses, strict=True):
        assert base64.b64decode(address.partition(",")[2]) == (tmp_path / f"{name}.png").read_bytes()
    assert parsed.tags.count("img") == sum(name == "alt" and bool(value) for name, value in parsed.attributes) == 5
    files = {f"{name}.{kind}" for name in NAMES for kind in ("png", "svg")} | {"report.html"}
    assert {path.name for path in tmp_path.iterdir()} == files
    assert len(captions(page)) == 5
    assert all(words.endswith(".") and not re.search(r"\b(nan|inf|None)\b", words) for words in captions(page))
    assert not re.search(r"\b(nan|inf|None)\b", parsed.text)


def test_names_from_outside_cannot_become_markup(tmp_path):
    results, traces = fake(arms=("<b>$_", "clip"))
    results["settings"]["text"] = "<script>alert('&')</script>\".txt"
    results["command"] = "rnnlab compare --text '<script>.txt'"
    results["versions"]["platform"] = "</table><img src=http://example.org>"
    results["arms"]["<b>$_"]["title"] = "<b onclick=x>$_"
    page = written(tmp_path, results, traces)
    parsed = Page(page)
    assert not {"script", "b"} & set(parsed.tags) and len(parsed.addresses) == 5
    for words in (results["settings"]["text"], results["command"], results["versions"]["platform"]):
        assert words in parsed.text


def test_the_summary_says_what_was_run(tmp_path):
    text = Page(written(tmp_path, *fake())).text
    assert "A vanilla RNN with 128 hidden units learns to predict the next character" in text
    assert (
        "4 arms: plain SGD, SGD with clipping, weight gradient normalization and SGD with spectral projection" in text
    )
    assert "Each arm gets 7 learning rates with 2 seeds at each rate, and every run the same budget of 60 steps" in text
    assert "rnnlab compare --cell rnn" in text and "explosion factor 10" in text and "platform Linux" in text
    assert "Stopped" not in text and "both its validation loss and its training loss" in text


def test_the_table_has_best_rate_mean_spread_and_share(tmp_path):
    page = written(tmp_path, *fake())
    rows = [Page(row).text for row in re.findall("<tr.*?</tr>", page)]
    assert "SGD with clipping 1 2.310 ± 0.014 29% (4 of 14)" in rows
    assert "weight gradient normalization 0.001 2.510 ± 0.014 29% (4 of 14)" in rows
    assert re.findall('<tr class="best"><th scope="row">(.*?)</th>', page) == ["SGD with clipping"]
    assert "at the edge" not in page


def test_the_edge_of_the_sweep_and_arms_without_a_best_rate_are_marked(tmp_path):
    results, traces = fake(rates=(0.1, 1.0), diverged=("sgd",), keep=lambda arm, rate, seed: arm != "wgn")
    page = written(tmp_path, results, traces)
    rows = [Page(row).text for row in re.findall("<tr.*?</tr>", page)]
    edge = "at the edge of the sweep: widen it with --learning-rates"
    assert f"SGD with clipping 1 {edge} 2.310 ± 0.014 0% (0 of 4)" in rows
    assert "plain SGD every run diverged – 100% (4 of 4)" in rows
    assert "weight gradient normalization no finished run – –" in rows
    assert "Stopped before the end: 12 of 16 runs are in" in Page(page).text


def test_a_single_seed_has_no_spread(tmp_path):
    page = written(tmp_path, *fake(seeds=(3,)))
    assert "±" not in page and "2.360" in page


# ----------------------------------------------------------------------------------------- sentences


def test_the_best_arm_and_the_width_of_its_rates():
    words = sentences.about_learning_rate(fake()[0])
    assert words.startswith("The lowest validation bits per character, mean over the seeds, is 2.310, by SGD with clip")
    assert "at learning rate 1;" in words and "within the spread" not in words
    assert "1 alone for SGD with clipping" in words
    assert "0.00001 to 0.001 (at least a factor of 100) for weight gradient normalization" in words


def test_rates_stay_usable_only_up_to_the_first_that_is_worse():
    results, _ = fake(arms=("wgn",))
    for run in results["arms"]["wgn"]["runs"]:
        if run["learning_rate"] < 5e-5:
            run["validation_bpc"] += 0.2 if run["learning_rate"] > 2e-5 else 0.0
    assert "are 0.0001 to 0.001 (a factor of 10) for" in sentences.about_learning_rate(results)


def test_an_arm_within_the_spread_is_not_passed_over():
    results, _ = fake()
    results["arms"]["sgd"] |= {"validation_bpc_mean": 2.35, "validation_bpc_std": 0.05}
    assert "(within the spread over the seeds: plain SGD)" in sentences.about_learning_rate(results)


def test_being_no_better_than_a_guess_is_said():
    results, _ = fake()
    assert "guess" not in sentences.about_learning_rate(results)
    results["metric"]["guess"] = 2.0
    assert "no better than the 2.000 of uniform guess" in sentences.about_learning_rate(results)


def test_training_loss_names_the_lowest_and_the_highest():
    words = sentences.about_training_loss(fake()[0])
    assert "SGD with clipping has the lowest training loss, 1.5," in words
    assert "SGD with spectral projection the highest, 1.76" in words


def test_explosions_are_counted():
    results, traces = fake(arms=("sgd", "clip"))
    words = sentences.about_gradient_norm(results, traces)
    assert "at the best rates (all seeds together): plain SGD 1, SGD with clipping 1;" in words
    assert "plain SGD 13, SGD with clipping 13; " in words  # 5 rates x (0 + 1) + 2 rates x 2 seeds x 2
    traces[3]["gradient_norm"][7] = 4.5e12
    assert sentences.about_gradient_norm(results, traces).endswith("the largest norm was 4.5e12.")


def test_the_spectrum_and_whether_the_projection_holds():
    results, traces = fake()
    words = sentences.about_spectrum(results, traces)
    assert "from 1.10 to 3.02 for plain SGD" in words
    assert "the projection keeps its own at or below 1 from the first step on (largest seen: 1.000)" in words
    for trace in traces:
        trace["spectral_norm"] = trace["spectral_norm"] * 1.2
    assert "does not keep its own below 1" in sentences.about_spectrum(results, traces)


def test_gradients_through_time_before_and_after():
    results, traces = fake()
    words = sentences.about_gradient_through_time(results, traces)
    assert "before training, 5.6e14 times smaller whatever the arm" in words  # 2**49
    assert "170 times smaller for plain SGD" in words  # 0.9**-49 = 174
    assert "2.6 times larger for SGD with clipping" in words  # 1.02**49 = 2.64
    traces[0]["through_time_start"] = np.ones(50)
    for trace in traces:
        trace["through_time_start"] = trace["through_time_start"] ** (2 if trace["arm"] == "sgd" else 1)
        trace["through_time_end"] = np.array([1.0, 0.0]) if trace["arm"] == "clip" else np.array([1.0, np.inf])
    words = sentences.about_gradient_through_time(results, traces)
    assert "whatever" not in words and "0 for SGD with clipping" in words and "no finite number for plain SGD" in words


@pytest.mark.parametrize("about", [sentences.about_gradient_norm, sentences.about_spectrum])
def test_sentences_of_nothing(about):
    results, _ = fake(keep=lambda *run: False)
    assert about(results, []) == sentences.NOTHING


def test_a_comparison_in_which_all_diverged_says_so():
    results, traces = fake(diverged=FOUR)
    assert sentences.about_learning_rate(results) == sentences.NOTHING
    assert sentences.about_gradient_norm(results, traces).startswith("Explosions over all rates, those that diverged")


# --------------------------------------------------------------------------------------- other files


def test_results_are_strict_json(tmp_path):
    results, _ = fake(diverged=("wgn",))
    path = report.write_results(tmp_path, results)

    def refuse(word):
        raise AssertionError(word)

    assert json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse) == results
    results["seconds"] = float("nan")
    with pytest.raises(ValueError):
        report.write_results(tmp_path, results)
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]
    assert json.loads(path.read_text(encoding="utf-8"))["seconds"] == 81.2


def test_history_has_a_line_for_every_step_of_every_run(tmp_path):
    _, traces = fake(steps=30)
    path = report.write_history(tmp_path, traces)
    assert path.name == "history.csv" and b"\r" not in path.read_bytes()
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["arm", "learning_rate", "seed", "step", "training_loss", "gradient_norm", "explosion"]
    assert len(rows) == sum(len(trace["training_loss"]) for trace in traces)
    assert sum(row["explosion"] == "1" for row in rows) == sum(
        int((t["explosions"] < len(t["training_loss"])).sum()) for t in traces
    )
    trace = next(t for t in traces if (t["arm"], t["learning_rate"], t["seed"]) == ("clip", 1.0, 1))
    mine = [row for row in rows if (row["arm"], row["learning_rate"], row["seed"]) == ("clip", "1.0", "1")]
    assert [int(row["step"]) for row in mine] == list(range(30))
    assert np.allclose([float(row["training_loss"]) for row in mine], trace["training_loss"], rtol=1e-6)
    assert [int(row["step"]) for row in mine if row["explosion"] == "1"] == [20]
    assert any(row["gradient_norm"] == "inf" for row in rows)  # where a run diverged


def test_an_empty_history_has_its_header(tmp_path):
    text = report.write_history(tmp_path, []).read_text(encoding="utf-8")
    assert text == "arm,learning_rate,seed,step,training_loss,gradient_norm,explosion\n"
