"""What the documentation says about speed, measured: ``python -m benchmarks.NAME`` in the repository's root."""

# What would hold one library to the kernels of an older processor, and not the others.
KERNELS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
