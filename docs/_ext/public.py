"""The directive ``.. public:: MODULE ...``: every public name of modules, each once, under its shortest name.

``rnnlab.LSTM`` is also ``rnnlab.recurrent.LSTM`` and ``rnnlab.recurrent.layers.LSTM``: it is described once, and all
three names lead there, as anchors on the page and for references.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import types
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

PACKAGE = "rnnlab"


@cache
def modules() -> dict[str, types.ModuleType]:
    """Return every module of the package by name, those at the top first."""
    package = importlib.import_module(PACKAGE)
    names = [PACKAGE, *(m.name for m in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."))]
    found = [name for name in names if not name.endswith("__main__")]
    return {name: importlib.import_module(name) for name in sorted(found, key=lambda name: (name.count("."), name))}


def public(name: str) -> list[str]:
    """Return a module's public names that are no modules."""
    module = modules()[name]
    return [n for n in getattr(module, "__all__", ()) if not isinstance(getattr(module, n), types.ModuleType)]


def defined_in(module: str, name: str) -> str:
    """Return the module whose file a public name is written in, followed through the imports."""
    home = module
    while True:
        source = inspect.getsource(modules()[home])
        for parent, names in re.findall(r"^(?:    )?from (\S+) import (\([^)]*\)|[^\n]*)", source, re.M):
            if parent in modules() and re.search(rf"\b{name}\b(?! as)", names):
                home = parent
                break
        else:
            return home


@cache
def names() -> dict[str, list[str]]:
    """Return all the names of each public object, by the shortest: ``{"rnnlab.LSTM": ["rnnlab.recurrent.LSTM", ...]}``.

    Of names of one length the one in a package's ``__init__`` comes first, then the one where it is defined.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for module in modules():
        for name in public(module):
            value = getattr(modules()[module], name)
            home = getattr(value, "__module__", None) if callable(value) and hasattr(value, "__qualname__") else None
            found.setdefault((home or defined_in(module, name), name), []).append(f"{module}.{name}")
    ordered = {}
    for (home, name), known in found.items():
        known.sort(key=lambda full: (full.count("."), full != f"{home}.{name}"))
        ordered[known[0]] = known[1:]
    return ordered


def shortest(module: str, name: str) -> str:
    """Return the shortest name of a public object."""
    full = f"{module}.{name}"
    return next(first for first, others in names().items() if full == first or full in others)


def owner(full: str) -> str:
    """Return the module in whose part of a page an object is described: of its names' the first below the package."""
    found = [name.rpartition(".")[0] for name in (full, *names()[full])]
    return next((module for module in found if module != PACKAGE), PACKAGE)


def meant(patterns: str, folder: Path) -> list[str]:
    """Return the modules that patterns mean; ``rest`` means those that no page names."""
    pages = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("api/*.rst")))
    by_name = set(" ".join(re.findall(r"^\.\. public:: (.*)$", pages, re.M)).split())
    if patterns.strip() == "rest":
        return [name for name in modules() if not any(fnmatch(name, pattern) for pattern in by_name)]
    found: list[str] = []
    for pattern in patterns.split():
        # A pattern does not mean what some page gives by its name.
        fitting = [n for n in modules() if n == pattern or (fnmatch(n, pattern) and n not in by_name)]
        if not fitting:
            raise ValueError(f"no module is called {pattern}")
        found += [name for name in fitting if name not in found]
    return found


def first_line(text: str | None) -> str:
    """Return the first sentence of a docstring."""
    return " ".join((text or "").strip().split("\n\n")[0].split())


class Public(SphinxDirective):
    """Describe the public names of modules, except those that another module shows more plainly."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return the nodes."""
        lines: list[str] = []
        for module in meant(self.arguments[0], Path(self.env.srcdir)):
            # A module that has the name of its function, as rnnlab.data.mnist has, gets no anchor of its own.
            here = "py:currentmodule" if module in names() else "py:module"
            lines += [f".. {here}:: {module}", ""] + self._module(module)
        return self.parse_text_to_nodes(StringList(lines, source=self.env.docname))

    def _module(self, module: str) -> list[str]:
        self.env.note_dependency(str(inspect.getsourcefile(modules()[module])))
        text = inspect.getdoc(modules()[module]) or ""
        lines = [f".. rubric:: ``{module}``", "   :heading-level: 2", "", *text.splitlines(), ""]
        if module == PACKAGE:
            for name in modules()[module].__all__:
                value = getattr(modules()[module], name)
                lines += [f"- `{module}.{name}`: {first_line(inspect.getdoc(value))}"]
            lines.append("")
        mine = [name for name in public(module) if owner(shortest(module, name)) == module]
        if len(mine) > 3:
            for name in mine:
                about = first_line(_described(modules()[module], module, name))
                lines += [f"- `{shortest(module, name)}`: {about}"]
            lines.append("")
        for name in mine:
            lines += self._object(module, name)
        return lines

    def _object(self, module: str, name: str) -> list[str]:
        value, full = getattr(modules()[module], name), shortest(module, name)
        if is_class(value):
            return [f".. autoclass:: {full}", "   :members:", ""]
        if inspect.isroutine(value):
            return [f".. autofunction:: {full}", ""]
        about = _described(modules()[module], module, name).splitlines()
        owner, _, last = full.rpartition(".")
        return [
            f".. py:data:: {last}",
            f"   :module: {owner}",
            *_value(value),
            "",
            *(f"   {line}" for line in about),
            "",
        ]


def is_class(value: Any) -> bool:
    """Return whether this is a class, and no name for a type of the standard library."""
    return inspect.isclass(value) and value.__module__ in modules()


def _value(value: Any) -> list[str]:
    text = repr(value)
    return [f"   :value: {text}"] if len(text) <= 60 and " at 0x" not in text else []


def _described(module: types.ModuleType, module_name: str, name: str) -> str:
    """Return the docstring of a function or class, or the comment that stands beside or above a constant."""
    value = getattr(module, name)
    if is_class(value) or inspect.isroutine(value):
        return inspect.getdoc(value) or ""
    if getattr(value, "name", None) == name and type(value).__module__ in modules():
        return (
            f"The {type(value).__name__.lower()} named ``{name!r}``: see `{type(value).__module__}."
            f"{type(value).__name__}`."
        )
    home = defined_in(module_name, name)
    source = Path(inspect.getsourcefile(modules()[home]) or "").read_text(encoding="utf-8").splitlines()
    at = next((k for k, line in enumerate(source) if re.match(rf"{name}\b[^=]*=", line)), None)
    if at is None:
        return f"A {type(value).__name__}."
    beside = re.search(r"  # (?!type:|noqa)(.*)", source[at])
    if beside:
        return _sentence(beside[1])
    above = []
    while at and source[at - 1].startswith("# "):
        at -= 1
        above.insert(0, source[at][2:])
    if not above or above[0].startswith("---"):
        return _sentence(_plain(value))
    return _sentence(" ".join(above))


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "by name: " + ", ".join(f"``{key}``" for key in value)
    if hasattr(value, "title"):
        return f"{type(value).__name__}: {value.title}" if isinstance(value.title, str) else type(value).__name__
    return f"of the type ``{getattr(type(value), '__name__', 'object')}``"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


# ----------------------------------------------------------------------------------- all the names of an object


def add_names(app: Sphinx, doctree: nodes.document) -> None:
    """Give each described object the anchors of its other names, and make them known to references."""
    domain: Any = app.env.domains["py"]
    for signature in doctree.findall(addnodes.desc_signature):
        for full in list(signature.get("ids", ())):
            for other in _others(full):
                if other in signature["ids"]:
                    continue
                signature["ids"].append(other)
                kind = signature.parent.get("objtype", "data")
                domain.objects.setdefault(other, _entry(app.env.docname, full, kind))


def _others(full: str) -> Iterator[str]:
    if full in names():
        yield from names()[full]
        return
    owner, _, member = full.rpartition(".")
    for other in names().get(owner, ()):
        yield f"{other}.{member}"


def _entry(docname: str, node_id: str, kind: str) -> Any:
    from sphinx.domains.python import ObjectEntry

    return ObjectEntry(docname, node_id, kind, True)


def link_names(app: Sphinx, doctree: nodes.document) -> None:
    """Let code that is a public name, as ``rnnlab.LSTM`` or ``rl.LSTM``, lead to its description."""
    known = set(names()) | {other for others in names().values() for other in others}
    for literal in list(doctree.findall(nodes.literal)):
        full = re.sub(r"^rl\.", f"{PACKAGE}.", literal.astext()).removesuffix("()")
        if full in known and not isinstance(literal.parent, (nodes.reference, addnodes.pending_xref)):
            about = {"refdomain": "py", "reftype": "obj", "reftarget": full, "refdoc": app.env.docname}
            literal.replace_self(addnodes.pending_xref("", literal.deepcopy(), **about))


def resolve(app: Sphinx, env: Any, node: Any, content: nodes.Node) -> nodes.Node | None:
    """Find what a docstring calls by its last name only, if that is one thing; or a method by class and name.

    What is not found is a parameter's name, or of another package, and stays code; but a full name must lead somewhere.
    """
    if node.get("refdomain") != "py":
        return None
    target, domain = node["reftarget"], env.domains["py"]
    found = {(o.docname, o.node_id) for full, o in domain.objects.items() if full.endswith(f".{target}")}
    if len(found) != 1:
        return None if target.startswith(PACKAGE) else content.deepcopy()
    docname, node_id = found.pop()
    reference = nodes.reference("", "", content.deepcopy(), internal=True)
    reference["refuri"] = f"{app.builder.get_relative_uri(node['refdoc'], docname)}#{node_id}"
    return reference


def skip(app: Sphinx, what: str, name: str, value: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples, whose docstrings only give their numbers."""
    text = getattr(value, "__doc__", None) or ""
    return True if text.startswith("Alias for field number") else None


def describe_fields(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Make the comments beside a named tuple's fields a section of its docstring, if it has none."""
    if what != "class" or not hasattr(value, "_fields") or "Attributes" in lines:
        return
    found = re.findall(r"^    (\w+): ([^#=\n]+?)  # (.*)$", inspect.getsource(value), re.M)
    if found:
        lines += ["", "Attributes", "----------"]
        for field, kind, about in found:
            lines += [f"{field} : {kind}", f"    {_sentence(about)}"]
        lines.append("")


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx."""
    app.add_directive("public", Public)
    app.connect("doctree-read", add_names)
    app.connect("doctree-read", link_names)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", describe_fields, priority=100)  # before numpydoc reads it
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
