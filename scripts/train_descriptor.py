"""Train the copy descriptor from the backbone's ImageNet weights.

    python -m scripts.train_descriptor PACKAGES RUN [--seed 1]

PACKAGES holds an unpacked Debian package (`dpkg -x`) in each of the folders that
`scripts/descriptor_pictures.py` names. RUN gets the small pictures, checkpoints and a log.jsonl, and in the
end copy_descriptor.safetensors with its digest. Started again, it goes on where it stopped. At last the
principal half of what was learnt stands beside the structure of pictures and their colours. `--install` puts
weights and log beside `models/copy_descriptor.py`, which states the digest.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

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
from scripts.descriptor_training import LOG, Learner, Plan, Schedule, evened_out, train, whitened
from twinlens.models import copy_descriptor, efficientnet, load_model, weights
from twinlens.models.copy_descriptor import SIDE, CopyNetwork

PLAN = Plan()

AnyPlan = TypeVar("AnyPlan", bound=Schedule)

WHITENING = 0.05
"""Power of the partial whitening of the half that stays."""


def main() -> None:
    arguments = _arguments()
    run: Path = arguments.run
    pictures = begun_run(arguments, arguments.most)
    chosen = np.flatnonzero(~pictures.held_out())
    network = narrowed(trained(arguments, pictures), pictures, chosen)
    path = run / copy_descriptor.WEIGHTS.name
    print(f"{path}: {export(network, finished(network, pictures, chosen, SIDE), path)}")
    if arguments.install:
        install(path, run / LOG, copy_descriptor.WEIGHTS)


def begun_run(arguments: argparse.Namespace, most: int = MOST_PER_PACKAGE) -> Pictures:
    """Set up the process of any training; gives its small pictures and says what they are."""
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    pictures = pictures_of(arguments.packages, arguments.run / "pictures", most)
    print(composition(pictures), flush=True)
    return pictures


def planned(plan: AnyPlan, arguments: argparse.Namespace) -> AnyPlan:
    """A plan with what was told otherwise."""
    return replace(plan, steps=arguments.steps, size=arguments.size, seed=arguments.seed)


def install(path: Path, log: Path, weights_file: Path) -> None:
    """Put weights and their log where the package reads them."""
    shutil.copyfile(path, weights_file)
    shutil.copyfile(log, weights_file.with_suffix(".log.jsonl"))


def trained(arguments: argparse.Namespace, pictures: Pictures) -> Learner:
    """The backbone, trained on edits."""
    plan = planned(PLAN, arguments)
    torch.manual_seed(plan.seed)
    network = Learner(*efficientnet.build(efficientnet.find_weights()))
    network.to(memory_format=torch.channels_last)
    whitened(network, pictures.features[~pictures.held_out()])
    return train(plan, pictures, network, arguments.run, arguments.workers)


def narrowed(
    network: Learner, pictures: Pictures, chosen: NDArray[np.int64], power: float = WHITENING
) -> CopyNetwork:
    """A trained network with the principal half of its numbers beside structure and colours."""
    narrow = CopyNetwork(network.first, network.rest)
    narrow.projection = network.projection
    set_parts(narrow, pictures, chosen)
    evened_out(narrow, pictures, chosen, power=power, count=copy_descriptor.TRAINED_DIM)
    return narrow


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
    return save_half({**network.state_dict(), copy_descriptor.RANGES: ranges}, path)


def save_half(tensors: Mapping[str, torch.Tensor], path: Path) -> str:
    """Write tensors in float16; gives the digest."""
    state = {name: tensor.detach().half().contiguous() for name, tensor in tensors.items()}
    save_file(state, path)
    return weights.digest(state)


def add_arguments(parser: argparse.ArgumentParser, plan: Schedule) -> None:
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
    add_arguments(parser, PLAN)
    parser.add_argument("--most", type=int, default=MOST_PER_PACKAGE, help="pictures of one package")
    return parser.parse_args()


if __name__ == "__main__":
    main()
