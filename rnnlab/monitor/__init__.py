"""A record of a training run: chosen quantities every few steps, kept in memory and streamed to a file."""

from rnnlab.monitor.monitor import Monitor
from rnnlab.monitor.quantities import QUANTITIES
from rnnlab.monitor.record import read_record

__all__ = ["QUANTITIES", "Monitor", "read_record"]
