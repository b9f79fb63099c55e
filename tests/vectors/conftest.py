"""The scripts here need PyTorch, which the tests do without, so none of them is collected."""

collect_ignore_glob = ["make_*.py"]
