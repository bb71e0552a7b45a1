"""The training of the frame finder: where pictures lie in its samples, and that a resumed run ends alike."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from scripts import frame_samples, train_frames
from scripts.descriptor_pictures import Pictures
from scripts.descriptor_scenes import Scene, photographed
from scripts.descriptor_training import CHECKPOINT, LOG
from scripts.frame_samples import FRAMES, Samples, made, sample, seen_from_aside
from scripts.train_frames import FramePlan, batches, export, folded, normalised, shared, train, validate
from tests.models.squares import pixels_of
from twinlens.models.frames import CELLS, SIDE, FrameFinder, load_finder
from twinlens.models.parallelograms import cut, fitted

WIDE = 192

PLAN = FramePlan(steps=6, warm_up=2, size=4, saved_every=2)


@pytest.fixture(scope="module")
def samples(pictures_folder: Path, pictures: Pictures) -> Samples:
    return made(pictures_folder, np.arange(len(pictures)), "test", rounds=2, processes=2)


# --- samples


def test_samples_depend_on_their_seed_alone(
    samples: Samples, pictures_folder: Path, pictures: Pictures
) -> None:
    again = made(pictures_folder, np.arange(len(pictures)), "test", rounds=2, processes=1)
    other = made(pictures_folder, np.arange(len(pictures)), "other", rounds=2, processes=1)
    assert samples.squares.shape == (2 * len(pictures), SIDE, SIDE, 3)
    assert samples.cells.shape == (2 * len(pictures), CELLS, CELLS)
    assert np.array_equal(again.squares, samples.squares) and np.array_equal(again.cells, samples.cells)
    assert not np.array_equal(other.squares, samples.squares)


@pytest.mark.parametrize("scene", [scene for scene, _ in FRAMES], ids=lambda scene: scene.__name__)
def test_a_mask_is_where_the_picture_lies(
    scene: Scene, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut out of a scene that was not edited otherwise, and turned back, it looks like the picture."""
    monkeypatch.setattr(frame_samples, "FRAMES", ((scene, 1),))
    for name in ("EDITS_BEFORE", "CUT"):
        monkeypatch.setattr(frame_samples, name, 0.0)
    monkeypatch.setattr(frame_samples, "AFTERWARDS", ())
    monkeypatch.setattr(frame_samples, "FRAMED", 1.0)
    likenesses, areas = [], []
    for index in range(len(pictures)):
        shown, mask = sample(pictures, index, np.array([0]), Random(index))
        assert shown.size == mask.size
        cells = np.asarray(mask.resize((CELLS, CELLS), Image.Resampling.BOX), np.float32) / 255
        whole, wanted = (pixels_of([each.convert("RGB")], WIDE) for each in (shown, pictures.image(index)))
        inner = cut(whole, fitted(torch.from_numpy(cells)[None]), 0, CELLS)
        seen, wanted = (avg_pool2d(each.float().mean(dim=1), 8).ravel() for each in (inner, wanted))
        likenesses.append(np.corrcoef(seen, wanted)[0, 1])
        areas.append(np.mean(np.asarray(mask) > 0))
    # What is lit unevenly, or in perspective, stays so.
    assert np.median(likenesses) > (0.6 if scene in (photographed, seen_from_aside) else 0.95)
    assert np.median(areas) < 0.97


def test_a_picture_without_a_frame_is_wholly_the_picture(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_samples, "FRAMED", 0.0)
    shown = [sample(pictures, 0, np.arange(len(pictures)), Random(seed)) for seed in range(12)]
    assert all(np.asarray(mask).min() == 255 and mask.size == image.size for image, mask in shown)
    assert len({image.tobytes() for image, _ in shown}) > 6


# --- batches


def test_squares_and_cells_are_mirrored_and_turned_together(samples: Samples) -> None:
    """Where the picture is stays where it is: cells are drawn into squares, and found there in each batch."""
    squares = np.repeat(np.repeat(samples.cells, SIDE // CELLS, 1), SIDE // CELLS, 2)[..., None]
    marked = Samples(np.repeat(squares, 3, axis=3), samples.cells)
    plan = FramePlan(steps=40, size=4)
    seen = 0
    for shown, cells in batches(plan, marked, 0):
        assert shown.shape == (4, 3, SIDE, SIDE) and cells.shape == (4, CELLS, CELLS)
        coarse = torch.nn.functional.avg_pool2d(shown[:, 0].float() / 255, SIDE // CELLS)
        assert torch.allclose(coarse, cells, atol=1e-6)
        seen += len(shown)
    assert seen == 160


def test_a_batch_depends_on_seed_and_number_alone(samples: Samples) -> None:
    whole = list(batches(PLAN, samples, 0))
    for (one, cells), (other, others) in zip(whole[3:], batches(PLAN, samples, 3), strict=True):
        assert torch.equal(one, other) and torch.equal(cells, others)
    assert not torch.equal(whole[0][0], whole[1][0])


# --- training


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(samples: Samples, tmp_path: Path) -> None:
    for name in ("whole", "halted"):
        (tmp_path / name).mkdir()
    whole = train(PLAN, samples, samples, tmp_path / "whole")
    assert torch.load(tmp_path / "whole" / CHECKPOINT, weights_only=True)["step"] == PLAN.steps
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_frames, "take_step", stopping(after=3))
        with pytest.raises(RuntimeError, match="stopped"):
            train(PLAN, samples, samples, tmp_path / "halted")
    assert torch.load(tmp_path / "halted" / CHECKPOINT, weights_only=True)["step"] == 2
    resumed = train(PLAN, samples, samples, tmp_path / "halted")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    logs = [(tmp_path / name / LOG).read_text().splitlines() for name in ("whole", "halted")]
    whole_log, halted_log = ([{**json.loads(line), "seconds": 0} for line in log] for log in logs)
    assert whole_log == halted_log and whole_log[0]["plan"]["steps"] == 6


def stopping(after: int) -> object:
    steps = iter(range(after))

    def step(*arguments: object) -> float:
        if next(steps, None) is None:
            raise RuntimeError("stopped")
        return _take_step(*arguments)  # type: ignore[arg-type]

    return step


_take_step = train_frames.take_step


def test_a_few_samples_are_learnt_by_heart(samples: Samples, tmp_path: Path) -> None:
    plan = FramePlan(steps=150, warm_up=20, size=8, saved_every=50)
    network = train(plan, samples, samples, tmp_path)
    entries = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert entries[-1]["loss"] < entries[1]["loss"] / 2
    assert validate(network, samples)["found"] > 0.1


def test_normalisations_are_folded_into_what_they_follow(samples: Samples) -> None:
    torch.manual_seed(3)
    network = normalised(FrameFinder())
    squares = torch.from_numpy(samples.squares).permute(0, 3, 1, 2)
    network(squares)
    with torch.inference_mode():
        wanted = network.eval()(squares)
        cells = folded(network)(squares)
    assert torch.allclose(cells, wanted, atol=1e-4)
    assert network.state_dict().keys() == FrameFinder().state_dict().keys()


def test_what_is_exported_is_what_was_trained(samples: Samples, tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = FrameFinder().eval()
    again = load_finder(tmp_path / "w.safetensors", export(network, tmp_path / "w.safetensors"))
    squares = torch.from_numpy(samples.squares).permute(0, 3, 1, 2)
    with torch.inference_mode():
        assert torch.allclose(network(squares), again(squares), atol=0.02)


def test_shared_areas() -> None:
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, 0, 0.5, 1], [0, 0, 0.5, 0.5]])
    others = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1], [0.5, 0.5, 1, 1]])
    assert shared(boxes, others).tolist() == [1, 0.5, 0]


def test_validation_counts_what_is_found_where_it_lies() -> None:
    cells = np.zeros((4, CELLS, CELLS), np.uint8)
    cells[0, 4:20, 4:20] = cells[1, 4:20, 4:20] = 255
    cells[2:] = 255

    class Telling(FrameFinder):
        """Right of the first, wrong of the second, right of the third, and takes the last for framed."""

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            said = torch.from_numpy(cells).float() / 255
            said[1] = said[0].roll(4, dims=1)
            said[3] = said[0]
            return 20 * said - 10

    tests = Samples(np.zeros((4, SIDE, SIDE, 3), np.uint8), cells)
    assert validate(Telling(), tests) == {"found": 0.5, "wrong": 0.5}
