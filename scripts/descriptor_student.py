"""A slimmer network that learns what a copy descriptor says of edited pictures.

It is trained for one side of squares. Its losses: what a plain and an edited picture give should be what the
teacher gives for them (distillation); an edited picture must find its plain one among all that the teacher
says of all training pictures; and kinds stay together, as in `descriptor_training`. What the teacher says of
all is computed once: a step has thousands of strangers, evened out and at rest, for the price of a product. A
slimmer student begins with the blocks and channels of its teacher that count most.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import interpolate, normalize

from scripts.descriptor_batches import Batch, Steps, inner_part
from scripts.descriptor_losses import likeness, plain_found
from scripts.descriptor_pictures import Pictures
from scripts.descriptor_training import (
    LOG,
    Kin,
    Rates,
    evened_out,
    optimizer_for,
    resume,
    save,
    set_rates,
    write,
)
from scripts.descriptor_validation import network_embed, rows_of, validate
from twinlens.engine.types import Embedder
from twinlens.models.copy_descriptor import SIDE, CopyNetwork
from twinlens.models.efficientnet import scaled
from twinlens.models.lite import STAGES, Block, Convolution, Stage, layers

ENDED = "evened out"
INNER_WEIGHT = 0.6
"""Of what a teacher says of the inner part of a picture, beside the whole."""


@dataclass(frozen=True, kw_only=True)
class StudentPlan(Rates):
    """All that a run depends on, beside its pictures, which come with edited copies, and its teacher.

    Attributes:
        side: of the squares that the student sees, px.
        likeness: weight of the distances to the teacher's rows beside the contrast.
        kinship: weight of the neighbourhoods in plain features.
        whitening: power of the partial whitening of its rows at the end.
        saved_every, validated_every: steps.
    """

    side: int
    backbone_rate: float = 2e-3
    likeness: float = 10.0
    kinship: float = 2.0
    whitening: float = 0.25
    saved_every: int = 25
    validated_every: int = 400


class Teacher:
    """What the copy descriptor says, without the constant that it appends.

    It looks twice, at the whole picture and at the inner part of it, and gives the mean: what is true of both
    holds for crops and for what stands in a frame.
    """

    def __init__(self, embedder: Embedder, pictures: Pictures) -> None:
        self._embedder = embedder
        shown = (pictures.image(index) for index in range(len(pictures)))
        self.rows = torch.from_numpy(rows_of(self._rows_of_images, shown))

    def rows_of(self, edited: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
        """Unit rows, float32 [n, 511], of two uint8 [n, 3, 192, 192]."""
        return _both(self._seen(edited), self._seen(inner))

    def _seen(self, pixels: torch.Tensor) -> torch.Tensor:
        squares = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        return _without_constant(self._embedder.embed_prepared(list(squares)))

    def _rows_of_images(self, images: Sequence[Any]) -> NDArray[np.float32]:
        seen = [
            _without_constant(self._embedder.embed_images([np.asarray(image) for image in shown]))
            for shown in (images, [inner_part(image) for image in images])
        ]
        rows: NDArray[np.float32] = _both(*seen).numpy()
        return rows


def _both(whole: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    return normalize(whole + INNER_WEIGHT * inner, dim=1)


def _without_constant(vectors: NDArray[np.float32]) -> torch.Tensor:
    return normalize(torch.from_numpy(vectors)[:, :-1], dim=1)


# --- the network


def slimmed(network: CopyNetwork, stages: Sequence[Stage], pixels: torch.Tensor) -> CopyNetwork:
    """A network with fewer blocks and wide channels, which are taken from the larger one.

    Of each stage the first blocks stay, and of a block's wide channels those that count most in what it gives
    for these pixels, uint8 [n, 3, side, side] (root of the mean square of a channel, times the length of the
    weights that take it up).
    """
    stem, *blocks, head = network.layers
    wanted = iter([block for block in nn.Sequential(*layers(stages)).modules() if isinstance(block, Block)])
    with torch.no_grad():
        maps = stem(scaled(pixels))
        kept: list[nn.Module] = []
        for block, stays in _with_places(blocks, stages):
            if stays:
                kept.append(_narrowed(block, next(wanted), maps))
            maps = block(maps)
    slim = CopyNetwork(nn.Sequential(stem, kept[0]), nn.Sequential(*kept[1:], head))
    slim.projection = network.projection
    slim.structure, slim.palette = network.structure, network.palette
    return slim


def _with_places(blocks: Sequence[nn.Module], stages: Sequence[Stage]) -> Iterator[tuple[Block, bool]]:
    iterator = iter(blocks)
    for stage, slim in zip(STAGES, stages, strict=True):
        for number in range(stage.blocks):
            block = next(iterator)
            assert isinstance(block, Block)
            yield block, number < slim.blocks


def _narrowed(block: Block, slim: Block, maps: torch.Tensor) -> Block:
    """`slim` with the weights of `block` for the channels that count most in these maps."""
    if not isinstance(block.widen, Convolution):
        return block
    size = block.filter(block.widen(maps)).pow(2).mean(dim=(0, 2, 3)).sqrt()
    counts = size * block.narrow.weight[:, :, 0, 0].norm(dim=0)
    chosen = counts.topk(slim.filter.out_channels).indices.sort().values
    slim.widen.load_state_dict(_taken(block.widen, chosen))
    slim.filter.load_state_dict(_taken(block.filter, chosen))
    slim.narrow.load_state_dict({"weight": block.narrow.weight[:, chosen], "bias": block.narrow.bias})
    return slim


def _taken(layer: Convolution, outputs: torch.Tensor) -> dict[str, Any]:
    assert layer.bias is not None
    return {"weight": layer.weight[outputs], "bias": layer.bias[outputs]}


# --- the training


def train_student(
    plan: StudentPlan,
    pictures: Pictures,
    teacher: Teacher,
    network: CopyNetwork,
    folder: Path,
    workers: int,
) -> CopyNetwork:
    """Train, or go on training, and leave checkpoints and a log in `folder`."""
    held_out = pictures.held_out()
    chosen, tested = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    optimizer = optimizer_for(network, plan)
    saved = resume(asdict(plan), network, optimizer, folder)
    step: int = 0 if saved is None else saved["step"]
    network.train()
    steps = Steps(pictures, chosen, plan.size, (SIDE,), plan.seed, looked_at_twice=True)
    batches = steps.loaded(range(step, plan.steps), workers)
    lesson = Lesson(plan, Kin(pictures), teacher, torch.from_numpy(chosen))
    with (folder / LOG).open("a") as log:
        if step == 0:
            write(log, {"plan": asdict(plan), "pictures": len(chosen), "held out": len(tested)})
            write(log, _validated(plan, step, network, pictures, tested))
        started = time.monotonic()
        for batch in batches:
            set_rates(optimizer, step, plan)
            losses = lesson.step(network, optimizer, batch)
            step += 1
            write(log, {"step": step, **losses, "seconds": round(time.monotonic() - started, 2)})
            if step % plan.saved_every == 0 or step == plan.steps:
                save(asdict(plan), network, optimizer, folder, step=step)
            if step % plan.validated_every == 0 or step == plan.steps:
                write(log, _validated(plan, step, network, pictures, tested))
        # What was saved goes on from before this.
        evened_out(network, pictures, chosen, plan.side, plan.whitening)
        write(log, {ENDED: True, **_validated(plan, step, network, pictures, tested)})
    return network


@dataclass(frozen=True)
class Lesson:
    """What a step is made of.

    Attributes:
        chosen: int64 [m], the training pictures.
    """

    plan: StudentPlan
    kin: Kin
    teacher: Teacher
    chosen: torch.Tensor

    def step(self, network: CopyNetwork, optimizer: torch.optim.AdamW, batch: Batch) -> dict[str, float]:
        """Change the network; gives the losses."""
        rows = network(shrunk(torch.cat([batch.plain, batch.edited]), self.plan.side))
        plain, edited = rows[: len(batch.ids)], rows[len(batch.ids) :]
        related = self.kin.related(batch.ids, batch.ids)
        related_memory = self.kin.related(batch.ids, self.chosen)
        memory = self.teacher.rows[self.chosen]
        losses = {
            "contrast": plain_found(plain, edited, memory, related, related_memory),
            "plain": _distance(plain, self.teacher.rows[batch.ids]),
            "edited": _distance(edited, self.teacher.rows_of(batch.edited, batch.inner)),
            "kinship": self._kinship(batch.ids, plain),
        }
        total = (
            losses["contrast"]
            + self.plan.likeness * (losses["plain"] + losses["edited"])
            + self.plan.kinship * losses["kinship"]
        )
        optimizer.zero_grad()
        torch.autograd.backward(total)
        optimizer.step()
        return {name: round(loss.item(), 4) for name, loss in losses.items()}

    def _kinship(self, ids: torch.Tensor, plain: torch.Tensor) -> torch.Tensor:
        """How far neighbourhoods are from those in plain features, among all that are not in this step."""
        others = self.chosen[~torch.isin(self.chosen, ids)]
        return likeness(plain, self.kin.teacher[ids], self.teacher.rows[others], self.kin.teacher[others])


def shrunk(pixels: torch.Tensor, side: int) -> torch.Tensor:
    """Squares uint8 [n, 3, larger, larger] as squares of this side, uint8 [n, 3, side, side]."""
    if pixels.shape[-1] == side:
        return pixels
    smaller = interpolate(pixels.float(), (side, side), mode="bilinear", antialias=True)
    return smaller.round().clamp(0, 255).to(torch.uint8)


def _distance(rows: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean cosine distance of unit rows [n, dim] to those that are wanted."""
    return (1 - (rows * wanted).sum(dim=1)).mean()


def _validated(
    plan: StudentPlan, step: int, network: CopyNetwork, pictures: Pictures, tested: NDArray[np.int64]
) -> dict[str, Any]:
    network.eval()
    scores = validate(network_embed(network, plan.side), pictures, tested, plan.seed)
    network.train()
    rounded = {name: round(value, 4) for name, value in asdict(scores).items()}
    return {"step": step, f"at {plan.side} px": rounded}
