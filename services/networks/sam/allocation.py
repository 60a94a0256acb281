"""Memory that the network frees is kept for its next use, instead of being given back to the kernel."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MOST_MAPPINGS = -1, -4
"""glibc's M_TRIM_THRESHOLD and M_MMAP_MAX (malloc.h)."""


def keep_freed_memory() -> bool:
    """Tell glibc to take large blocks from the heap and never to trim it; whether it was told.

    By default glibc maps every block above some MiB anew, and the kernel clears page after page while SAM's
    decoder writes them: about half of its time on a CPU. The price: the process stays as large as it was.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MOST_MAPPINGS, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
