"""Kernels without a GPU: each formula compiled as C, in a loop over the units, working on NumPy arrays."""

from __future__ import annotations

import ctypes
import functools
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np
import pytest

from rnnlab.kernels import PREAMBLE, Kernel

COMPILER = shutil.which("cc") or shutil.which("gcc")
TYPES = {"f": "float", "d": "double"}


def compile_c(source):
    """The shared library of a C source."""
    if COMPILER is None:
        pytest.skip("no C compiler (cc or gcc) on this machine")
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "k.c").write_text(source)
    command = [COMPILER, "-O1", "-shared", "-fPIC", "-o", str(folder / "k.so"), str(folder / "k.c"), "-lm"]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(folder / "k.so"))


def parameters(kernel):
    """(raw, type, name, is an output) of each parameter."""
    for text, output in ((kernel.inputs, False), (kernel.outputs, True)):
        for parameter in text.split(","):
            *raw, kind, name = parameter.split()
            assert raw in ([], ["raw"])
            assert kind in ("T", "bool")
            assert name not in ("i", "n")
            yield bool(raw), kind, name, output


def c_source(kernel, T):
    """The kernel as a C function of the number of units and of its arrays."""
    heads, before, after = [], [], []
    for raw, kind, name, output in parameters(kernel):
        const = "" if output else "const "
        heads.append(f"{const}{kind} *{name if raw else name + '_'}")
        if not raw:
            before.append(f"{const}{kind} {name} = {name}_[i];")
        if output and not raw:
            after.append(f"{name}_[i] = {name};")
    return f"""
    #include <tgmath.h>
    #include <stdbool.h>
    #include <stddef.h>
    typedef {T} T;
    {PREAMBLE.replace("_ind.size()", "size")}
    void run(ptrdiff_t size, {", ".join(heads)}) {{
        for (ptrdiff_t i = 0; i < size; ++i) {{ {" ".join(before)} {kernel.source} {" ".join(after)} }}
    }}
    """


@functools.cache
def _library(inputs, outputs, source, T):
    return compile_c(c_source(Kernel("", inputs, outputs, source), T))


def launch(kernel, *arrays):
    """What CuPy does with the kernel: broadcast, refuse what it would refuse, and run."""
    given = list(zip(parameters(kernel), arrays, strict=True))
    dtypes = {a.dtype.char for (_, kind, _, _), a in given if kind == "T" and isinstance(a, np.ndarray)}
    assert len(dtypes) == 1, f"{kernel.name}: arrays of one type T must have one dtype; got {dtypes}"
    dtype = dtypes.pop()
    shape = np.broadcast_shapes(*(np.shape(a) for (raw, *_), a in given if not raw))
    pointers, copies = [], []
    for (raw, kind, name, output), a in given:
        assert not output or raw or a.shape == shape, f"{kernel.name}: {name} has shape {a.shape}, not {shape}"
        assert kind == "T" or np.asarray(a).dtype == bool
        full = a if raw else np.broadcast_to(np.asarray(a, bool if kind == "bool" else dtype), shape)
        full = np.ascontiguousarray(full)
        copies.append((a, full, output))
        pointers.append(full.ctypes.data_as(ctypes.c_void_p))
    run = _library(kernel.inputs, kernel.outputs, kernel.source, TYPES[dtype]).run
    run.restype = None
    run(ctypes.c_ssize_t(int(np.prod(shape))), *pointers)
    for a, full, output in copies:
        if output and full is not a:
            a[...] = full


@pytest.fixture
def compiled(monkeypatch):
    """NumPy arrays take the way that CuPy's take, and kernels are compiled C; yields the names of those launched."""
    launched = []

    def call(kernel, *arrays):
        launched.append(kernel.name)
        launch(kernel, *arrays)

    monkeypatch.setattr(Kernel, "__call__", call)
    monkeypatch.setattr("rnnlab.recurrent.loop.on_device", lambda xp: True)
    monkeypatch.setattr("rnnlab.recurrent.loop.has_kernels", lambda xp, dtype: dtype.char in "fd")
    return launched
