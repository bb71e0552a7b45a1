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
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from scripts.descriptor_batches import Batch, Steps
from scripts.descriptor_kin import Kin, nearest_strangers, twins
from scripts.descriptor_losses import contrast, likeness, spread
from scripts.descriptor_pictures import Pictures
from scripts.descriptor_validation import network_embed, validate
from scripts.descriptor_whitening import evened_out
from twinlens.models.copy_descriptor import CopyNetwork

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
SMALLEST_SCALE = 1e-3
SHARE_OF_START = 0.15
_KEPT = ("step", "memory_ids", "memory_rows", "near", "twins")
PAUSED, ENDED = "twins found", "drawn back and evened out"


@dataclass(frozen=True)
class Plan:
    """All that a run depends on, beside its pictures.

    Attributes:
        steps: how many.
        size: pictures in a step; each comes with its edited copies.
        sides: of the squares that the network sees, px; each step draws one, so that the network can be
            run at any of them, and so that more steps fit into an hour.
        seed: of everything that is drawn.
        backbone_rate, head_rate: how far a step may move a tensor, as a share of its own size.
        spread_weight: of this loss beside the contrast.
        likeness_weights: of this one, before and after `likeness_rises`: copies are brought together
            first, while the rates are high, then kinds are.
        likeness_rises: a step.
        pauses: steps after which the rows are evened out, and twins and neighbours looked for anew.
        memory: how many earlier pictures are further strangers.
        warm_up: steps until the rates are at their highest.
        decay: weight decay of AdamW.
        saved_every, validated_every: steps.
    """

    steps: int = 2200
    size: int = 48
    sides: tuple[int, ...] = (160, 160, 128, 112)
    seed: int = 1
    backbone_rate: float = 1.5e-3
    head_rate: float = 3e-3
    spread_weight: float = 0.5
    likeness_weights: tuple[float, float] = (0.5, 2.0)
    likeness_rises: int = 450
    pauses: tuple[int, ...] = (550, 1100, 1650)
    memory: int = 3072
    warm_up: int = 20
    decay: float = 0.02
    saved_every: int = 25
    validated_every: int = 1100


@dataclass
class State:
    """What a checkpoint holds.

    Attributes:
        network: is trained.
        optimizer: of its tensors.
        step: how many were taken.
        memory_ids: int64 [m], pictures of the last steps.
        memory_rows: float32 [m, dim], theirs.
        near: int64 [n, NEIGHBOURS], the nearest strangers of each picture that is trained on, by place.
        twins: int64 [k, 2], pictures that are no strangers, as the network itself sees them.
    """

    network: CopyNetwork
    optimizer: torch.optim.AdamW
    step: int
    memory_ids: torch.Tensor
    memory_rows: torch.Tensor
    near: torch.Tensor
    twins: torch.Tensor


def train(plan: Plan, pictures: Pictures, network: CopyNetwork, folder: Path, workers: int) -> CopyNetwork:
    """Train, or go on training, and leave checkpoints and a log in `folder`."""
    held_out = pictures.held_out()
    chosen, tested = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    kin = Kin(pictures)
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = _resumed(plan, network, folder, nearest_strangers(kin, chosen, kin.teacher[chosen]))
    kin.meet(state.twins)
    network.train()
    with (folder / LOG).open("a") as log:
        if state.step == 0:
            _write(log, {"plan": asdict(plan), "pictures": len(chosen), "held out": len(tested)})
            _write(log, _validated(plan, state, pictures, tested))
        started = time.monotonic()
        for first, last in pairwise([0, *(step for step in plan.pauses if step < plan.steps), plan.steps]):
            if first and state.step == first:
                _write(log, {"step": first, PAUSED: pause(state, kin, pictures, chosen)})
            steps = Steps(pictures, chosen, state.near.numpy(), plan.size, plan.sides, plan.seed)
            for batch in _loaded(steps, range(state.step, last), workers):
                losses = take_step(plan, state, kin, batch)
                seconds = round((time.monotonic() - started), 2)
                _write(log, {"step": state.step, **losses, "seconds": seconds})
                if state.step % plan.saved_every == 0 or state.step == last:
                    _save(plan, state, folder)
                if state.step % plan.validated_every == 0 or state.step == plan.steps:
                    _write(log, _validated(plan, state, pictures, tested))
        # What was saved goes on from before this.
        drawn_back(network, start)
        evened_out(network, pictures, chosen)
        _write(log, {ENDED: True, **_validated(plan, state, pictures, tested)})
    return network


def pause(state: State, kin: Kin, pictures: Pictures, chosen: NDArray[np.int64]) -> int:
    """Even out the rows, and see with them who is a twin of whom and whose neighbour; gives how many pairs.

    Plain features overlook some twins, which would be pushed apart as strangers. And strangers that the
    network still takes for copies teach it most.
    """
    rows = evened_out(state.network, pictures, chosen)
    for tensor in state.network.projection.parameters():
        state.optimizer.state.pop(tensor, None)
    found = twins(kin, chosen, rows)
    kin.meet(found)
    state.twins = torch.cat([state.twins, found])
    state.near = nearest_strangers(kin, chosen, rows)
    state.memory_rows = rows[np.searchsorted(chosen, state.memory_ids.numpy())]
    return len(found)


def take_step(plan: Plan, state: State, kin: Kin, batch: Batch) -> dict[str, float]:
    """One step: changes `state` and gives the losses."""
    _set_rates(plan, state)
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


def drawn_back(network: CopyNetwork, start: Mapping[str, torch.Tensor]) -> None:
    """End a part of the way back to where the training started.

    Networks along that way know more of what either end knows than a longer or shorter training would teach
    (Wortsman et al., Robust fine-tuning of zero-shot models, https://arxiv.org/abs/2109.01903): here, what
    things are.
    """
    trained = network.state_dict()
    network.load_state_dict({name: torch.lerp(trained[name], start[name], SHARE_OF_START) for name in start})


def _optimizer(plan: Plan, network: CopyNetwork) -> torch.optim.AdamW:
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


def _set_rates(plan: Plan, state: State) -> None:
    """A straight rise, then half a cosine."""
    rise = min(1.0, (state.step + 1) / plan.warm_up)
    fall = 0.5 * (1 + math.cos(math.pi * state.step / plan.steps))
    for group in state.optimizer.param_groups:
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


def _loaded(steps: Steps, numbers: range, workers: int) -> DataLoader[Batch]:
    ahead = 3 if workers else None
    return DataLoader(steps, batch_size=None, sampler=numbers, num_workers=workers, prefetch_factor=ahead)


def _resumed(plan: Plan, network: CopyNetwork, folder: Path, near: torch.Tensor) -> State:
    """The state of the last checkpoint, and the log cut back to it; else a new state."""
    optimizer = _optimizer(plan, network)
    path = folder / CHECKPOINT
    if not path.exists():
        (folder / LOG).write_text("")
        nobody = torch.zeros(0, dtype=torch.long)
        rows = torch.zeros(0, network.projection.out_features)
        return State(network, optimizer, 0, nobody, rows, near, nobody.reshape(0, 2))
    saved = torch.load(path, weights_only=True)
    if saved["plan"] != asdict(plan):
        raise SystemExit(f"{path} is of another plan ({saved['plan']}): give another folder")
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    _cut_log(folder / LOG, saved["step"])
    return State(network, optimizer, *(saved[name] for name in _KEPT))


def _save(plan: Plan, state: State, folder: Path) -> None:
    fresh = folder / f"{CHECKPOINT}.new"
    torch.save(
        {
            "plan": asdict(plan),
            "network": state.network.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            **{name: getattr(state, name) for name in _KEPT},
        },
        fresh,
    )
    os.replace(fresh, folder / CHECKPOINT)


def _cut_log(path: Path, step: int) -> None:
    """Without what came after a step: a pause right then and the end come again."""
    lines = [(line, json.loads(line)) for line in path.read_text().splitlines()]
    kept = (
        line
        for line, entry in lines
        if entry.get("step", 0) <= step - (PAUSED in entry) and ENDED not in entry
    )
    path.write_text("".join(f"{line}\n" for line in kept))


def _write(log: Any, entry: dict[str, Any]) -> None:
    log.write(json.dumps(entry) + "\n")
    log.flush()
