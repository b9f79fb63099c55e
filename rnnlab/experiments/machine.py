"""What a run was done on, by name."""

from __future__ import annotations

import functools
import importlib
import platform
from pathlib import Path
from typing import Any

__all__ = ["machine", "processor"]


@functools.cache
def processor() -> str:
    """Return the name of this machine's processor, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


@functools.cache
def machine(backend: str = "numpy") -> str:
    """Return the name of what computes: the processor, or of the backend "cupy" the GPU."""
    if backend != "cupy":
        return processor()
    cupy: Any = importlib.import_module("cupy")
    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())["name"]
    return name.decode() if isinstance(name, bytes) else str(name)
