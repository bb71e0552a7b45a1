"""Cores of a thread that embeds, and room on the device."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from twinlens.models.copy_descriptor import WEIGHTS, CopyDescriptorEmbedder, read_network

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


class Crowded(CopyDescriptorEmbedder):
    """On a device that has room for two images."""

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().features(pixels)


def test_a_device_without_room_says_so_in_a_way_that_the_engine_knows() -> None:
    network, _ = read_network(WEIGHTS, None)
    embedder = Crowded(network, "cpu", "float32")
    images = [np.zeros((160, 160, 3), np.uint8)] * 3
    assert len(embedder.embed_prepared(images[:2])) == 2
    with pytest.raises(MemoryError, match="3 images"):
        embedder.embed_prepared(images)
