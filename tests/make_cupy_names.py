"""Write ``cupy_names.json``: what an installed CuPy offers, so that the tests know it where CuPy is not installed.

    pip install cupy-cuda13x && python tests/make_cupy_names.py

``names`` maps each public name of ``cupy`` (and of some modules below it, and of ``cupyx``) to its parameters, as they
would stand in a ``lambda``, or to null where Python cannot tell them; ``methods`` does so for ``cupy.ndarray``. Every
default value is written as 0: only whether there is one matters. No GPU is needed.
"""

import inspect
import json
import re
from pathlib import Path

FILE = Path(__file__).with_name("cupy_names.json")
MODULES = ("", "linalg.", "cuda.", "cuda.runtime.")


def parameters(thing):
    """Return the parameters of a callable as the text of a lambda's, or None."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return from_docstring(thing)
    empty = inspect.Parameter.empty
    plain = [
        p.replace(annotation=empty, default=p.default if p.default is empty else 0)
        for p in signature.parameters.values()
    ]
    return str(inspect.Signature(plain))[1:-1]


def from_docstring(thing):
    """Read ``name(parameters)`` in the first line of the documentation, as ufuncs and compiled methods have it."""
    first = (getattr(thing, "__doc__", None) or "").partition("\n\n")[0].replace("\\", "").replace("\n", " ")
    found = re.match(r"\s*[\w.]+\((.*?)\)(?: ->.*)?\s*$", first)
    if not found:
        return None
    words = []
    for word in found[1].split(","):
        name, has_default, _ = word.strip().partition("=")
        if not re.fullmatch(r"[\w ]+|\*{1,2}\w*|/", name):
            return None  # a default that holds a comma, or no signature at all
        words.append(name.split()[-1] + ("=0" if has_default else ""))
    return ", ".join(words)


def public(thing):
    return [name for name in dir(thing) if not name.startswith("_")]


def loaded(module, name):
    try:
        return getattr(module, name)
    except ImportError:  # a library of CUDA that a machine without a GPU lacks
        return None


def collect():
    """Return the table; also of the names that an installed CuPy has now."""
    import cupy
    import cupyx

    names = {}
    for prefix in MODULES:
        module = cupy
        for part in prefix.split(".")[:-1]:
            module = getattr(module, part)
        names |= {prefix + name: parameters(loaded(module, name)) for name in public(module)}
    special = [name for name in dir(cupy.ndarray) if name.startswith("__") and name not in dir(object)]
    methods = {name: parameters(getattr(cupy.ndarray, name)) for name in public(cupy.ndarray)}
    methods |= dict.fromkeys(special)
    extra = {name: parameters(getattr(cupyx, name)) for name in public(cupyx)}
    return {"cupy": cupy.__version__, "names": names, "methods": methods, "cupyx": extra}


if __name__ == "__main__":
    table = collect()
    FILE.write_text(json.dumps(table, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{FILE}: CuPy {table['cupy']}, {len(table['names'])} names, {len(table['methods'])} methods")
