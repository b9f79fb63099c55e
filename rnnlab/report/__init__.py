"""The self-contained report of a comparison, and the files that go with it."""

from rnnlab.report.files import write_history, write_report, write_results

__all__ = ["write_history", "write_report", "write_results"]
