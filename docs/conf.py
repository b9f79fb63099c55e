"""How Sphinx builds these pages. Nothing that they show is fetched from elsewhere."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]
os.environ.setdefault("MPLBACKEND", "Agg")

import rnnlab  # noqa: E402

project = "rnnlab"
author = "The rnnlab authors"
copyright = author
version = release = rnnlab.__version__

extensions = ["sphinx.ext.autodoc", "numpydoc", "myst_nb", "mathml", "public", "picture"]
exclude_patterns = ["results/*/verdict.md", "_build", "_ext", "examples", "README.md", "**/.ipynb_checkpoints"]
if tags.has("no_tutorials"):  # noqa: F821  # Sphinx puts it there
    exclude_patterns.append("tutorials/*.ipynb")
default_role = "py:obj"
nitpicky = True

autodoc_typehints = "none"  # numpydoc's sections say more
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
toc_object_entries_show_parents = "hide"
add_module_names = True

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # python -m docs.build has run the notebooks
nb_ipywidgets_js = {}

html_theme = "furo"
html_title = "rnnlab"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["rnnlab.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
templates_path = []
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5c94", "color-brand-content": "#0b5c94"},
    "dark_css_variables": {"color-brand-primary": "#7cc4f2", "color-brand-content": "#7cc4f2"},
}
smartquotes = False  # they make a dash of the two before an option: --quick
highlight_language = "text"  # blocks of equations in docstrings are no Python
pygments_style = "friendly"
pygments_dark_style = "github-dark"


def leave_out_what_is_not_there(app, docname, source):
    """Say so where a checkout has no results yet, or no built notebooks: an empty list would be a warning."""
    patterns = {"results": "results/*/report.md", "tutorials/index": "tutorials/[0-9]*.ipynb"}
    without = docname == "tutorials/index" and app.tags.has("no_tutorials")
    if docname in patterns and (without or not list(HERE.glob(patterns[docname]))):
        start = source[0].index("```{toctree}")
        source[0] = source[0][:start] + "*There are none in this build.*\n"


def setup(app):
    """Tell Sphinx."""
    app.connect("source-read", leave_out_what_is_not_there)
