"""What the documentation says about speed, measured: ``python -m benchmarks.NAME`` in the repository's root."""
