"""Train the copy descriptor from the backbone's ImageNet weights, in two stages.

    python -m scripts.train_descriptor PACKAGES RUN [--seed 1]

PACKAGES holds an unpacked Debian package (`dpkg -x`) in each of the folders that
`scripts/descriptor_pictures.py` names. RUN gets the small pictures, checkpoints and a log.jsonl of each
stage, and in the end copy_descriptor.safetensors with its digest. Started again, it goes on where it stopped.
The first stage (`descriptor_training`) teaches the backbone. In the second (`descriptor_student`) half of
what it learnt stands beside the structure of pictures and their colours, and it learns from what it says
itself of all.
`--first` takes the weights of an earlier first stage. `--install` puts weights and log beside
`models/copy_descriptor.py`, which states the digest.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from scripts.descriptor_background import background_rows
from scripts.descriptor_parts import set_parts
from scripts.descriptor_pictures import (
    MOST_PER_PACKAGE,
    Pictures,
    composition,
    open_pictures,
    save_pictures,
)
from scripts.descriptor_ranges import measured_ranges
from scripts.descriptor_student import StudentPlan, Teacher, train_student
from scripts.descriptor_training import LOG, Plan, evened_out, train, whitened
from twinlens.models import copy_descriptor, efficientnet, load_model, weights
from twinlens.models.copy_descriptor import SIDE, CopyDescriptorEmbedder, CopyNetwork, read_network
from twinlens.models.device import choose_precision

FIRST = Plan()
SECOND = StudentPlan(steps=420, side=160, run_side=SIDE, seed=7, drawn_back=0.12, whitening=0.15)
FIRST_WEIGHTS = "first_stage.safetensors"


def main() -> None:
    arguments = _arguments()
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    run: Path = arguments.run
    pictures = pictures_of(arguments.packages, run / "pictures", arguments.most)
    print(composition(pictures), flush=True)
    chosen = np.flatnonzero(~pictures.held_out())
    if arguments.first is not None:
        first, _ = read_network(arguments.first, None, plain=True)
    else:
        first = first_stage(arguments, pictures)
        export(first, finished(first, pictures, chosen, SIDE), run / FIRST_WEIGHTS)
    network = narrowed(first, pictures, chosen)
    ranges = finished(network, pictures, chosen, SIDE)
    plan = replace(SECOND, steps=arguments.second_steps, size=arguments.size)
    (run / "second").mkdir(exist_ok=True)
    teacher = Teacher(as_embedder(network, ranges), pictures)
    train_student(plan, pictures, teacher, network, run / "second", arguments.workers, backbone())
    path = run / copy_descriptor.WEIGHTS.name
    print(f"{path}: {export(network, finished(network, pictures, chosen, plan.run_side), path)}")
    if arguments.install:
        shutil.copyfile(path, copy_descriptor.WEIGHTS)
        logs = [path for path in (run / LOG, run / "second" / LOG) if path.exists()]
        copy_descriptor.WEIGHTS.with_suffix(".log.jsonl").write_text("".join(p.read_text() for p in logs))


def backbone() -> dict[str, torch.Tensor]:
    """The tensors of its layers, as they are before any training."""
    first, rest = efficientnet.build(efficientnet.find_weights())
    state = CopyNetwork(first, rest).state_dict()
    return {name: tensor for name, tensor in state.items() if name.startswith(("first.", "rest."))}


def first_stage(arguments: argparse.Namespace, pictures: Pictures) -> CopyNetwork:
    """The backbone, trained on edits."""
    plan = replace(FIRST, steps=arguments.steps, size=arguments.size, seed=arguments.seed)
    torch.manual_seed(plan.seed)
    network = CopyNetwork(*efficientnet.build(efficientnet.find_weights()), plain=True)
    network.to(memory_format=torch.channels_last)
    whitened(network, pictures.features[~pictures.held_out()])
    return train(plan, pictures, network, arguments.run, arguments.workers)


def narrowed(network: CopyNetwork, pictures: Pictures, chosen: NDArray[np.int64]) -> CopyNetwork:
    """The network of a first stage with the principal half of its numbers beside structure and colours."""
    narrow = CopyNetwork(network.first, network.rest)
    narrow.projection = network.projection
    set_parts(narrow, pictures, chosen)
    evened_out(narrow, pictures, chosen, power=0.0, count=copy_descriptor.TRAINED_DIM)
    return narrow


def as_embedder(network: CopyNetwork, ranges: torch.Tensor) -> CopyDescriptorEmbedder:
    """A copy of the network as it is run on this machine."""
    precision = choose_precision("auto", "cpu", quantised=True)
    return CopyDescriptorEmbedder(deepcopy(network), "cpu", precision, ranges=ranges)


def finished(network: CopyNetwork, pictures: Pictures, chosen: NDArray[np.int64], side: int) -> torch.Tensor:
    """Give a trained network its background; gives the ranges of its maps, float32 [k, 2]."""
    network.background.copy_(background_rows(network, pictures, chosen, side))
    return measured_ranges(network, pictures, chosen, (side,))


def pictures_of(packages: Path, folder: Path, most: int = MOST_PER_PACKAGE) -> Pictures:
    """The small pictures in a folder, which are made there if they are not."""
    if not (folder / "names.json").exists():
        save_pictures(packages, folder, load_model(efficientnet.NAME, device="cpu"), most)
    return open_pictures(folder)


def keep_freed_memory() -> None:
    """Never give memory back to the kernel, where glibc is: each step's layers take gigabytes once more.

    The kernel zeroes what it gives, which takes a third of a step. The numbers are those of malloc.h.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: no block of its own for any allocation.
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def export(network: CopyNetwork, ranges: torch.Tensor, path: Path) -> str:
    """Write the network and its ranges in float16; gives the digest."""
    tensors = {**network.state_dict(), copy_descriptor.RANGES: ranges}
    state = {name: tensor.detach().half().contiguous() for name, tensor in tensors.items()}
    save_file(state, path)
    return weights.digest(state)


def add_arguments(parser: argparse.ArgumentParser, plan: Plan | StudentPlan) -> None:
    """What every training is told; the plan says what is taken otherwise."""
    parser.add_argument("packages", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=plan.steps)
    parser.add_argument("--size", type=int, default=plan.size)
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--workers", type=int, default=1, help="processes that edit pictures")
    parser.add_argument("--install", action="store_true")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser, FIRST)
    parser.add_argument("--most", type=int, default=MOST_PER_PACKAGE, help="pictures of one package")
    parser.add_argument("--first", type=Path, help="weights of a first stage")
    parser.add_argument("--second-steps", type=int, default=SECOND.steps)
    return parser.parse_args()


if __name__ == "__main__":
    main()
