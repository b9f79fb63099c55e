"""The directive ``.. picture:: NAME``: its code is shown, run, and followed by the figure it leaves in ``figure``.

The code of one page runs in one namespace, from the top down, in the process that builds the page. A page whose code
and package are unchanged is not run again: its pictures are kept in ``docs/_pictures``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from rnnlab.plots import replacing

DPI = 150


class Picture(SphinxDirective):
    """Show code and its figure; without a name, only code."""

    has_content = True
    optional_arguments = 1
    option_spec = {"alt": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """Return the nodes: the code, then the picture."""
        text = "\n".join(self.content)
        shown = nodes.literal_block(text, text, language="python")
        self.set_source_info(shown)
        done = self.env.temp_data.setdefault("picture_code", [])
        done.append(text)
        if not self.arguments:
            return [shown]
        path = self._draw(self.arguments[0], done)
        relative = Path("/") / path.relative_to(self.env.srcdir)
        image = nodes.image(uri=relative.as_posix(), alt=self.options.get("alt", self.arguments[0]), width="100%")
        return [shown, nodes.figure("", image, classes=["picture"])]

    def _draw(self, name: str, code: list[str]) -> Path:
        folder = Path(self.env.srcdir) / "_pictures"
        folder.mkdir(exist_ok=True)
        files = package_files()
        for file in files:
            self.env.note_dependency(str(file))
        package = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        digest = hashlib.sha256("\n".join([*code, package]).encode()).hexdigest()[:12]
        path = folder / f"{name}-{digest}.png"
        if not path.exists():
            for old in folder.glob(f"{name}-*.png"):
                old.unlink(missing_ok=True)
            namespace = self.env.temp_data.setdefault("picture_names", {})
            ran = self.env.temp_data.setdefault("picture_ran", [0])
            for text in code[ran[0] :]:
                exec(compile(text, f"{self.env.docname}: {name}", "exec"), namespace)
            ran[0] = len(code)
            with replacing(path) as partial:
                namespace["figure"].savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
        return path


def package_files() -> list[Path]:
    """Return the files of the package that draws: if one of them changes, so may a picture."""
    import rnnlab

    return sorted(Path(rnnlab.__file__).parent.rglob("*.py"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx."""
    app.add_directive("picture", Picture)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
