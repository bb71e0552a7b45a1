"""Train the fast descriptor, a student of the copy descriptor that is installed.

    python -m scripts.train_student PACKAGES RUN [--steps 1000] [--seed 5]

PACKAGES is that of `scripts/train_descriptor.py`, and so may be RUN: its small pictures are used again.
RUN/student gets checkpoints and log.jsonl, and in the end fast_descriptor.safetensors with its digest.
Started again, it goes on where it stopped. `--install` puts weights and log beside
`models/copy_descriptor.py`, which states the digest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from scripts.descriptor_batches import squares_of
from scripts.descriptor_pictures import Pictures
from scripts.descriptor_student import StudentPlan, Teacher, shrunk, slimmed, train_student
from scripts.descriptor_training import LOG
from scripts.train_descriptor import add_arguments, begun_run, export, finished, install, planned
from twinlens.models import copy_descriptor, lite, load_model
from twinlens.models.copy_descriptor import FAST_SIDE, SIDE, CopyNetwork, read_network

PLAN = StudentPlan(steps=1000, side=FAST_SIDE, seed=5, whitening=0.25)

COUNTED = 256
"""Pictures by which channels are chosen."""


def main() -> None:
    arguments = _arguments()
    pictures = begun_run(arguments)
    folder: Path = arguments.run / "student"
    folder.mkdir(exist_ok=True)
    plan = planned(PLAN, arguments)
    teacher = Teacher(load_model(copy_descriptor.NAME, device="cpu"), pictures)
    network = train_student(plan, pictures, teacher, begun(plan, pictures), folder, arguments.workers)
    chosen = np.flatnonzero(~pictures.held_out())
    path = folder / copy_descriptor.FAST_WEIGHTS.name
    print(f"{path}: {export(network, finished(network, pictures, chosen, plan.side), path)}")
    if arguments.install:
        install(path, folder / LOG, copy_descriptor.FAST_WEIGHTS)


def begun(plan: StudentPlan, pictures: Pictures) -> CopyNetwork:
    """The student before its training."""
    network, _ = read_network(copy_descriptor.WEIGHTS, copy_descriptor.WEIGHTS_DIGEST)
    shown = range(0, len(pictures), max(1, len(pictures) // COUNTED))
    pixels = shrunk(squares_of([pictures.image(index) for index in shown], SIDE), plan.side)
    return slimmed(network, lite.SLIM_STAGES, pixels).to(memory_format=torch.channels_last)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser, PLAN)
    return parser.parse_args()


if __name__ == "__main__":
    main()
