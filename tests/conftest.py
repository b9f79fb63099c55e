"""Settings of the whole suite: one BLAS thread, Hypothesis profiles, where real data lies."""

import os
from pathlib import Path

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before NumPy is imported: two threads lose on these sizes

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", derandomize=True, max_examples=25, database=None, **COMMON)
settings.register_profile("search", derandomize=False, max_examples=500, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_modifyitems(items):
    """Skip GPU tests where there is no GPU, with the reason."""
    reason = None
    for item in items:
        if "gpu" in item.keywords:
            if reason is None:
                from rnnlab import BackendError, to_backend

                try:
                    to_backend((), "cupy")
                    reason = ""
                except BackendError as error:
                    reason = str(error)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def data_root():
    """The folder of the real data sets, or a skip that says how to get one."""
    default = Path(__file__).parents[2] / "shared" / "data"
    root = Path(os.environ.get("RNNLAB_DATA", default))
    if not root.is_dir():
        pytest.skip(f"no real data: set RNNLAB_DATA to the folder that holds it (looked in {root})")
    return root
