"""Train the network that finds the picture in a frame.

    python -m scripts.train_frames PACKAGES RUN [--seed 1]

PACKAGES and RUN are those of `scripts/train_descriptor.py`, whose small pictures are used again. RUN/frames
gets checkpoints and log.jsonl, and in the end frames.safetensors with its digest. Started again, it goes on
where it stopped. `--install` puts weights and log beside `models/frames.py`, which states the digest.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils.fusion import fuse_conv_bn_eval

from scripts.descriptor_training import LOG, Schedule, resume, save, set_rates, write
from scripts.frame_samples import Samples, made
from scripts.train_descriptor import add_arguments, begun_run, install, planned, save_half
from twinlens.models import frames
from twinlens.models.frames import Filter, FrameFinder, Rectangles, rectangles

FOUND, FRAMED = 0.9, 0.8
"""Intersection over union of two rectangles that are one, and of cells and the rectangle they make up."""

AREAS = (0.08, 0.92)
"""Shares of a square that framed pictures have which are counted."""

TINY = 1e-6

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class FramePlan(Schedule):
    """All that a run depends on, beside its pictures.

    Attributes:
        rounds: samples of each picture.
        rate: of AdamW, at its highest.
        clipped: largest length of all gradients together.
        saved_every: steps.
    """

    steps: int = 16_000
    warm_up: int = 1_000
    rounds: int = 10
    size: int = 64
    seed: int = 1
    rate: float = 3e-3
    clipped: float = 1.0
    saved_every: int = 500


PLAN = FramePlan()


def main() -> None:
    arguments = _arguments()
    pictures = begun_run(arguments)
    folder: Path = arguments.run / "frames"
    folder.mkdir(exist_ok=True)
    plan = replace(planned(PLAN, arguments), rounds=arguments.rounds)
    held_out = pictures.held_out()
    samples, tests = (
        made(
            arguments.run / "pictures",
            np.flatnonzero(chosen),
            f"{plan.seed} {name}",
            rounds,
            arguments.workers,
        )
        for name, chosen, rounds in (("taught", ~held_out, plan.rounds), ("tested", held_out, 3))
    )
    network = train(plan, samples, tests, folder)
    path = folder / frames.WEIGHTS.name
    print(f"{path}: {export(network, path)}")
    if arguments.install:
        install(path, folder / LOG, frames.WEIGHTS)


def train(plan: FramePlan, samples: Samples, tests: Samples, folder: Path) -> FrameFinder:
    """Train, or go on training, and leave checkpoints and a log in `folder`; gives the folded network."""
    torch.manual_seed(plan.seed)
    network = normalised(FrameFinder()).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        [{"params": list(network.parameters()), "lr": 0.0, "highest": plan.rate}], weight_decay=plan.decay
    )
    saved = resume(asdict(plan), network, optimizer, folder)
    step: int = 0 if saved is None else saved["step"]
    with (folder / LOG).open("a") as log:
        if step == 0:
            write(log, {"plan": asdict(plan), "samples": len(samples.squares), "tested": len(tests.squares)})
        started, losses = time.monotonic(), []
        for squares, cells in batches(plan, samples, step):
            set_rates(optimizer, step, plan)
            losses.append(take_step(plan, network, optimizer, squares, cells))
            step += 1
            if step % plan.saved_every == 0 or step == plan.steps:
                save(asdict(plan), network, optimizer, folder, step=step)
                scores = validate(network, tests)
                seconds = round(time.monotonic() - started, 2)
                write(
                    log,
                    {"step": step, "loss": round(float(np.mean(losses)), 4), **scores, "seconds": seconds},
                )
                losses.clear()
    return folded(network)


def take_step(
    plan: FramePlan,
    network: FrameFinder,
    optimizer: torch.optim.AdamW,
    squares: torch.Tensor,
    cells: torch.Tensor,
) -> float:
    """One step: changes the network and gives the mean cross-entropy of cells."""
    loss = binary_cross_entropy_with_logits(network(squares), cells)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(network.parameters(), plan.clipped)
    optimizer.step()
    return loss.item()


def batches(plan: FramePlan, samples: Samples, first: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Squares uint8 [n, 3, 96, 96] and cells float32 [n, 24, 24] of each step, mirrored, turned, recoloured.

    A batch depends on the seed and the number of its step alone.
    """
    count = len(samples.squares)
    each = count // plan.size
    for step in range(first, plan.steps):
        order = np.random.default_rng([plan.seed, step // each]).permutation(count)
        start = step % each * plan.size
        places = order[start : start + plan.size]
        squares = torch.from_numpy(samples.squares[places]).permute(0, 3, 1, 2)
        cells = torch.from_numpy(samples.cells[places]).to(torch.float32) / 255
        chance = Random(f"{plan.seed} step {step}")
        if chance.random() < 0.5:
            squares, cells = squares.flip(3), cells.flip(2)
        if chance.random() < 0.25:
            squares, cells = squares.flip(2), cells.flip(1)
        if chance.random() < 0.3:
            squares, cells = squares.transpose(2, 3), cells.transpose(1, 2)
        if chance.random() < 0.3:
            squares = squares[:, chance.sample(range(3), 3)]
        yield squares, cells


def validate(network: FrameFinder, tests: Samples) -> dict[str, float]:
    """Which share of framed pictures is found where it lies, and of others is taken for framed."""
    network.eval()
    found, true = [], []
    with torch.inference_mode():
        for start in range(0, len(tests.squares), BATCH):
            squares = torch.from_numpy(tests.squares[start : start + BATCH]).permute(0, 3, 1, 2)
            found.append(rectangles(torch.sigmoid(network(squares))))
            true.append(rectangles(torch.from_numpy(tests.cells[start : start + BATCH]) / 255))
    network.train()
    said, truth = (Rectangles(*map(torch.cat, zip(*each, strict=True))) for each in (found, true))
    framed, said_framed = (_framed(each) for each in (truth, said))
    right = said_framed & (shared(said.boxes, truth.boxes) >= FOUND)
    whole = _areas(truth) > AREAS[1]
    return {
        "found": round(right[framed].float().mean().item(), 4),
        "wrong": round(said_framed[whole].float().mean().item(), 4),
    }


def _framed(found: Rectangles) -> torch.Tensor:
    """Bool [n]: which rectangles are pictures in a frame."""
    areas = _areas(found)
    return (found.agreement >= FRAMED) & (areas >= AREAS[0]) & (areas <= AREAS[1])


def _areas(found: Rectangles) -> torch.Tensor:
    return (found.boxes[:, 2:] - found.boxes[:, :2]).prod(dim=1)


def shared(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Intersection over union of boxes [n, 4] and others, [n]."""
    low, high = torch.maximum(boxes[:, :2], others[:, :2]), torch.minimum(boxes[:, 2:], others[:, 2:])
    both = (high - low).clamp(min=0).prod(dim=1)
    areas = [(each[:, 2:] - each[:, :2]).prod(dim=1) for each in (boxes, others)]
    return both / (areas[0] + areas[1] - both).clamp(min=TINY)


def normalised(network: FrameFinder) -> FrameFinder:
    """Put a batch normalisation behind each convolution but the last, before its activation, in place."""
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, Filter) and layer is not network.last:
                parts = OrderedDict[str, nn.Module](layer=layer, norm=nn.BatchNorm2d(layer.out_channels))
                if layer.activated:
                    layer.activated, parts["activation"] = False, nn.ReLU()
                setattr(parent, name, nn.Sequential(parts))
    return network


def folded(network: FrameFinder) -> FrameFinder:
    """A network whose convolutions do what those and their normalisations did; in inference alone."""
    for parent in list(network.eval().modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Sequential) and isinstance(norm := layer[1], nn.BatchNorm2d):
                convolution = layer[0]
                assert isinstance(convolution, Filter)
                whole = fuse_conv_bn_eval(convolution, norm)
                whole.activated = len(layer) > 2
                setattr(parent, name, whole)
    return network


def export(network: FrameFinder, path: Path) -> str:
    """Write a folded network in float16; gives the digest."""
    return save_half(network.state_dict(), path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser, PLAN)
    parser.add_argument("--rounds", type=int, default=PLAN.rounds, help="samples of each picture")
    parser.set_defaults(workers=os.cpu_count())
    return parser.parse_args()


if __name__ == "__main__":
    main()
