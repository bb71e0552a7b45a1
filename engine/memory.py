"""How memory is kept: every image takes some megabytes for a moment, and the next one does so again."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# From malloc.h of glibc.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

_KEPT_BYTES = 16 * 2**20
_LARGE_BYTES = 4 * 2**20
_KEPT_LAYERS_BYTES = 64 * 2**20
_LARGE_LAYER_BYTES = 32 * 2**20  # glibc takes no more.


def keep_freed_memory() -> None:
    """Let each thread keep up to 16 MiB that it has freed; blocks of 4 MiB or more still go back at once.

    Unless told so, glibc gives the memory of every image back to the kernel, which zeroes it anew for the
    next one: that costs a thread as much as decoding and hashing an image of 800 x 600. For the whole
    process, and only where glibc is.
    """
    _keep(_KEPT_BYTES, _LARGE_BYTES)


def keep_freed_layers() -> None:
    """Let each thread keep up to 64 MiB, in blocks of up to 32 MiB: for a process that embeds.

    The layers of one call take some megabytes each, one after the other. Their memory, zeroed anew by the
    kernel each time, costs a fifth of the time of a small network.
    """
    _keep(_KEPT_LAYERS_BYTES, _LARGE_LAYER_BYTES)


def _keep(trim: int, mapped: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, mapped)
        mallopt(_M_TRIM_THRESHOLD, trim)


@contextmanager
def kept_for_good() -> Iterator[None]:
    """Look for no garbage in what is loaded here, now or ever after: libraries and models stay until the end.

    Else Python goes through their hundreds of thousands of objects again and again, and once more when the
    process ends: half a second with torch.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def give_back_freed_memory() -> None:
    """Give all freed memory back to the kernel, which takes milliseconds; where there is no glibc, nothing.

    For after something large: what it has freed lies between blocks that stay, where glibc leaves it.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
