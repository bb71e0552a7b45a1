"""Cores of a thread that embeds, and room on the device."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from twinlens.models import load_model
from twinlens.models.copy_descriptor import WEIGHTS, CopyDescriptorEmbedder, read_network
from twinlens.models.frames import load_finder

THREADS = """
import threading, torch
everything = torch.get_num_threads()
from twinlens.models import load_model
embedder, seen = load_model("twinlens_fast512", device="cpu"), []

def embed():
    for choose in (embedder.use_one_core, embedder.use_all_cores):
        choose()
        seen.append(torch.get_num_threads())

for _ in range(2):
    thread = threading.Thread(target=embed)
    thread.start()
    thread.join()
print(seen == 2 * [1, everything], torch.get_num_threads() == everything)
"""


def test_a_thread_has_one_core_or_all_and_others_keep_theirs() -> None:
    """In a process of its own: a thread that begins later takes over what another one was told."""
    run = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "True"]


class OnDevice(CopyDescriptorEmbedder):
    """On a device of its own, as far as the embedder can tell; remembers which threads called it."""

    def __init__(self) -> None:
        super().__init__(read_network(WEIGHTS, None)[0], load_finder(), "cpu", "float32")
        self._caller = ThreadPoolExecutor(1)
        self.threads: list[int] = []

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        self.threads.append(threading.get_ident())
        return super().features(pixels)


def test_one_thread_talks_to_a_device_whoever_asks() -> None:
    """Libraries of CUDA choose kernels anew for each thread, which takes a second."""
    embedder, here = OnDevice(), load_model("twinlens_copy512", device="cpu", precision="float32")
    images = [np.full((160, 160, 3), level, np.uint8) for level in range(0, 240, 40)]
    with ThreadPoolExecutor(3) as pool:
        rows = list(pool.map(lambda image: embedder.embed_prepared([image]), images))
    assert len(set(embedder.threads)) == 1 and embedder.threads[0] != threading.get_ident()
    assert np.array_equal(np.concatenate(rows), np.concatenate([here.embed_prepared([i]) for i in images]))


def test_what_fails_on_a_device_reaches_who_asked() -> None:
    with pytest.raises(RuntimeError):
        OnDevice().embed_prepared([np.zeros((160, 160), np.uint8)])


class Crowded(CopyDescriptorEmbedder):
    """On a device that has room for two images."""

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().features(pixels)


def test_a_device_without_room_says_so_in_a_way_that_the_engine_knows() -> None:
    network, _ = read_network(WEIGHTS, None)
    embedder = Crowded(network, load_finder(), "cpu", "float32")
    images = [np.zeros((160, 160, 3), np.uint8)] * 3
    assert len(embedder.embed_prepared(images[:2])) == 2
    with pytest.raises(MemoryError, match="3 images"):
        embedder.embed_prepared(images)
