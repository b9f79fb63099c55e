"""A strict stand-in for CuPy, made of NumPy: what CuPy refuses it refuses, and it counts what makes the host wait.

Its module is put where ``import cupy`` finds it, so that the package takes the way it takes on a GPU:

- it offers only the names that the CuPy of ``cupy_names.json`` has, and takes only their parameters;
- no array becomes a NumPy array but by ``.get()``, and none works together with one, nor with a list;
- no reduction returns a number: it is an array of no axes;
- what needs a value on the host (``float(a)``, ``if a:``, ``a[mask]``) is a wait, and noted with its place;
- what comes from the host (``cupy.asarray``) is an upload, and noted too.

It is stricter than CuPy in one thing: NumPy's own functions refuse its arrays, though CuPy's would take the call over,
because code that calls them has not asked which library its arrays belong to.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
import types
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

import rnnlab

TABLE = json.loads(Path(__file__).with_name("cupy_names.json").read_text(encoding="utf-8"))
NAMES, METHODS = TABLE["names"], TABLE["methods"]
PACKAGE = Path(rnnlab.__file__).parent

SCALARS = (bool, int, float, complex, np.generic)
MAKERS = {"array", "asarray", "asanyarray", "ascontiguousarray"}  # they take what is on the host
JOINERS = {"concatenate", "stack", "vstack", "hstack", "column_stack", "broadcast_arrays"}  # they take lists of arrays
ANSWERS = {"allclose", "array_equal", "array_equiv"}  # NumPy says True where CuPy has an array
PRODUCTS = {"matmul", "rmatmul", "imatmul", "dot", "vdot", "inner", "outer", "tensordot", "einsum", "linalg.norm"}
WAITS = {"nonzero", "flatnonzero", "argwhere", "unique", "asnumpy"}  # the size of what comes out depends on values
# Of a parameter of these names CuPy wants an array of its own; of the others a list may be a shape, or axes.
ARRAYS = {"a", "b", "x", "y", "x1", "x2", "m", "arr", "v", "ary", "condition", "dst", "src", "indices", "prototype"}


# ------------------------------------------------------------------------------ what is noted


@dataclass
class Notes:
    """Where the host had to wait for the device, and where it sent something there; as ``file:function``."""

    waits: list[str] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    lines: set[str] = field(default_factory=set)
    capturing: bool = False  # a graph: no wait, no upload, and no product that CuPy would ask cuBLAS for

    def clear(self):
        self.waits.clear()
        self.uploads.clear()
        self.lines.clear()


NOTES = Notes()


def note(kept, what):
    if NOTES.capturing:
        raise RuntimeError(f"cudaErrorStreamCaptureUnsupported: {what}")
    frame = sys._getframe(1)
    while frame is not None and not frame.f_code.co_filename.startswith(str(PACKAGE)):
        frame = frame.f_back
    if frame is None:
        kept.append("the test")
        return
    place = Path(frame.f_code.co_filename).relative_to(PACKAGE.parent).as_posix()
    kept.append(f"{place}:{frame.f_code.co_qualname}")
    NOTES.lines.add(f"{place}:{frame.f_lineno} {what}")


# ------------------------------------------------------------------------ in and out of the arrays


def refuse(message):
    raise TypeError(message)


def plain(value, allow_host=False):
    """The NumPy array inside, of everything in nested tuples and lists; host arrays are refused."""
    if isinstance(value, ndarray):
        return value._a
    if isinstance(value, np.ndarray) and not allow_host:
        refuse(f"Unsupported type {type(value)}")
    if isinstance(value, (tuple, list)):
        return type(value)([plain(v, allow_host) for v in value])
    return value


def wrapped(result, *given):
    """The stand-in for what NumPy returned: one of the arrays given, if it is that."""
    if isinstance(result, (tuple, list)):  # also what is a named tuple in NumPy
        return type(result)(wrapped(r) for r in result) if type(result) is list else tuple(map(wrapped, result))
    if not isinstance(result, (np.ndarray, np.generic)):
        return result
    for one in given:
        if isinstance(one, ndarray) and one._a is result:
            return one
    return ndarray(np.asarray(result))


@cache
def signature_of(parameters):
    return inspect.signature(eval(f"lambda {parameters}: 0"))


def bound(name, parameters, args, kwargs):
    """Refuse a call that CuPy's function of that name does not take."""
    try:
        return signature_of(parameters).bind(*args, **kwargs).arguments
    except TypeError as error:
        refuse(f"cupy.{name}({parameters}): {error}")


def check_arguments(name, arguments):
    if name in JOINERS and not all(isinstance(v, ndarray) for v in next(iter(arguments.values()))):
        refuse(f"cupy.{name}: only arrays can be joined")
    for parameter, value in arguments.items():
        if parameter not in ARRAYS or value is None or isinstance(value, ndarray):
            continue
        if isinstance(value, (tuple, list)):
            refuse(f"cupy.{name}: {parameter} must be an array; got {type(value)}")
        elif not isinstance(value, SCALARS):
            refuse(f"cupy.{name}: {parameter} has the unsupported type {type(value)}")


# -------------------------------------------------------------------------------- the arrays


class ndarray:
    """An array on the device that is none."""

    __module__ = "cupy"
    __hash__ = None
    __slots__ = ("_a",)

    def __init__(self, a):
        self._a = a

    # --- what CuPy refuses

    def __array__(self, *args, **kwargs):
        refuse("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __array_function__(self, function, kinds, args, kwargs):
        refuse(f"np.{function.__name__} of a CuPy array: ask `namespace` for the array library")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        by_operator = any(isinstance(v, np.generic) for v in inputs)  # such as np.float64(2) * a
        if method != "__call__" or not by_operator:
            refuse(f"np.{ufunc.__name__} of {', '.join(type(v).__name__ for v in inputs)}: not both on the device")
        return MODULE.__getattr__(ufunc.__name__)(*inputs, **kwargs)

    # --- what makes the host wait

    def _value(self, what):
        note(NOTES.waits, what)
        return self._a

    def get(self, stream=None, order="C", out=None, blocking=True):
        return self._value("get").copy()

    def item(self, *index):
        return self._value("item").item(*index)

    def tolist(self):
        return self._value("tolist").tolist()

    def __float__(self):
        return float(self._value("float"))

    def __int__(self):
        return int(self._value("int"))

    def __complex__(self):
        return complex(self._value("complex"))

    def __bool__(self):
        return bool(self._value("bool"))

    def __repr__(self):
        return repr(self._value("repr"))

    __str__ = __repr__

    def __format__(self, how):
        return format(self.item() if self.ndim == 0 else str(self), how)

    def __deepcopy__(self, memo):
        return ndarray(self._a.copy())

    def __reduce__(self):
        return ndarray, (self._value("pickle"),)

    # --- indexing

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        if self.ndim == 0:
            refuse("iteration over a 0-d array")
        return (self[k] for k in range(len(self)))

    def __getitem__(self, key):
        if any(isinstance(k, ndarray) and k.dtype == bool for k in as_tuple(key)):
            note(NOTES.waits, "a mask as an index")
        return wrapped(self._a[checked_key(key)])

    def __setitem__(self, key, value):
        if not isinstance(value, (ndarray, *SCALARS)):
            refuse(f"cannot assign {type(value)} to a CuPy array")
        self._a[checked_key(key)] = plain(value)


def as_tuple(key):
    return key if isinstance(key, tuple) else (key,)


def checked_key(key):
    for k in as_tuple(key):
        if isinstance(k, (np.ndarray, list)):
            raise IndexError(f"Unsupported type {type(k)}")
    return plain(key)


def refuse_cublas(name):
    if NOTES.capturing and name.strip("_") in PRODUCTS:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")


def _operator(name):
    def apply(self, *others):
        refuse_cublas(name)
        if not all(isinstance(o, (ndarray, *SCALARS)) for o in others):
            return NotImplemented
        result = getattr(self._a, name)(*map(plain, others))
        return NotImplemented if result is NotImplemented else wrapped(result, self)

    return apply


UFUNCS = {
    "iadd": "add", "isub": "subtract", "imul": "multiply", "itruediv": "true_divide", "ifloordiv": "floor_divide",
    "imod": "remainder", "ipow": "power", "iand": "bitwise_and", "ior": "bitwise_or", "ixor": "bitwise_xor",
    "ilshift": "left_shift", "irshift": "right_shift",
}  # fmt: skip


def _in_place(name):
    ufunc = UFUNCS[name.strip("_")]

    def apply(self, other):
        if not isinstance(other, (ndarray, *SCALARS)):
            refuse(f"{name} with the unsupported type {type(other)}")
        getattr(np, ufunc)(self._a, plain(other), out=self._a)
        return self

    return apply


def _method(name, parameters):
    def call(self, *args, **kwargs):
        refuse_cublas(name)
        if parameters is not None:
            bound(f"ndarray.{name}", parameters, (self, *args), kwargs)
        if any(isinstance(v, list) for v in args):
            refuse(f"ndarray.{name} takes no list")
        if name in WAITS:
            note(NOTES.waits, name)
        result = getattr(self._a, name)(*map(plain, args), **{k: plain(v) for k, v in kwargs.items()})
        return wrapped(result, self, *args, *kwargs.values())

    return call


def _attribute(name):
    return property(
        lambda self: wrapped(getattr(self._a, name)), lambda self, value: setattr(self._a, name, plain(value))
    )


_INPLACE = {name for name in METHODS if name.startswith("__i") and name not in ("__iter__", "__int__", "__invert__")}
_DATA = {"T", "mT", "shape", "dtype", "ndim", "size", "real", "imag", "nbytes", "strides", "itemsize", "flags"}
_COMPARISONS = ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__")


def _furnish():
    """Give the class what CuPy's arrays and NumPy's have in common."""
    for name in (*METHODS, *_COMPARISONS):
        if name in vars(ndarray) and name not in _COMPARISONS or not hasattr(np.ndarray, name):
            continue
        if name in _DATA:
            setattr(ndarray, name, _attribute(name))
        elif name in _INPLACE:
            setattr(ndarray, name, _in_place(name))
        elif not name.startswith("__"):
            setattr(ndarray, name, _method(name, METHODS[name]))
        elif not name.startswith(("__array", "__copy", "__dlpack", "__class", "__new", "__set", "__del", "__buffer")):
            setattr(ndarray, name, _operator(name))


_furnish()


# -------------------------------------------------------------------------------- the module


def _function(name, function):
    """A function of the module, which calls NumPy's of the same name."""
    parameters = NAMES[name]

    def call(*args, **kwargs):
        refuse_cublas(name)
        if parameters is not None:
            arguments = bound(name, parameters, args, kwargs)
            if name not in MAKERS and name not in ("result_type", "can_cast", "full", "asnumpy"):
                check_arguments(name, dict(enumerate(args)) | arguments)
        if name in MAKERS:
            source = args[0]
            if isinstance(source, (np.ndarray, list, tuple)):
                note(NOTES.uploads, name)
            kwargs.pop("blocking", None)
        elif name in WAITS or (name == "where" and len(args) == 1):
            note(NOTES.waits, name)
        result = function(*(plain(v, name in MAKERS) for v in args), **{k: plain(v) for k, v in kwargs.items()})
        if name in MAKERS and isinstance(args[0], np.ndarray) and isinstance(result, np.ndarray):
            result = result.copy() if np.shares_memory(result, args[0]) else result
        return wrapped(np.bool_(result) if name in ANSWERS else result, *args, *kwargs.values())

    call.__name__ = call.__qualname__ = name.rpartition(".")[2]
    return call


class Module(types.ModuleType):
    """``cupy``, or a module below it: what of NumPy has a name that CuPy has."""

    def __init__(self, name, numpy, prefix=""):
        super().__init__(name)
        self._numpy, self._prefix = numpy, prefix

    def __getattr__(self, name):
        if name.startswith("__") or self._prefix + name not in NAMES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        thing = getattr(self._numpy, name, None)
        if thing is None:
            raise AttributeError(f"the stand-in for {self.__name__!r} offers no {name!r}, though CuPy does")
        if not callable(thing) or isinstance(thing, type) or name in ("finfo", "iinfo"):
            return thing
        function = _function(self._prefix + name, thing)
        setattr(self, name, function)
        return function


class ElementwiseKernel:
    """A kernel, compiled as C for the host; see ``compiled.py``."""

    def __init__(self, in_params, out_params, operation, name="kernel", **options):
        from rnnlab.kernels import Kernel

        self.kernel = Kernel(name, in_params, out_params, operation)

    def __call__(self, *arrays):
        from compiled import launch

        for a in arrays:
            if not isinstance(a, (ndarray, *SCALARS)):
                refuse(f"a kernel of {type(a)}")
        launch(self.kernel, *map(plain, arrays))


def scatter_add(a, slices, value):
    """``cupyx.scatter_add``."""
    if not isinstance(a, ndarray) or not isinstance(slices, ndarray) or not isinstance(value, (ndarray, *SCALARS)):
        refuse(f"scatter_add of {type(a)}, {type(slices)}, {type(value)}")
    np.add.at(a._a, slices._a, plain(value))


class Stream:
    """A stream that captures; ``end_capture`` returns a graph that does nothing, see ``fake_gpu.py``."""

    ptr = 77

    def __init__(self, non_blocking=False):
        assert non_blocking

    def __enter__(self):
        return self

    def __exit__(self, *_):
        NOTES.capturing = False

    def synchronize(self):
        pass

    def begin_capture(self):
        NOTES.capturing = True

    def end_capture(self):
        NOTES.capturing = False
        return types.SimpleNamespace(graph=1, launch=lambda: None)


MEMORY = {"free": 2**34, "pool": 0}  # bytes that the device has, and those that CuPy's pool holds for later


def _make(available):
    """The modules ``cupy``, ``cupy.linalg`` and ``cupyx``."""
    cupy, linalg = Module("cupy", np), Module("cupy.linalg", np.linalg, "linalg.")
    cupyx = types.ModuleType("cupyx")
    cupy.linalg, cupyx.scatter_add, cupy.__version__ = linalg, scatter_add, TABLE["cupy"]
    cupy.ndarray, cupy.ElementwiseKernel = ndarray, ElementwiseKernel
    runtime = types.SimpleNamespace(memGetInfo=lambda: (MEMORY["free"], 2**35), runtimeGetVersion=lambda: 13010)
    runtime.getDeviceProperties = lambda device: {"name": b"No GPU"}
    cupy.cuda = types.SimpleNamespace(runtime=runtime, Stream=Stream, get_current_stream=lambda: Stream(True))
    cupy.cuda.MemoryPool = lambda: types.SimpleNamespace(malloc=None)
    cupy.cuda.using_allocator = lambda malloc: contextlib.nullcontext()
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(free_bytes=lambda: MEMORY["pool"])
    cupy.is_available = lambda: available
    cupy.asnumpy = lambda a: a.get() if isinstance(a, ndarray) else np.asarray(a)
    cupy.get_array_module = lambda *arrays: cupy if any(isinstance(a, ndarray) for a in arrays) else np
    cupy.random = types.ModuleType("cupy.random")  # empty: random numbers are drawn on the host
    return {"cupy": cupy, "cupy.linalg": linalg, "cupyx": cupyx}


MODULE = _make(True)["cupy"]


@contextlib.contextmanager
def installed(monkeypatch, available=True):
    """Put the stand-in where ``import cupy`` finds it; yields the notes, empty."""
    for name, module in _make(available).items():
        monkeypatch.setitem(sys.modules, name, module)
    NOTES.clear()
    yield NOTES


@contextlib.contextmanager
def noted():
    """Notes of what happens inside the block only."""
    NOTES.clear()
    yield NOTES
