"""Mathematics as MathML, written at build time: browsers show it themselves, without a script and without fonts.

MathJax would do as well, but it is 2 MB of script for each site, and a page would show its source until it has run.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

UPRIGHT = re.compile(r'(?:<mi mathvariant="normal">[^<]</mi>){2,}')
NAMES = "log|ln|exp|sin|cos|tanh|cosh|sinh|max|min|det|lim|arg|sup|inf|softmax|diag|sign|mean|std|var|tr"
INSIDE = "(?<!<msu[bp]>)(?<!<msubsup>)(?<!<munder>)"
APPLIED = re.compile(
    rf"({INSIDE}<mi>(?:{NAMES})</mi>"
    rf"|<msu[bp]><mi>(?:{NAMES})</mi>(?:<mi>[^<]*</mi>|<mn>[^<]*</mn>)</msu[bp]>)"
    r"(?=<(?:mi|mn|msub|msup|msubsup|mfrac|munder|munderover|mrow><m[in])>)"
)
PRIME = re.compile(r"<msup>(<m[ion]>[^<]*</m[ion]>)<m[io]>(&#x0203[23];)</m[io]></msup>")
LIMITS = re.compile(r"<(msub|msup|msubsup)>(<mo>&#x0(?:2211|220F);</mo>)")


def to_mathml(latex: str, display: bool) -> str:
    r"""Return the MathML of a formula.

    Raises
    ------
    ValueError
        Something was not understood.

    Examples
    --------
    >>> to_mathml(r"\mathrm{ab}", display=False)
    '<math xmlns="http://www.w3.org/1998/Math/MathML" display="inline"><mrow><mrow><mi>ab</mi></mrow></mrow></math>'
    """
    for name in ("aligned", "align", "split", "gathered"):  # the converter knows one of them
        for end in ("begin", "end"):
            latex = re.sub(rf"\\{end}{{{name}\*?}}", rf"\\{end}{{align*}}", latex)
    text = convert(latex.strip(), display="block" if display else "inline")
    # A name of several letters is one name, not a product; a browser sets it upright of itself.
    text = UPRIGHT.sub(lambda run: f"<mi>{''.join(re.findall(r'>([^<])<', run[0]))}</mi>", text)
    # The sign of a prime is small and high as it is; browsers do not know that, and would raise it again.
    text = PRIME.sub(r'<mrow>\1<mo form="postfix" lspace="0.05em" rspace="0">\2</mo></mrow>', text)
    text = APPLIED.sub(r'\1<mspace width="0.167em"/>', text)
    text = _limits(text)
    left = re.search(r">(\\[^<]*|&)<", text)
    if left:
        raise ValueError(f"not understood: {left[1]!r}")
    return text


def _limits(text: str) -> str:
    """Put the limits of sums and products below and above, where a browser finds room."""
    names = {"msub": "munder", "msup": "mover", "msubsup": "munderover"}
    while found := LIMITS.search(text):
        old, new, depth = found[1], names[found[1]], 0
        for tag in re.finditer(rf"</?{old}>", text[found.start() :]):
            depth += -1 if tag[0][1] == "/" else 1
            if depth == 0:
                break
        start, stop = found.start(), found.start() + tag.start()
        text = text[:start] + f"<{new}>" + text[start + len(old) + 2 : stop] + f"</{new}>" + text[stop + len(old) + 3 :]
    return text


def _converted(node: nodes.Node, display: bool) -> str:
    try:
        return to_mathml(node.astext(), display)
    except Exception as error:  # the converter raises exceptions of many kinds
        logger.warning("formula %r: %s", node.astext(), error, location=node, type="mathml")
        return f"<code>{node.astext()}</code>"


def inline(self: Any, node: nodes.Node) -> None:
    """Write a formula within a line."""
    self.body.append(_converted(node, display=False))
    raise nodes.SkipNode


def block(self: Any, node: Any) -> None:
    """Write a formula on lines of its own, in a box that scrolls where the page is too narrow."""
    self.body.append(self.starttag(node, "div", CLASS="math", tabindex="0", role="group"))
    number = node.get("number")
    if number:
        self.body.append(f'<span class="eqno">({number})</span>')
    self.body.append(_converted(node, display=True) + "</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
