"""Experiments: what each runs, what it must show, and the runs themselves."""
