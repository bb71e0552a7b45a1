"""How fast images are decoded and hashed without a server: by the engine, and by OpenCV as its peer."""

from __future__ import annotations

import base64
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from twinlens.engine.decode import decode
from twinlens.engine.hashing import image_hashes

WORKERS = os.cpu_count() or 1
"""Threads, as many as a server has unless told otherwise."""


@dataclass
class Rates:
    """Images per second and CPU milliseconds per image, one of each a round."""

    per_second: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, images: int, seconds: float, cpu: float) -> None:
        """One round."""
        self.per_second.append(images / seconds)
        self.cpu.append(1000 * cpu / images)

    @property
    def rate(self) -> float:
        """Images per second, the median of the rounds."""
        return statistics.median(self.per_second)

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per image, the median of the rounds."""
        return statistics.median(self.cpu)


def engine_hashes(data: bytes) -> NDArray[np.uint8]:
    """Both hashes; bmh1 is answered."""
    return image_hashes(decode(data).rgb).bmh1


def opencv_hashes(data: bytes) -> NDArray[np.uint8]:
    """The same by OpenCV."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    img_hash: Any = cv2.img_hash  # its stubs lack what follows
    img_hash.PHash_create().compute(image)
    bmh1: NDArray[np.uint8] = img_hash.BlockMeanHash_create(mode=1).compute(image)[0]
    return bmh1


def hash_all(
    hashes: Callable[[bytes], NDArray[np.uint8]], images: Sequence[bytes], rates: Rates | None = None
) -> NDArray[np.uint8]:
    """bmh1 of all images, uint8 [n, 121], hashed in all threads."""
    cv2.setNumThreads(1)
    started, spent = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(WORKERS) as pool:
        codes = list(pool.map(hashes, images))
    if rates is not None:
        rates.add(len(images), time.perf_counter() - started, time.process_time() - spent)
    return np.array(codes)


def records(images: Sequence[bytes]) -> list[dict[str, Any]]:
    """Images as a request brings them, named 0, 1, ..."""
    return [{"_id": number, "_base64": base64.b64encode(data).decode()} for number, data in enumerate(images)]
