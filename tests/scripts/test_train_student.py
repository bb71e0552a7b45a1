"""The fast descriptor: begun with what counts in its teacher, taught what that says, and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from scripts.descriptor_batches import Batch, inner_part
from scripts.descriptor_pictures import Pictures
from scripts.descriptor_student import (
    INNER_WEIGHT,
    Lesson,
    StudentPlan,
    Teacher,
    shrunk,
    slimmed,
    train_student,
)
from scripts.descriptor_training import CHECKPOINT, LOG, Kin, optimizer_for
from scripts.train_descriptor import export, finished
from scripts.train_student import begun
from tests.models.squares import pixels_of
from twinlens.models import load_model
from twinlens.models.copy_descriptor import (
    FAST_SIDE,
    NAME,
    SIDE,
    WEIGHTS,
    CopyNetwork,
    read_network,
)
from twinlens.models.lite import SLIM_STAGES, STAGES, Block, Convolution

PLAN = StudentPlan(steps=4, size=4, side=64, seed=5, warm_up=2, saved_every=2, validated_every=4)


def teacher_network() -> CopyNetwork:
    return read_network(WEIGHTS, None)[0].eval()


@pytest.fixture(scope="module")
def teacher(pictures: Pictures) -> Teacher:
    return Teacher(load_model(NAME, device="cpu", precision="float32"), pictures)


@pytest.fixture(scope="module")
def squares(pictures: Pictures) -> torch.Tensor:
    """All pictures, uint8 [n, 3, 192, 192]."""
    return pixels_of([pictures.image(index) for index in range(len(pictures))], SIDE)


@pytest.fixture(scope="module")
def inner(pictures: Pictures) -> torch.Tensor:
    """Their inner parts, alike."""
    return pixels_of([inner_part(pictures.image(index)) for index in range(len(pictures))], SIDE)


def rows_of_both(network: CopyNetwork, squares: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return normalize(network(squares) + INNER_WEIGHT * network(inner), dim=1)


def test_the_teacher_looks_at_the_whole_and_at_the_inner_part(
    teacher: Teacher, squares: torch.Tensor, inner: torch.Tensor
) -> None:
    rows = rows_of_both(teacher_network(), squares, inner)
    assert torch.allclose(teacher.rows, rows, atol=1e-3)
    assert torch.allclose(teacher.rows_of(squares[:3], inner[:3]), rows[:3], atol=1e-3)


def test_the_inner_part_is_the_middle_of_a_picture() -> None:
    x, y = np.meshgrid(np.arange(100, dtype=np.uint8), np.arange(40, dtype=np.uint8))
    inside = np.asarray(inner_part(Image.fromarray(np.stack([x, y, x], axis=2))))
    assert inside.shape == (28, 70, 3)
    assert inside[0, 0].tolist() == [15, 6, 15] and inside[-1, -1].tolist() == [84, 33, 84]
    assert inner_part(Image.new("RGB", (1, 500))).size == (1, 350)


def test_with_all_blocks_and_channels_the_student_is_its_teacher(squares: torch.Tensor) -> None:
    slim = slimmed(teacher_network(), STAGES, squares)
    with torch.inference_mode():
        assert torch.equal(slim(squares), teacher_network()(squares))


def test_channels_that_count_for_nothing_are_left_out(squares: torch.Tensor) -> None:
    network = teacher_network()
    block = network.rest[0]
    assert isinstance(block, Block)
    counted = block.filter.out_channels * 2 // 3
    with torch.no_grad():
        block.narrow.weight[:, : 3 * counted // 2 : 3] = 0
        expected = block(network.first(squares.float() / 127.5 - 1))
        slim = slimmed(network, SLIM_STAGES, squares)
        (narrowed,) = slim.rest[:1]
        given = narrowed(slim.first(squares.float() / 127.5 - 1))
    assert isinstance(narrowed, Block) and narrowed.filter.out_channels == counted
    assert torch.allclose(given, expected, atol=1e-3)


def test_a_slim_network_has_a_third_fewer_channels_and_three_blocks_less(squares: torch.Tensor) -> None:
    teacher, slim = teacher_network(), slimmed(teacher_network(), SLIM_STAGES, squares)
    assert len(slim.layers) == len(teacher.layers) - 3
    sizes = [sum(tensor.numel() for tensor in network.parameters()) for network in (slim, teacher)]
    assert 0.5 < sizes[0] / sizes[1] < 0.7
    assert all(isinstance(layer, Convolution) for layer in (slim.layers[0], slim.layers[-1]))


def test_smaller_squares_show_the_same(squares: torch.Tensor) -> None:
    smaller = shrunk(squares, FAST_SIDE)
    assert smaller.shape == (len(squares), 3, FAST_SIDE, FAST_SIDE) and smaller.dtype == torch.uint8
    means = smaller.float().mean(dim=(2, 3)) - squares.float().mean(dim=(2, 3))
    assert means.abs().max() < 1


def test_who_says_what_the_teacher_says_has_nothing_to_learn_from_it(
    pictures: Pictures, squares: torch.Tensor
) -> None:
    plan, chosen = StudentPlan(steps=4, side=SIDE, seed=5), np.arange(len(pictures))
    network = teacher_network()
    teacher = Teacher(load_model(NAME, device="cpu", precision="float32"), pictures)
    with torch.inference_mode():
        teacher.rows = network(squares)
    lesson = Lesson(plan, Kin(pictures), teacher, torch.from_numpy(chosen))
    # Where the inner part shows what the whole does, both looks say the same.
    flat = torch.zeros(8, 3, SIDE, SIDE, dtype=torch.uint8)
    batch = Batch(ids=torch.arange(4), plain=squares[:4], edited=flat, inner=flat)
    before = network.projection.weight.clone()
    losses = lesson.step(network, optimizer_for(network, plan), batch)
    assert losses["edited"] < 1e-4 and losses["plain"] < 1e-4
    assert torch.equal(network.projection.weight, before), "rates are 0 until they are set"


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(
    pictures: Pictures, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("whole", "halted"):
        (tmp_path / name).mkdir()
    whole = train_student(PLAN, pictures, teacher, begun(PLAN, pictures), tmp_path / "whole", workers=0)
    taken, step = [], Lesson.step

    def stopping(*arguments: object) -> dict[str, float]:
        taken.append(1)
        if len(taken) > 3:
            raise RuntimeError("stopped")
        return step(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Lesson, "step", stopping)
    with pytest.raises(RuntimeError, match="stopped"):
        train_student(PLAN, pictures, teacher, begun(PLAN, pictures), tmp_path / "halted", workers=0)
    monkeypatch.undo()
    assert torch.load(tmp_path / "halted" / CHECKPOINT, weights_only=True)["step"] == 2
    resumed = train_student(PLAN, pictures, teacher, begun(PLAN, pictures), tmp_path / "halted", workers=0)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    logs = [(tmp_path / name / LOG).read_text().splitlines() for name in ("whole", "halted")]
    whole_log, halted_log = ([{**json.loads(line), "seconds": 0} for line in log] for log in logs)
    assert whole_log == halted_log and whole_log[0]["plan"]["steps"] == 4


def test_what_is_exported_is_read_with_its_stages(pictures: Pictures, tmp_path: Path) -> None:
    network = begun(PLAN, pictures).eval()
    ranges = finished(network, pictures, np.arange(len(pictures)), PLAN.side)
    digest = export(network, ranges, tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").stat().st_size < 6_000_000
    again, read = read_network(tmp_path / "w.safetensors", digest, SLIM_STAGES)
    assert torch.equal(read, ranges.half().float())
    assert torch.equal(again.projection.weight, network.projection.weight.half().float())
