"""The documentation builds without a warning, fetches nothing, describes every public name, and its code runs."""

import doctest
import importlib
import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
import types
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import rnnlab as rl

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
NEEDED = ("sphinx", "furo", "numpydoc", "myst_nb", "latex2mathml")


def example(name):
    """Import a file of docs/examples."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page):
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


# ------------------------------------------------------------------------------------- the code on the pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page):
    test = doctest.DocTestParser().get_doctest("\n".join(blocks(page)), {}, page.name, str(page), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test)
    assert runner.failures == 0


def test_python_that_is_no_doctest_is_known():
    # It would not be run: what PyTorch is needed for is all there is.
    plain = [page.stem for page in PAGES for block in blocks(page) if ">>>" not in block]
    assert plain == ["coming_from"]


def test_the_cell_of_the_page_about_cells_is_right():
    unit = example("minimal_gated_unit")
    for method in ("central", "complex"):
        report = rl.check_layer(unit.MGU(3, 5), method)
        assert report.passed, str(report)
    for layer in (unit.MGU(1, 1), unit.MGU(4, 2, bias=False)):
        assert rl.check_layer(layer).passed


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("dh += dv * f + W_hf.T @ da_f", "dh += W_hf.T @ da_f"),
        ("da_f += dv * s_v", "da_f += 0"),
        ("as_columns(v).T", "as_columns(h[:-1]).T"),
        ("f * (1 - n * n)", "f * (1 - n)"),
    ],
)
def test_a_bug_in_it_is_found(right, wrong):
    source = (DOCS / "examples" / "minimal_gated_unit.py").read_text(encoding="utf-8")
    assert source.count(right) == 1
    module = types.ModuleType("mutant")
    sys.modules["mutant"] = module
    exec(source.replace(right, wrong), module.__dict__)
    assert not rl.check_layer(module.MGU(3, 5)).passed


def test_it_learns():
    losses = example("minimal_gated_unit").train(steps=60)
    assert losses[0] > 4 and np.mean(losses[-10:]) < 3


# -------------------------------------------------------------------------------------- weights from PyTorch


VECTORS = np.load(ROOT / "tests" / "vectors" / "layers.npz")
LAYERS = {"rnn_tanh": rl.RNN, "lstm": rl.LSTM, "gru_after": rl.GRU}


@pytest.mark.parametrize("name", LAYERS)
def test_pytorchs_weights_give_pytorchs_output(name):
    case = f"{name}/small"
    inputs = {key.removeprefix(f"{case}/inputs/"): VECTORS[key] for key in VECTORS if key.startswith(f"{case}/inputs/")}
    params = {key.removeprefix("params/"): value for key, value in inputs.items() if key.startswith("params/")}
    module = example("from_pytorch")
    state = module.to_pytorch(params)
    part = np.random.default_rng(0).normal(size=state["bias_ih_l0"].shape)
    part[len(part) - len(params.get("bias_hn", ())) :] = 0  # of a GRU's candidate the two biases are two
    state = {**state, "bias_ih_l0": state["bias_ih_l0"] - part, "bias_hh_l0": state["bias_hh_l0"] + part}
    found = module.from_pytorch(state)
    h = (inputs["state/0"], inputs["state/1"]) if name == "lstm" else inputs["state"]
    D, H = inputs["x"].shape[2], params["weight_hh"].shape[1]
    y, _, _ = LAYERS[name](D, H).forward(found, inputs["x"], h)
    np.testing.assert_allclose(y, VECTORS[f"{case}/full/y"], rtol=0, atol=1e-14)


@pytest.mark.parametrize("gates, order", [(1, [0]), (4, [0, 1, 2, 3]), (3, [1, 0, 2])])
@pytest.mark.parametrize("rows", [0, 1, "two of a GRU"])
def test_keras_weights_lie_as_its_documentation_says(gates, order, rows):
    if rows == "two of a GRU":
        gates, order, rows = 3, [1, 0, 2], 2
    rng, D, H = np.random.default_rng(0), 3, 2
    kernel, recurrent = rng.normal(size=(D, gates * H)), rng.normal(size=(H, gates * H))
    bias = [rng.normal(size=(gates * H,) if rows == 1 else (2, gates * H))] if rows else []
    params = example("from_pytorch").from_keras([kernel, recurrent, *bias])
    layer = {1: rl.RNN, 3: rl.GRU, 4: rl.LSTM}[gates]
    reset = {"reset": "after" if rows == 2 else "before"} if gates == 3 else {}
    layer(D, H, bias=bool(rows), **reset).forward(params, rng.normal(size=(4, 2, D)))  # names and shapes fit
    for mine, theirs in enumerate(order):
        block = slice(mine * H, (mine + 1) * H)
        np.testing.assert_array_equal(params["weight_ih"][block], kernel[:, theirs * H : (theirs + 1) * H].T)
        np.testing.assert_array_equal(params["weight_hh"][block], recurrent[:, theirs * H : (theirs + 1) * H].T)


# -------------------------------------------------------------------------------------------------- formulas


@pytest.fixture
def to_mathml(monkeypatch):
    pytest.importorskip("sphinx", reason="the documentation needs sphinx: pip install 'rnnlab[docs]'")
    pytest.importorskip("latex2mathml", reason="the documentation needs latex2mathml: pip install 'rnnlab[docs]'")
    monkeypatch.syspath_prepend(DOCS / "_ext")
    return importlib.import_module("mathml").to_mathml


@pytest.mark.parametrize(
    "latex, part",
    [
        (r"\mathrm{mean}(g)", "<mi>mean</mi>"),
        (r"h'", "<mi>h</mi><mo "),  # not raised a second time
        (r"\tanh^2(c)", "<msup><mi>tanh</mi><mn>2</mn></msup>"),
        (r"\log p", '<mi>log</mi><mspace width="0.167em"/><mi>p</mi>'),
        (r"\sum_{t=1}^{T} h_t", "</mrow></munderover>"),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", '<mtd columnalign="right"><mi>c</mi></mtd>'),
    ],
)
def test_what_the_pages_need_of_latex_is_understood(to_mathml, latex, part):
    text = to_mathml(latex, display=True)
    assert part in text
    ElementTree.fromstring(text)


def test_what_is_not_understood_is_an_error(to_mathml):
    with pytest.raises(ValueError, match="not understood"):
        to_mathml(r"\nosuchcommand x", display=True)


# ------------------------------------------------------------------------------------------------- the pages


def test_the_pages_build_without_a_warning_and_keep_what_they_promise(tmp_path):
    # One test, for several would build them once for every process that pytest works with.
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"the documentation needs {', '.join(missing)}: pip install 'rnnlab[docs]'")
    command = [sys.executable, "-m", "docs.build", "--no-tutorials", "--out", str(tmp_path / "html")]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for check in CHECKS:
        check(tmp_path / "html")


class Fetched(HTMLParser):
    """Collects what a browser fetches to show a page; links are not fetched."""

    def __init__(self, text):
        super().__init__()
        self.addresses = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        about = dict(attrs)
        if tag == "link" and about.get("rel") not in ("next", "prev", "index", "search", "canonical"):
            self.addresses.append(about.get("href"))
        for name in ("src", "srcset", "data", "poster"):
            self.addresses.append(about.get(name))

    @property
    def elsewhere(self):
        return [address for address in self.addresses if re.match(r"\s*(https?:)?//", address or "")]


def nothing_is_fetched_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not Fetched(text).elsewhere, page.name
        assert not re.search(r"<script[^>]*mathjax", text, re.I), page.name
    for sheet in site.rglob("*.css"):
        found = re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']*", sheet.read_text(encoding="utf-8"))
        assert not found, f"{sheet.name}: {found[0]}"


def formulas_are_mathml(site):
    text = (site / "derivations.html").read_text(encoding="utf-8")
    assert text.count("<math ") > 100
    assert not re.search(r"\$\$|\\begin|\\frac", text)


def public_names():
    """Every name in the ``__all__`` of rnnlab and of all its modules."""
    found = [m.name for m in pkgutil.walk_packages(rl.__path__, "rnnlab.") if not m.name.endswith("__main__")]
    for module in ("rnnlab", *found):
        for name in getattr(importlib.import_module(module), "__all__", ()):
            yield f"{module}.{name}"


def every_public_name_has_an_anchor(site):
    anchors = set()
    for page in (site / "api").glob("*.html"):
        anchors |= set(re.findall(r'\bid="(?:module-)?(rnnlab[\w.]*)"', page.read_text(encoding="utf-8")))
    wanted = set(public_names())
    assert len(wanted) > 300
    assert not sorted(wanted - anchors)


def every_module_is_where_a_reader_looks_for_it(site):
    rest = (site / "api" / "package.html").read_text(encoding="utf-8")
    assert re.findall(r'id="module-([\w.]+)"', rest) == ["rnnlab"]  # a new module belongs on a page


def every_picture_is_in_the_gallery(site):
    from rnnlab import plots
    from rnnlab.plots import experiments

    drawn = {name: f"plots.{name}" for name in plots.__all__ if name not in ("save", "replacing")}
    drawn |= {f"experiments_{name}": f"experiments.{name}" for name in experiments.__all__}
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    html = (site / "gallery.html").read_text(encoding="utf-8")
    for picture, function in drawn.items():
        assert f"figure = {function}(" in text, function
        assert re.search(rf'src="_images/{picture}-\w+\.png"', html), picture


def links_between_pages_lead_somewhere(site):
    ids = {}
    for page in site.rglob("*.html"):
        ids[page.resolve()] = set(re.findall(r'\bid="([^"]+)"', page.read_text(encoding="utf-8")))
    for page in list(ids):
        for link in re.findall(r'<a\b[^>]*\bhref="([^"]+)"', page.read_text(encoding="utf-8")):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page.name}: {link}"
            if anchor and target in ids:
                assert anchor in ids[target], f"{page.name}: {link}"


CHECKS = [
    nothing_is_fetched_from_elsewhere,
    formulas_are_mathml,
    every_public_name_has_an_anchor,
    every_module_is_where_a_reader_looks_for_it,
    every_picture_is_in_the_gallery,
    links_between_pages_lead_somewhere,
]
