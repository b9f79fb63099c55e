"""The tutorials: one plain Python file each, from which `tutorials.build` makes the notebooks."""
