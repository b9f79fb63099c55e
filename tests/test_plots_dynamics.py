"""The pictures of the instruments: what stands in them, and that nothing they may be given breaks them."""

import numpy as np
import pytest
from matplotlib import image, rcParams
from matplotlib.figure import Figure
from matplotlib.text import Text

import rnnlab as rl
from rnnlab import dynamics, plots
from rnnlab.dynamics import JacobianProduct, Saturation, Spectrum, WeightStatistics


def lstm():
    rng = np.random.default_rng(0)
    layer = rl.LSTM(2, 8)
    return layer, layer.init(rng), rng.normal(size=(30, 3, 2)), rng


def jacobians():
    layer, params, x, _ = lstm()
    return dynamics.step_jacobians(layer, params, x)


def spectra():
    blocks = dynamics.recurrent_blocks(lstm()[1]["weight_hh"])
    return {name: dynamics.spectrum(block) for name, block in blocks.items()}


def statistics():
    return {name: dynamics.weight_statistics(w) for name, w in lstm()[1].items()}


NAMES = ["sgd", "$x_$", "<b>", "a very long name of one of the networks that are compared", "e", "f", "g", "h"]
NAN = np.array([np.nan, np.nan])
PICTURES = {
    "norms": lambda: plots.gradient_norm_against_distance({"lstm": dynamics.gradient_norm_through_time(*lstm())}),
    "norms of many": lambda: plots.gradient_norm_against_distance({n: np.ones(9) for n in NAMES}),
    "norms of zero": lambda: plots.gradient_norm_against_distance({"a": np.zeros(4), "b": NAN}),
    "norms far apart": lambda: plots.gradient_norm_against_distance({"a": np.logspace(0, -300, 90), "b": np.ones(1)}),
    "no norms": lambda: plots.gradient_norm_against_distance({}),
    "jacobian": lambda: plots.jacobian_matrix(jacobians()[4, 0], states=("h", "c")),
    "jacobian of zeros": lambda: plots.jacobian_matrix(np.zeros((3, 3))),
    "jacobian not finite": lambda: plots.jacobian_matrix(np.array([[np.nan, np.inf], [1, -2]])),
    "products": lambda: plots.product_of_jacobians({"lstm": dynamics.jacobian_product(jacobians())}),
    "products of many": lambda: plots.product_of_jacobians({n: dynamics.jacobian_product(jacobians()) for n in NAMES}),
    "products of zero": lambda: plots.product_of_jacobians(
        {"a": dynamics.jacobian_product(np.zeros((3, 2, 2))), "b": JacobianProduct(NAN, NAN)}
    ),
    "spectra": lambda: plots.singular_values_and_eigenvalues(spectra()),
    "spectra of nothing": lambda: plots.singular_values_and_eigenvalues({"nan": Spectrum(NAN * 1j, NAN)}),
    "saturation": lambda: plots.saturation_shares(dynamics.gate_saturation(*lstm()[:3])),
    "saturation of many": lambda: plots.saturation_shares({n: Saturation(0.25, float("nan")) for n in NAMES * 2}),
    "statistics": lambda: plots.statistics_of_weights(statistics()),
    "statistics of equal elements": lambda: plots.statistics_of_weights(
        {"zero": dynamics.weight_statistics(np.zeros(3)), "$nan": WeightStatistics(*[float("nan")] * 4)}
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_drawn_whole_and_without_a_warning(name, tmp_path):
    before = dict(rcParams)
    figure = PICTURES[name]()
    assert isinstance(figure, Figure)
    png, _ = plots.save(figure, tmp_path, "picture")
    pixels = image.imread(png)
    assert pixels[0, 0, :3].tolist() == [1, 1, 1] and pixels[..., :3].std() > 0.01
    width, height = figure.get_size_inches()
    box = figure.get_tightbbox()
    assert 0 <= box.x0 and box.x1 <= width and 0 <= box.y0 and box.y1 <= height, "words are cut off"
    assert all(text.get_fontsize() >= 10 for text in figure.findobj(Text) if text.get_text())
    assert dict(rcParams) == before


def lines(axes):
    """The data of the lines of axes that stand for a result: not the dotted ones."""
    return [line.get_xydata() for line in axes.lines if line.get_linestyle() != ":"]


def test_norms_and_products_are_drawn_as_they_are():
    norms = {"a": np.array([1.0, 0.5, 0.0, 2.0]), "b": np.ones(2)}
    a, b = lines(plots.gradient_norm_against_distance(norms).axes[0])
    np.testing.assert_array_equal(a, [[0, 1], [1, 0.5], [2, np.nan], [3, 2]])
    np.testing.assert_array_equal(b, [[0, 1], [1, 1]])
    product = dynamics.jacobian_product(np.tile(np.diag([1e-3, 1e-2]), (2000, 3, 1, 1)))
    left, right = plots.product_of_jacobians({"a": product}).axes
    np.testing.assert_allclose(lines(left)[0][[0, 1, 2000]], [[0, 0], [1, -2], [2000, -4000]], atol=1e-9)
    np.testing.assert_allclose(lines(right)[0], [[1, np.log(1e-2)], [2, np.log(1e-3)]])


def test_spectra_are_points_in_the_plane_and_falling_lines():
    turn = np.array([[0.0, -2.0], [2.0, 0.0]])
    left, right = plots.singular_values_and_eigenvalues({"turn": dynamics.spectrum(turn)}).axes
    assert sorted(map(tuple, lines(left)[0].round(9))) == [(0, -2), (0, 2)]
    np.testing.assert_allclose(lines(right)[0], [[1, 2], [2, 2]])


def test_a_jacobian_is_drawn_with_rows_after_and_columns_before_the_step_and_zero_is_white():
    J = np.array([[0.0, 3.0], [-1.0, 0.0]])
    figure = plots.jacobian_matrix(J, states=("h", "c"))
    picture = figure.axes[0].images[0]
    np.testing.assert_array_equal(picture.get_array(), J)
    assert picture.get_clim() == (-3, 3)
    red, _, blue, _ = picture.to_rgba(J)[0, 1]
    assert red > blue
    np.testing.assert_allclose(picture.to_rgba(J)[0, 0], 1, atol=0.05)
    for wrong in (np.zeros((2, 3)), np.zeros((3, 3)), np.zeros(4)):
        with pytest.raises(ValueError, match=r"jacobian must have shape \(S, S\) with S a multiple of 2; got \("):
            plots.jacobian_matrix(wrong, states=("h", "c"))


def test_shares_and_statistics_stand_at_their_numbers_in_their_rows():
    axes = plots.saturation_shares({"i": Saturation(0.25, 0.5), "f": Saturation(0.0, 1.0)}).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [-25, 0, 50, 100]
    assert axes.get_ylim() == (1.5, -0.5)  # the first row is on top
    left, right = plots.statistics_of_weights({"W": WeightStatistics(1.0, 2.0, 3.0, 4.0)}).axes
    np.testing.assert_array_equal(left.containers[0].lines[2][0].get_segments()[0], [[-1, 0], [3, 0]])
    np.testing.assert_array_equal(lines(right), [[[3, 0]], [[4, 0]]])
