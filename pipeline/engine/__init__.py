"""What runs the networks: the loop, the optimizer, the machine."""

import os

# Huge pages for large tensors on CPUs; torch asks once, at its first allocation. See `machine.keep_memory`.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
