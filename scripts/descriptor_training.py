"""The training of the descriptor: steps, learning rates, checkpoints.

A run is a folder. It goes on from its last checkpoint, and ends with the same weights as one that was
never interrupted, on the same machine with as many threads.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import normalize

from scripts.descriptor_batches import Batch, Steps
from scripts.descriptor_losses import contrast, likeness, spread
from scripts.descriptor_pictures import Pictures
from scripts.descriptor_validation import network_embed, rows_of, validate
from twinlens.models.copy_descriptor import ROW_DIM, SIDE, CopyNetwork

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
SMALLEST_SCALE = 1e-3
WHITENING, FINAL_WHITENING = 0.35, 0.25
SHARE_OF_START = 0.2
ENDED = "drawn back and evened out"
SMALLEST_VARIANCE = 1e-8


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What every training has: steps, what they see, and how rates rise and fall.

    Attributes:
        steps: how many.
        size: pictures in a step.
        seed: of everything that is drawn.
        warm_up: steps until the rates are at their highest.
        decay: weight decay of AdamW.
    """

    steps: int
    size: int = 48
    seed: int
    warm_up: int = 20
    decay: float = 0.02


@dataclass(frozen=True, kw_only=True)
class Rates(Schedule):
    """How far each step goes.

    Attributes:
        backbone_rate, head_rate: how far one may move a tensor, as a share of its own size.
    """

    backbone_rate: float
    head_rate: float = 3e-3


@dataclass(frozen=True, kw_only=True)
class Plan(Rates):
    """All that a run depends on, beside its pictures, each of which comes with its edited copies.

    Attributes:
        sides: of the squares that the network sees, px; each step draws one, so that the network can be
            run at any of them, and so that more steps fit into an hour.
        spread_weight: of this loss beside the contrast.
        likeness_weights: of this one, before and after `likeness_rises`: copies are brought together
            first, while the rates are high, then kinds are.
        likeness_rises: a step.
        memory: how many earlier pictures are further strangers.
        saved_every, validated_every: steps.
    """

    steps: int = 1800
    sides: tuple[int, ...] = (160, 160, 128, 112)
    seed: int = 1
    backbone_rate: float = 1.5e-3
    spread_weight: float = 0.5
    likeness_weights: tuple[float, float] = (0.5, 2.0)
    likeness_rises: int = 325
    memory: int = 3072
    saved_every: int = 25
    validated_every: int = 300


class Learner(CopyNetwork):
    """A copy network in its training: all of a row is learnt, twice as many numbers as will stay."""

    def __init__(self, first: nn.Sequential, rest: nn.Sequential) -> None:
        super().__init__(first, rest)
        self.projection = nn.Linear(self.projection.in_features, ROW_DIM)

    def rows(self, maps: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """Unit rows, float32 [n, 511], of the last feature maps."""
        return self.projected(maps)


@dataclass
class State:
    """What a checkpoint holds."""

    network: Learner
    optimizer: torch.optim.AdamW
    step: int
    memory_ids: torch.Tensor
    memory_rows: torch.Tensor


class Kin:
    """Who is no stranger to whom, and what plain features say of all pictures."""

    def __init__(self, pictures: Pictures) -> None:
        self._groups = torch.from_numpy(pictures.groups)
        self._whole = torch.from_numpy(pictures.whole)
        features = torch.from_numpy(pictures.features.astype(np.float32))
        self.teacher = normalize(features - features.mean(dim=0), dim=1)

    def related(self, ids: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Bool [n, m]: the same picture, a picture and its cut, or two that one group shows."""
        same_group = self._groups[ids][:, None] == self._groups[others]
        both_cuts = ~self._whole[ids][:, None] & ~self._whole[others]
        same = ids[:, None] == others
        related: torch.Tensor = same | (same_group & ~both_cuts)
        return related


def train(plan: Plan, pictures: Pictures, network: Learner, folder: Path, workers: int) -> Learner:
    """Train, or go on training, and leave checkpoints and a log in `folder`."""
    held_out = pictures.held_out()
    chosen, tested = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    kin = Kin(pictures)
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = _resumed(plan, network, folder)
    network.train()
    steps = Steps(pictures, chosen, plan.size, plan.sides, plan.seed)
    batches = steps.loaded(range(state.step, plan.steps), workers)
    with (folder / LOG).open("a") as log:
        if state.step == 0:
            write(log, {"plan": asdict(plan), "pictures": len(chosen), "held out": len(tested)})
            write(log, _validated(plan, state, pictures, tested))
        started = time.monotonic()
        for batch in batches:
            losses = take_step(plan, state, kin, batch)
            seconds = round((time.monotonic() - started), 2)
            write(log, {"step": state.step, **losses, "seconds": seconds})
            if state.step % plan.saved_every == 0 or state.step == plan.steps:
                _save(plan, state, folder)
            if state.step % plan.validated_every == 0 or state.step == plan.steps:
                write(log, _validated(plan, state, pictures, tested))
        # What was saved goes on from before this.
        drawn_back(network, start, SHARE_OF_START)
        evened_out(network, pictures, chosen)
        write(log, {ENDED: True, **_validated(plan, state, pictures, tested)})
    return network


def take_step(plan: Plan, state: State, kin: Kin, batch: Batch) -> dict[str, float]:
    """One step: changes `state` and gives the losses."""
    set_rates(state.optimizer, state.step, plan)
    rows = state.network(torch.cat([batch.plain, batch.edited]))
    plain, edited = rows[: len(batch.ids)], rows[len(batch.ids) :]
    related, related_memory = kin.related(batch.ids, batch.ids), kin.related(batch.ids, state.memory_ids)
    memory, teacher = state.memory_rows, kin.teacher
    losses = {
        "contrast": contrast(plain, edited, memory, related, related_memory),
        "spread": spread(plain, memory, related, related_memory),
        "likeness": likeness(plain, teacher[batch.ids], memory, teacher[state.memory_ids]),
    }
    likeness_weight = plan.likeness_weights[state.step >= plan.likeness_rises]
    total = losses["contrast"] + plan.spread_weight * losses["spread"] + likeness_weight * losses["likeness"]
    state.optimizer.zero_grad()
    torch.autograd.backward(total)
    state.optimizer.step()
    state.memory_ids = torch.cat([state.memory_ids, batch.ids])[-plan.memory :]
    state.memory_rows = torch.cat([memory, plain.detach()])[-plan.memory :]
    state.step += 1
    return {name: round(loss.item(), 4) for name, loss in losses.items()}


def whitened(network: CopyNetwork, features: NDArray[np.float16]) -> None:
    """Start the projection as a partial whitening of the plain features: their principal axes, evened out."""
    rows = torch.from_numpy(features.astype(np.float32))
    axes, mean = principal_axes(rows, len(network.projection.weight), WHITENING)
    _project(network, axes, -axes @ mean, rows)


def drawn_back(network: CopyNetwork, start: Mapping[str, torch.Tensor], share: float) -> None:
    """End a part of the way back to where the training started, those tensors that are named.

    Networks along that way know more of what either end knows than a longer or shorter training would teach
    (Wortsman et al., Robust fine-tuning of zero-shot models, https://arxiv.org/abs/2109.01903): here, what
    things are.
    """
    trained = network.state_dict()
    moved = {name: torch.lerp(trained[name], tensor, share) for name, tensor in start.items()}
    network.load_state_dict(trained | moved)


def evened_out(
    network: CopyNetwork,
    pictures: Pictures,
    chosen: NDArray[np.int64],
    side: int = SIDE,
    power: float = FINAL_WHITENING,
    count: int | None = None,
) -> None:
    """End with a partial whitening of the rows that were learnt, folded into the projection.

    All of their numbers stay, or so many.

    Training moves all rows to one side, where cosines of strangers are high and unlike: the losses compare
    cosines with each other and see nothing of it. One threshold for all does.
    """
    embed = network_embed(network.pooled, side)
    rows = torch.from_numpy(rows_of(embed, (pictures.image(index) for index in chosen.tolist())))
    weight, bias = network.projection.weight.detach(), network.projection.bias.detach()
    axes, mean = principal_axes(rows @ weight.T + bias, count or len(weight), power)
    _project(network, axes @ weight, axes @ (bias - mean), rows)


def principal_axes(rows: torch.Tensor, count: int, power: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The first principal axes of rows [n, dim], each divided by a power of its variance, and the mean.

    With the power 0.5 that is whitening: all axes vary alike.
    """
    mean = rows.mean(dim=0)
    variances, axes = torch.linalg.eigh(torch.cov((rows - mean).T))
    variances, axes = variances[-count:].flip(0), axes[:, -count:].flip(1)
    return (axes / variances.clamp(min=SMALLEST_VARIANCE) ** power).T, mean


def _project(network: CopyNetwork, weight: torch.Tensor, bias: torch.Tensor, rows: torch.Tensor) -> None:
    """Set the projection, scaled so that rows come out about as long as 1."""
    length = (rows @ weight.T + bias).norm(dim=1).mean()
    network.projection = nn.Linear(weight.shape[1], len(weight))
    with torch.no_grad():
        network.projection.weight.copy_(weight / length)
        network.projection.bias.copy_(bias / length)


def optimizer_for(network: CopyNetwork, plan: Rates) -> torch.optim.AdamW:
    """AdamW with a rate for each tensor in proportion to its size.

    Folding the normalisations left layers of very different sizes; one rate would leave some where they
    are and blow others up.
    """
    groups: list[dict[str, Any]] = []
    for name, tensor in network.named_parameters():
        share = plan.head_rate if name.startswith("projection") else plan.backbone_rate
        scale = max(SMALLEST_SCALE, float(tensor.detach().pow(2).mean().sqrt()))
        groups.append({"params": [tensor], "lr": 0.0, "highest": share * scale})
    return torch.optim.AdamW(groups, weight_decay=plan.decay)


def set_rates(optimizer: torch.optim.AdamW, step: int, plan: Schedule) -> None:
    """A straight rise, then half a cosine."""
    rise = min(1.0, (step + 1) / plan.warm_up)
    fall = 0.5 * (1 + math.cos(math.pi * step / plan.steps))
    for group in optimizer.param_groups:
        group["lr"] = group["highest"] * rise * fall


def _validated(plan: Plan, state: State, pictures: Pictures, tested: NDArray[np.int64]) -> dict[str, Any]:
    state.network.eval()
    entry: dict[str, Any] = {"step": state.step}
    for side in sorted(set(plan.sides)):
        embed = network_embed(state.network, side)
        scores = validate(embed, pictures, tested, plan.seed)
        entry[f"at {side} px"] = {name: round(value, 4) for name, value in asdict(scores).items()}
    state.network.train()
    return entry


def _resumed(plan: Plan, network: Learner, folder: Path) -> State:
    """The state of the last checkpoint, and the log cut back to it; else a new state."""
    optimizer = optimizer_for(network, plan)
    saved = resume(asdict(plan), network, optimizer, folder)
    if saved is None:
        empty = torch.zeros(0, dtype=torch.long)
        return State(network, optimizer, 0, empty, torch.zeros(0, ROW_DIM))
    return State(network, optimizer, saved["step"], saved["memory_ids"], saved["memory_rows"])


def resume(
    plan: Mapping[str, Any], network: nn.Module, optimizer: torch.optim.AdamW, folder: Path
) -> dict[str, Any] | None:
    """Take over the last checkpoint of a folder, give what was saved, and cut the log back to it.

    Raises:
        SystemExit: it is of another plan.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        (folder / LOG).write_text("")
        return None
    saved: dict[str, Any] = torch.load(path, weights_only=True)
    if saved["plan"] != plan:
        raise SystemExit(f"{path} is of another plan ({saved['plan']}): give another folder")
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    _cut_log(folder / LOG, saved["step"])
    return saved


def _save(plan: Plan, state: State, folder: Path) -> None:
    memory = {"memory_ids": state.memory_ids, "memory_rows": state.memory_rows}
    save(asdict(plan), state.network, state.optimizer, folder, step=state.step, **memory)


def save(
    plan: Mapping[str, Any], network: nn.Module, optimizer: torch.optim.AdamW, folder: Path, **more: Any
) -> None:
    """Write a checkpoint for `resume`."""
    fresh = folder / f"{CHECKPOINT}.new"
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({"plan": dict(plan), **state, **more}, fresh)
    os.replace(fresh, folder / CHECKPOINT)


def _cut_log(path: Path, step: int) -> None:
    """Without what came after a step, and without the end, which comes again."""
    lines = [(line, json.loads(line)) for line in path.read_text().splitlines()]
    kept = (line for line, entry in lines if entry.get("step", 0) <= step and ENDED not in entry)
    path.write_text("".join(f"{line}\n" for line in kept))


def write(log: Any, entry: dict[str, Any]) -> None:
    """One line of the log."""
    log.write(json.dumps(entry) + "\n")
    log.flush()
