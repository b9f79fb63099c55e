"""The pictures: what stands in them, that nothing breaks them, and that they are written whole or not at all."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from fake_results import FOUR, TITLES, fake
from matplotlib import image, rcParams
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from rnnlab import plots
from rnnlab.plots.drawing import GREY, LOOKS, look_of

PICTURES = {
    "learning_rate": lambda results, traces: plots.learning_rate_sensitivity(results),
    "training_loss": plots.training_loss,
    "gradient_norm": plots.gradient_norm,
    "spectrum": plots.spectrum,
    "gradient_through_time": plots.gradient_through_time,
}
CASES = {
    "normal": lambda: fake(),
    "an arm all diverged": lambda: fake(diverged=("wgn",)),
    "all diverged": lambda: fake(diverged=FOUR),
    "nothing done": lambda: fake(keep=lambda arm, rate, seed: False),
    "arms missing": lambda: fake(keep=lambda arm, rate, seed: arm == "clip" and rate < 0.2 and seed == 0),
    "one seed": lambda: fake(seeds=(7,)),
    "one rate": lambda: fake(rates=(1.0,)),
    "one arm": lambda: fake(arms=("projection",)),
    "seven arms": lambda: fake(arms=tuple(TITLES)),
    "strange arms": lambda: fake(arms=("clip", "$x_$", "<b>", "&amp")),
    "adding": lambda: fake(task="adding"),
    "one step": lambda: fake(rates=(0.01, 1.0), steps=1),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]()


def texts(figure):
    """All words in a picture that are shown."""
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_of_every_case_is_drawn_without_a_warning(name, case, tmp_path):
    figure = PICTURES[name](*case)
    assert isinstance(figure, Figure)
    png, svg = plots.save(figure, tmp_path, name)
    assert (png.name, svg.name) == (f"{name}.png", f"{name}.svg")
    pixels = image.imread(png)
    assert pixels.shape[1] == 1050 and 500 < pixels.shape[0] < 2000
    assert pixels[0, 0, :3].tolist() == [1, 1, 1]  # white, whatever the page around it
    assert pixels[..., :3].std() > 0.02
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == [png.name, svg.name]


@pytest.mark.parametrize("name", PICTURES)
def test_no_words_are_cut_off_and_all_can_be_read(name):
    figure = PICTURES[name](*fake(arms=tuple(TITLES)))
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    box = figure.get_tightbbox()
    assert 0 <= box.x0 and box.x1 <= width and 0 <= box.y0 and box.y1 <= height
    assert all(text.get_fontsize() >= 10 for text in figure.findobj(Text) if text.get_text())


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_picture_gives_the_same_bytes(name, tmp_path):
    case = fake()
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
        plots.save(PICTURES[name](*case), folder, name)
    for kind in ("png", "svg"):
        assert (first / f"{name}.{kind}").read_bytes() == (second / f"{name}.{kind}").read_bytes()


def test_nothing_global_is_changed_and_pyplot_is_not_touched(tmp_path):
    before = dict(rcParams)
    for name, draw in PICTURES.items():
        plots.save(draw(*fake()), tmp_path, name)
    assert dict(rcParams) == before
    statement = "import sys, rnnlab.plots; print('matplotlib.pyplot' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_svg_text_stays_text_so_that_no_font_is_needed(tmp_path):
    _, svg = plots.save(plots.spectrum(*fake()), tmp_path, "spectrum")
    words = "".join(ElementTree.parse(svg).getroot().itertext())
    assert "SGD with spectral projection" in words and "spectral radius" in words


def test_what_fails_on_the_way_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), plots.replacing(path) as partial:
        partial.write_text("half of the n")
        raise KeyboardInterrupt
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"] and path.read_text() == "old"


def test_each_arm_has_its_own_colour_marker_and_line():
    for k in range(3):
        assert len({str(look[k]) for look in LOOKS.values()}) == len(LOOKS) == len(TITLES)
    arms = ["clip", "mine", "yours", "sgd"]
    assert len({look_of(arm, arms) for arm in arms}) == 4


# ------------------------------------------------------------------------------- what the pictures say


def test_learning_rate_shows_every_run_once_and_rings_the_best():
    results, _ = fake()
    strip, axes = plots.learning_rate_sensitivity(results).axes
    runs = [run for arm in results["arms"].values() for run in arm["runs"]]
    lost = sum(run["diverged"] for run in runs)
    assert sum(len(line.get_xdata()) for line in strip.lines) == lost > 0
    points = [line for line in axes.lines if line.get_markersize() == 4]
    assert sum(len(line.get_xdata()) for line in points) == len(runs) - lost
    rings = [line for line in axes.lines if line.get_markersize() == 15]
    assert [line.get_xdata()[0] for line in rings] == [a["best_learning_rate"] for a in results["arms"].values()]
    assert [line.get_ydata()[0] for line in rings] == [a["validation_bpc_mean"] for a in results["arms"].values()]
    low, high = axes.get_ylim()
    assert low < 2.3 and 6.0 < high < 7  # the 9.0 of runs that diverged must not stretch it


def test_a_line_stops_where_a_seed_diverged():
    results, _ = fake(arms=("clip",))
    run = next(run for run in results["arms"]["clip"]["runs"] if run["learning_rate"] == 0.1)
    run["diverged"] = True
    line = plots.learning_rate_sensitivity(results).axes[1].lines[0]
    broken = np.isnan(np.asarray(line.get_ydata(), dtype=float))
    assert np.asarray(line.get_xdata())[broken].tolist() == [0.1, 3.0, 10.0]


def next_lost(arm):
    """The lowest rate above the best at which a run diverged."""
    lost = {run["learning_rate"] for run in arm["runs"] if run["diverged"]}
    return min(rate for rate in lost if rate > arm["best_learning_rate"])


def test_explosions_are_red_triangles_on_the_curve():
    results, traces = fake()
    panels = plots.gradient_norm(results, traces).axes
    for name, axes in zip(results["arms"], panels, strict=True):
        shown = {results["arms"][name]["best_learning_rate"], next_lost(results["arms"][name])}
        wanted = [t["explosions"].tolist() for t in traces if t["arm"] == name and t["learning_rate"] in shown]
        marks = [line for line in axes.lines if line.get_marker() == "v"]
        assert sorted(list(line.get_xdata()) for line in marks) == sorted(wanted)
        assert [20] in wanted and [] in wanted and len(wanted) == 4
        curves = [line.get_ydata() for line in axes.lines if line.get_marker() != "v"]
        for mark, curve in zip(marks, curves, strict=True):
            assert list(mark.get_ydata()) == [curve[step] for step in mark.get_xdata()]
        assert all(to_hex(line.get_color()) == "#c00000" for line in marks)
        assert axes.get_yscale() == "log"


def test_gradient_norms_are_those_at_the_best_rate_before_those_that_diverged_at_the_next():
    results, traces = fake()
    for axes, name in zip(plots.gradient_norm(results, traces).axes, results["arms"], strict=True):
        curves = [line for line in axes.lines if line.get_marker() != "v"]
        for rate, color in ((results["arms"][name]["best_learning_rate"], look_of(name, results["arms"]).color),
                            (next_lost(results["arms"][name]), GREY)):  # fmt: skip
            wanted = [t for t in traces if t["arm"] == name and t["learning_rate"] == rate]
            drawn = [line.get_ydata() for line in curves if line.get_color() == color]
            assert len(drawn) == len(wanted) == 2
            for line, trace in zip(drawn, sorted(wanted, key=lambda t: t["seed"]), strict=True):
                norms = trace["gradient_norm"]
                np.testing.assert_array_equal(line, np.where(np.isfinite(norms), norms, np.nan))


def test_a_large_explosion_is_drawn_at_the_upper_edge():
    results, traces = fake(arms=("sgd",))
    run = next(t for t in traces if t["learning_rate"] == next_lost(results["arms"]["sgd"]))
    run["gradient_norm"][5], run["explosions"] = 1e15, np.array([5])
    axes = plots.gradient_norm(results, traces).axes[0]
    best = results["arms"]["sgd"]["best_learning_rate"]
    highest = max(t["gradient_norm"].max() for t in traces if t["learning_rate"] == best)
    (mark,) = [line for line in axes.lines if line.get_marker() == "v" and list(line.get_xdata()) == [5]]
    assert mark.get_ydata()[0] == pytest.approx(100 * highest)
    assert axes.get_ylim()[1] < 1e3 * highest


def test_the_training_loss_is_the_running_mean_over_seeds():
    results, traces = fake(arms=("clip",), steps=90)
    axes = plots.training_loss(results, traces).axes[0]
    runs = np.array([t["training_loss"] for t in traces if t["learning_rate"] == 1.0])
    line = axes.lines[0]
    assert "running mean of 3 steps" in axes.get_xlabel()
    assert line.get_xdata()[-1] == 90
    assert np.isclose(line.get_ydata()[-1], runs[:, -3:].mean())


def test_one_spike_does_not_press_the_training_loss_flat():
    results, traces = fake(arms=("clip",), seeds=(0,), steps=300)
    for trace in traces:
        trace["training_loss"][50:52] = 1e4
    low, high = plots.training_loss(results, traces).axes[0].get_ylim()
    assert low < 1.6 and 4 < high < 5  # the whole curve from its start at about 3.5, but for the spike


@pytest.mark.parametrize("name", ["training_loss", "gradient_norm", "spectrum", "gradient_through_time"])
def test_empty_panels_say_why(name):
    assert "no finished run" in texts(PICTURES[name](*fake(keep=lambda *run: False)))
    if name == "gradient_norm":
        words = texts(plots.gradient_norm(*fake(diverged=("wgn",), keep=lambda arm, rate, seed: arm != "sgd")))
        assert words.count("weight gradient normalization, every run diverged") == 1
        assert words.count("no finished run") == 1


def test_infinities_and_zeros_are_left_out_of_logarithmic_axes():
    results, traces = fake()
    for trace in traces:
        trace["through_time_end"] = np.array([1.0, np.nan, np.inf, 0.0, 1e-3])
        trace["gradient_norm"][3:6] = [np.inf, 0.0, np.nan]
    end = plots.gradient_through_time(results, traces).axes[1]
    assert all(np.isnan(line.get_ydata()).tolist() == [False, True, True, True, False] for line in end.lines)
    figure = plots.gradient_norm(results, traces)
    figure.draw_without_rendering()
    assert figure.axes[0].get_ylim()[1] < 1e4
