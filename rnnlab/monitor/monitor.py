"""The callback that records a training run and spaces itself out."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.backend import Array, tree_items
from rnnlab.monitor import record
from rnnlab.monitor.quantities import QUANTITIES, update_ratio
from rnnlab.monitor.record import Row

__all__ = ["Monitor"]


class Monitor:
    """A callback of `rnnlab.fit` that records chosen quantities every so many steps.

    A row holds the step, the epoch, the loss and the learning rate, and of the quantities chosen:

    ======================  ===========================================================================================
    quantity                columns
    ======================  ===========================================================================================
    gradient_norm           ``gradient_norm`` of all together and ``gradient_norm.PARAMETER``, before clipping
    update_ratio            ``update_ratio.PARAMETER``: ``||w_after - w_before|| / ||w_before||``
    weight_statistics       ``weight_mean.PARAMETER``, ``weight_std...``, ``weight_skewness...``, ``weight_kurtosis...``
    gradient_statistics     the same with ``gradient_``, before clipping
    spectral_norm           ``spectral_norm.PARAMETER.GATE`` of the recurrent matrices
    spectral_radius         ``spectral_radius.PARAMETER.GATE``
    saturation              ``saturation_low.GATE``, ``saturation_high.GATE``, the batch begun from a state of zeros
    ======================  ===========================================================================================

    All but the update ratio are those before the step's update. See `rnnlab.dynamics` for what they mean.

    Parameters
    ----------
    quantities : sequence of str or callable
        Names as above. A callable is given the run and returns a dict of floats, always with the same keys.
    every : int
        Rows are recorded only at steps that this divides.
    file : path, optional
        A ``.csv`` or ``.jsonl`` file that rows are written to as they are made, each flushed: a killed run keeps its
        record. A file that is there already is replaced, unless a checkpoint is resumed that knows it.
    max_share : float or None
        The most of the training steps' time that recording may take, all in all. Every step earns this share of its
        own time, and a row is made only when as much is earned as the last one took: expensive quantities are
        recorded more rarely than ``every`` asks. Only the first row is made in advance. None records every time.
    overrun : {"space", "raise"}
        Whether to make rows rarer, or to stop with an error, if they take more than `max_share`.

    Attributes
    ----------
    rows : list of dict
    columns : list of str
        The same in every row: fixed by the first one.

    Raises
    ------
    ValueError
        An argument is not as above.

    Notes
    -----
    Which steps are recorded depends on the machine's speed unless ``max_share=None``; what is recorded of a step
    never does. After a resume the rows behind the checkpoint are cut off, so that no step is there twice.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> from types import SimpleNamespace
    >>> monitor = Monitor(["gradient_norm"], every=2, max_share=None)
    >>> run = SimpleNamespace(params={"w": np.ones(2)}, grads={"w": np.array([3.0, 4.0])}, loss=1.5, epoch=0,
    ...                       learning_rate=0.1)
    >>> monitor.start(run)
    >>> for run.step in range(3):        # as rnnlab.fit does
    ...     monitor.before_step(run)
    ...     monitor.after_step(run)
    >>> monitor.column("step"), monitor.column("gradient_norm.w")
    (array([0., 2.]), array([5., 5.]))
    """

    def __init__(
        self,
        quantities: Sequence[str | Callable[[Any], Row]] = ("gradient_norm", "update_ratio", "weight_statistics"),
        every: int = 10,
        file: str | os.PathLike[str] | None = None,
        max_share: float | None = 0.10,
        overrun: str = "space",
    ) -> None:
        if isinstance(quantities, str):
            raise ValueError(f"quantities must be a sequence of names; got the string {quantities!r}")
        for q in quantities:
            if not callable(q) and q not in QUANTITIES:
                raise ValueError(f"quantities must be of {', '.join(QUANTITIES)}, or callable; got {q!r}")
        if not isinstance(every, (int, np.integer)) or isinstance(every, bool) or every < 1:
            raise ValueError(f"every must be a positive integer; got {every!r}")
        if max_share is not None and not 0 < max_share <= 1:
            raise ValueError(f"max_share must be above 0 and at most 1, or None; got {max_share!r}")
        if overrun not in ("space", "raise"):
            raise ValueError(f"overrun must be 'space' or 'raise'; got {overrun!r}")
        self.file = None if file is None else Path(file)
        if self.file is not None and self.file.suffix not in (".csv", ".jsonl"):
            raise ValueError(f"file must end in .csv or .jsonl; got {os.fspath(self.file)!r}")
        self.quantities, self.every, self.max_share, self.overrun = tuple(quantities), int(every), max_share, overrun
        self._clock: Callable[[], float] = time.perf_counter
        self._restored = False
        self._reset([])

    def _reset(self, rows: list[Row]) -> None:
        self.rows = rows
        self._pending: Row | None = None
        self._before: dict[str, Array] = {}
        self._cost, self._costs = 0.0, deque[float](maxlen=31)
        self._step_times = deque[float](maxlen=31)
        self._earned = 0.0  # seconds for recording, less those spent
        self._mark: float | None = None  # when we last handed back to the loop
        self._step_time: float | None = None  # of the step under way

    @property
    def columns(self) -> list[str]:
        """The names of a row's entries; none before the first row."""
        return list(self.rows[0]) if self.rows else []

    def column(self, name: str) -> np.ndarray:
        """Return one entry of every row.

        Raises
        ------
        ValueError
            There is no such column.
        """
        if name not in self.columns:
            import difflib  # imported here because only this error needs it

            close = difflib.get_close_matches(name, self.columns, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(self.columns) or 'no rows yet'}"
            raise ValueError(f"no column {name!r} in the record; {hint}")
        return np.array([row[name] for row in self.rows], dtype=float)

    # ----------------------------------------------------------------------------- what fit calls

    def start(self, run: Any) -> None:
        """Begin a new record, unless one was just restored."""
        if not self._restored:
            self._reset([])
        self._restored = False

    def before_step(self, run: Any) -> None:
        """Look at the gradients and at the parameters that they belong to."""
        begin = self._clock()
        self._step_time = None if self._mark is None else begin - self._mark
        self._pending = None
        if self._is_due(int(run.step)):
            self._pending = self._look(run)
        self._mark = self._clock()
        self._cost = self._mark - begin

    def after_step(self, run: Any) -> None:
        """Complete the row and write it."""
        begin = self._clock()
        if self._mark is not None and self._step_time is not None:
            self._earn(self._step_time + begin - self._mark)  # the gradients' part and the optimizer's
        if self._pending is not None:
            if "update_ratio" in self.quantities:
                with np.errstate(all="ignore"):
                    self._pending |= update_ratio(self._before, run)
            self._append(self._pending)
            self._pending, self._before = None, {}
            self._costs.append(self._cost + self._clock() - begin)
            self._earned -= self._costs[-1]
        self._mark = self._clock()

    def after_validation(self, run: Any) -> None:
        """Leave the time of a validation out of the steps' time."""
        self._mark = self._clock()

    # ------------------------------------------------------------------------- the checkpoint's part

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: how many rows the file has and its size; the rows, if there is none."""
        if self.file is None:
            values = np.array([list(row.values()) for row in self.rows], float).reshape(len(self.rows), -1)
            return {"rows": len(self.rows), "columns": self.columns, "values": values}
        size = 0
        if self.rows:
            with open(self.file, "rb+") as stream:
                os.fsync(stream.fileno())  # the checkpoint must not know of rows that a power cut could take
                size = os.fstat(stream.fileno()).st_size
        return {"rows": len(self.rows), "bytes": size}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to the record as it was at a checkpoint; rows written after it are cut off the file.

        Raises
        ------
        ValueError
            The file does not hold the rows that the checkpoint knows.
        """
        count = int(state["rows"])
        if self.file is None:
            rows = [dict(zip(state["columns"], row, strict=True)) for row in state["values"].tolist()]
            self._reset([row | {"step": int(row["step"]), "epoch": int(row["epoch"])} for row in rows])
        else:
            self._reset(record.cut(self.file, count, int(state.get("bytes", 0))) if count else [])
        self._restored = True

    # ------------------------------------------------------------------------------------ inside

    def _is_due(self, step: int) -> bool:
        if step % self.every:
            return False
        if self.max_share is None or not self._costs or not self._step_times:
            return True
        if self.overrun == "space":
            return self._earned >= self._costs[-1]
        # the cheapest of several rows, so that a disturbance of the machine stops nothing
        share = min(self._costs) / (self.every * float(np.median(self._step_times)))
        if len(self._costs) >= 3 and share > self.max_share:
            raise RuntimeError(
                f"recording takes {share:.0%} of the steps' time with every={self.every}; max_share="
                f"{self.max_share:g} needs every of at least {math.ceil(self.every * share / self.max_share)}"
            )
        return True

    def _earn(self, seconds: float) -> None:
        self._step_times.append(seconds)
        if self.max_share is not None and len(self._step_times) > 1:  # the very first step may have had to warm up
            # a step that other things made longer, such as a checkpoint, earns what an ordinary one does
            ordinary = sorted(self._step_times)[(len(self._step_times) - 1) // 2]
            self._earned += self.max_share * min(seconds, ordinary)

    def _look(self, run: Any) -> Row:
        row: Row = {"step": int(run.step), "epoch": int(run.epoch)}
        row |= {"loss": float(run.loss), "learning_rate": float(run.learning_rate)}
        with np.errstate(all="ignore"):  # a diverging run is worth a record, not a warning
            for q in self.quantities:
                measure = q if callable(q) else QUANTITIES[q]
                if measure is not None:
                    row |= {name: float(value) for name, value in measure(run).items()}
            if "update_ratio" in self.quantities:
                self._before = {path: w.copy() for path, w in tree_items(run.params)}
        return row

    def _append(self, row: Row) -> None:
        if self.rows and list(row) != self.columns:
            odd = sorted(set(row) ^ set(self.columns)) or ["their order"]
            raise ValueError(f"every row must have the columns of the first one; this one differs in {', '.join(odd)}")
        if self.file is not None:
            record.append(self.file, row, first=not self.rows)
        self.rows.append(row)
