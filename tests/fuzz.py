"""Mutated files for the loaders: each must load to something plausible or be refused in one line that names it."""

import contextlib
import random
import signal
import warnings

from rnnlab.data.files import DataError

FIELDS = (b"nan", b"NaN", b"inf", b"-inf", b"", b" ", b"1e400", b"-1e308", b"99999999999999999999", b"0x1p3", b"1_0",
          b"1,5", b"?", b"None", b"true", b"-", b"--1", b"1e", b"3.7", b"-1", b"1j", b"\xff\xfe", b"\xc3\x28", b"\x00",
          "\u0663".encode(), b"'", b'"', b"<unk>", b"zzzz")  # fmt: skip
LONGEST = 10  # seconds of the processor that a small file may take, whatever else the machine does
SEPARATORS = (b"\t", b",", b":", b" ", b"\n")


def mutations(data, seed, count):
    """Yield `count` mutated copies of `data`: bytes, lines, fields and headers damaged, one to three at a time."""
    rng = random.Random(seed)
    for _ in range(count):
        mutant = data
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            mutant = rng.choice(MUTATORS)(rng, mutant)
        yield mutant


def truncate(rng, data):
    return data[: rng.randrange(len(data) + 1)]


def cut_front(rng, data):
    return data[rng.randrange(len(data) + 1) :]


def flip_bits(rng, data):
    mutant = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if mutant:
            mutant[rng.randrange(len(mutant))] ^= 1 << rng.randrange(8)
    return bytes(mutant)


def overwrite_header(rng, data):
    mutant = bytearray(data)
    for _ in range(rng.choice((1, 2, 4))):
        if mutant:
            mutant[rng.randrange(min(len(mutant), 64))] = rng.choice((0, 1, 9, 10, 32, 45, 127, 128, 255))
    return bytes(mutant)


def insert_bytes(rng, data):
    at = rng.randrange(len(data) + 1)
    chunk = rng.choice((b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n\n", b"\x0c", b"\x1c", rng.randbytes(8)))
    return data[:at] + chunk + data[at:]


def remove_bytes(rng, data):
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice((1, 1, 2, 16)) :]


def repeat_bytes(rng, data):
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start : start + rng.choice((1, 4, 64))] + data[start:]


def change_lines(rng, data):
    lines = data.split(b"\n")
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.choice(("delete", "double", "swap", "join", "empty", "first"))
    if kind == "delete":
        del lines[a]
    elif kind == "double":
        lines.insert(b, lines[a])
    elif kind == "swap":
        lines[a], lines[b] = lines[b], lines[a]
    elif kind == "join":
        lines[a] = lines[a] + lines[b]
    elif kind == "empty":
        lines[a] = b""
    else:
        del lines[0]
    return b"\n".join(lines)


def change_field(rng, data):
    separator = rng.choice([s for s in SEPARATORS if s in data] or [b"\n"])
    fields = data.split(separator)
    at = rng.randrange(len(fields))
    kind = rng.choice(("replace", "replace", "insert", "delete", "append"))
    if kind == "replace":
        fields[at] = rng.choice(FIELDS)
    elif kind == "insert":
        fields.insert(at, rng.choice(FIELDS))
    elif kind == "append":
        fields[at] += rng.choice(FIELDS)
    else:
        del fields[at]
    return separator.join(fields)


def change_separator(rng, data):
    old, new = rng.choice(SEPARATORS), rng.choice(SEPARATORS)
    return data.replace(old, new, rng.choice((1, 1, -1)))


MUTATORS = (truncate, cut_front, flip_bits, overwrite_header, insert_bytes, remove_bytes, repeat_bytes, change_lines,
            change_field, change_field, change_separator)  # fmt: skip


def check_loader(load, original, write_to, plausible, count, seed=0):
    """Check that `load` takes or refuses each of `count` mutations of a file as it should; return (taken, refused).

    Parameters
    ----------
    load : () -> result
        Loads the data set that the file `write_to` is part of.
    original : bytes
        A sound file, small: it is written `count` times.
    write_to : pathlib.Path
        Where the loader looks for it.
    plausible : result -> bool
        Whether a result can be right: its shapes, finite numbers, labels in range.
    """
    write_to.write_bytes(original)
    assert plausible(load()), "the sound file must load"
    taken = 0
    for k, mutant in enumerate(mutations(original, seed, count)):
        write_to.write_bytes(mutant)
        taken += _taken(load, write_to, plausible, f"mutation {k} of seed {seed}: {mutant[:400]!r}")
    write_to.write_bytes(original)
    return taken, count - taken


@contextlib.contextmanager
def time_limit(seconds=LONGEST):
    """Raise TimeoutError in the body when it computes for too long, where the system can tell."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number, frame):
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _taken(load, path, plausible, what):
    try:
        with warnings.catch_warnings(), time_limit():
            warnings.simplefilter("error")
            result = load()
    except DataError as error:
        text = str(error)
        assert str(path) in text, f"the error must name {path}; got {text!r} for {what}"
        assert "\n" not in text and len(text) < 500, f"the error must be one line; got {text!r} for {what}"
        return False
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error} for {what}") from error
    assert plausible(result), f"an implausible result was accepted for {what}"
    return True
