"""Cores of a thread that embeds."""

from __future__ import annotations

import subprocess
import sys

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
