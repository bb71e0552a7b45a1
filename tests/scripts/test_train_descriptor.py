"""The training of the copy descriptor: its pictures, edits, losses, and that a resumed run ends alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeVar

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch.nn.functional import normalize

from scripts import descriptor_pictures
from scripts.descriptor_background import background_rows
from scripts.descriptor_batches import Steps, edit, nearest
from scripts.descriptor_edits import COLOURS, OVERLAYS, QUALITIES, SHAPES
from scripts.descriptor_losses import (
    STUDENT_TEMPERATURE,
    TEACHER_TEMPERATURE,
    contrast,
    likeness,
    spread,
)
from scripts.descriptor_pictures import Pictures, save_pictures
from scripts.descriptor_ranges import measured_ranges
from scripts.descriptor_scenes import SCENES
from scripts.descriptor_training import (
    CHECKPOINT,
    LOG,
    Learner,
    Plan,
    evened_out,
    principal_axes,
    train,
    whitened,
)
from scripts.descriptor_validation import kinship, precision_scores
from scripts.qt_resources import read_resources
from scripts.train_descriptor import export, narrowed
from tests.qt_collections import resource_collection
from twinlens.models import efficientnet, load_model, palette, structure
from twinlens.models.copy_descriptor import (
    BACKGROUND,
    PALETTE_SHARE,
    ROW_DIM,
    SIDE,
    STRUCTURE_SHARE,
    TRAINED_DIM,
    CopyNetwork,
    read_network,
    squashed,
)

PLAN = Plan(steps=4, size=4, sides=(64,), memory=8, warm_up=2, saved_every=2, validated_every=4)
Network = TypeVar("Network", bound=CopyNetwork)
CHANGES = [change for kind in (SHAPES, COLOURS, OVERLAYS, QUALITIES) for change, _ in kind]


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    image = Image.fromarray(skimage.data.coffee())
    image.thumbnail((256, 256))
    return image


def stranger(_: Random) -> Image.Image:
    return Image.new("RGB", (120, 90), "teal")


def fresh_network(pictures: Pictures) -> Learner:
    """As the training begins with it."""
    return begun(Learner, pictures)


def ended_network(pictures: Pictures) -> CopyNetwork:
    """Of the shape that the training ends with."""
    return begun(CopyNetwork, pictures)


def begun(kind: type[Network], pictures: Pictures) -> Network:
    torch.manual_seed(0)
    network = kind(*efficientnet.build(efficientnet.find_weights()))
    whitened(network, pictures.features)
    return network


# --- pictures


def test_collections_of_resources_are_read(tmp_path: Path) -> None:
    files = {"a.png": b"\x89PNG...", "deep/ö.webp": b"", "readme.txt": b"x" * 300}
    (tmp_path / "a.rcc").write_bytes(resource_collection(files))
    assert dict(read_resources(tmp_path / "a.rcc")) == files
    (tmp_path / "b.rcc").write_bytes(b"no such thing, but long enough for a header")
    with pytest.raises(ValueError, match=r"b\.rcc is no Qt resource collection"):
        list(read_resources(tmp_path / "b.rcc"))


def test_pictures_come_back_as_they_were_kept(pictures: Pictures, packages: Path) -> None:
    assert any("a.rcc/activities/animals.webp" in name for name in pictures.names)
    for index, name in enumerate(pictures.names):
        image = pictures.image(index)
        assert max(image.size) <= descriptor_pictures.LONGER_SIDE
        path = packages / name.rsplit("#")[0]
        if pictures.whole[index] and path.suffix in (".jpg", ".png") and path.is_file():
            original = Image.open(path).convert("RGB").resize(image.size)
            assert np.abs(np.asarray(original, float) - np.asarray(image, float)).mean() < 12


def test_no_twins_are_kept(pictures: Pictures) -> None:
    rows = pictures.features.astype(np.float64)
    cosines = rows @ rows.T
    assert cosines[np.triu_indices(len(rows), 1)].max() < descriptor_pictures.TWINS + 1e-3


def test_a_package_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="naev-data"):
        save_pictures(tmp_path, tmp_path / "out", load_model("efficientnet_lite0", device="cpu"))


# --- edits


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_an_edit_changes_the_picture_and_depends_on_chance_alone(
    change: Callable[[Image.Image, Random], Image.Image], photograph: Image.Image
) -> None:
    before = photograph.tobytes()
    edits = [change(photograph, Random(seed)).convert("RGB") for seed in range(8)]
    assert photograph.tobytes() == before
    assert any(image.size != photograph.size or image.tobytes() != before for image in edits)
    assert [change(photograph, Random(seed)).convert("RGB").tobytes() for seed in range(8)] == [
        image.tobytes() for image in edits
    ]
    for size in ((40, 200), (256, 24)):
        for seed in range(8):
            assert min(change(photograph.resize(size), Random(seed)).size) >= 1


@pytest.mark.parametrize("scene", [scene for scene, _ in SCENES], ids=lambda scene: scene.__name__)
def test_a_scene_shows_the_picture(scene: Callable[..., Image.Image], photograph: Image.Image) -> None:
    red = Image.new("RGB", photograph.size, (250, 10, 10))
    for seed in range(8):
        shown = np.asarray(scene(red, Random(seed), stranger).convert("RGB"), int)
        reddish = (shown[..., 0] > 90) & (shown[..., 0] > shown[..., 1] + 60)
        assert reddish.mean() > 0.05
        for size in ((40, 200), (256, 30)):
            assert min(scene(photograph.resize(size), Random(seed), stranger).size) >= 8


def test_copies_of_one_scene_share_their_frame(photograph: Image.Image) -> None:
    def framed(seed: int, colour: str) -> Image.Image:
        return edit(Image.new("RGB", photograph.size, colour), Random(seed), stranger, scene_seed=5)

    assert framed(3, "red").tobytes() == framed(3, "red").tobytes() != framed(4, "red").tobytes()


# --- batches


def test_a_step_depends_on_seed_and_number_alone(pictures: Pictures) -> None:
    chosen = np.arange(len(pictures))
    one, other = (Steps(pictures, chosen, 4, (64,), 1) for _ in range(2))
    first, again, next_step = one[3], other[3], one[4]
    assert first.plain.shape == (4, 3, 64, 64)
    assert first.edited.shape == (8, 3, 64, 64) and not len(first.inner)
    assert torch.equal(first.ids, again.ids) and torch.equal(first.edited, again.edited)
    assert not torch.equal(first.edited, next_step.edited)
    assert len(set(first.ids.tolist())) == 4


def test_inner_parts_of_the_same_edited_pictures_are_there_for_whoever_looks_twice(
    pictures: Pictures,
) -> None:
    chosen = np.arange(len(pictures))
    once, twice = (Steps(pictures, chosen, 4, (64,), 1, looked_at_twice=each)[3] for each in (False, True))
    assert torch.equal(once.edited, twice.edited)
    assert twice.inner.shape == twice.edited.shape and not torch.equal(twice.inner, twice.edited)


def test_neighbours_are_the_nearest_others() -> None:
    rows = np.random.default_rng(1).normal(size=(50, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    near = nearest(rows.astype(np.float16))
    cosines = rows @ rows.T - 3 * np.eye(50)
    assert (near[:, 0] == cosines.argmax(axis=1)).all() and not (near == np.arange(50)[:, None]).any()


# --- losses


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_contrast_is_least_for_perfect_copies_and_passes_over_kin() -> None:
    plain, memory, related = unit(4, 16), unit(6, 16, seed=1), torch.eye(4, dtype=torch.bool)
    nobody = torch.zeros(4, 6, dtype=torch.bool)
    perfect = contrast(plain, plain.repeat(2, 1), memory, related, nobody)
    others = contrast(plain, unit(8, 16, seed=2), memory, related, nobody)
    assert perfect < 0.2 < others
    # Kin may be as near as it likes: as a stranger it would cost.
    twins = plain.clone()
    twins[1] = twins[0]
    kin = related.clone()
    kin[0, 1] = kin[1, 0] = True
    assert contrast(twins, twins.repeat(2, 1), memory, kin, nobody) < 0.2
    assert contrast(twins, twins.repeat(2, 1), memory, related, nobody) > 0.3


def test_spread_falls_with_the_distance_to_the_nearest_stranger() -> None:
    rows, related = torch.eye(4), torch.eye(4, dtype=torch.bool)
    nobody = torch.zeros(4, 1, dtype=torch.bool)
    far = spread(rows, -torch.ones(1, 4) / 2, related, nobody)
    near = spread(rows, rows[:1] * 0.999, related, nobody)
    assert far == pytest.approx(-0.5 * np.log(2)) and near > far


def test_likeness_is_nothing_for_the_same_neighbourhoods() -> None:
    teacher, memory = unit(5, 32), unit(7, 32, seed=3)
    scale = (STUDENT_TEMPERATURE / TEACHER_TEMPERATURE) ** 0.5
    same = likeness(teacher * scale, teacher, memory * scale, memory)
    assert same == pytest.approx(0, abs=1e-5)
    assert likeness(unit(5, 32, seed=4), teacher, memory, memory) > 0.01


# --- validation


def test_scores_of_a_ranking_that_was_counted_by_hand() -> None:
    similarities = np.array([0.9, 0.8, 0.8, 0.7], np.float32)
    true = np.array([True, False, True, True])
    average, recall, threshold = precision_scores(similarities, true, positives=4)
    # Thresholds 0.9, 0.8, 0.7 find 1, 2, 3 of 4 at precisions 1, 2/3, 3/4.
    assert average == pytest.approx((1 + 2 / 3 + 3 / 4) / 4)
    assert recall == 0.25 and threshold == pytest.approx(0.9)


def test_kinship_counts_neighbours_of_the_same_folder() -> None:
    rows = np.repeat(np.eye(2, dtype=np.float32), 6, axis=0)
    assert kinship(rows, ["a"] * 6 + ["b"] * 6) == 1
    assert kinship(rows, ["a", "b"] * 6) < 0.6


# --- training


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(pictures: Pictures, tmp_path: Path) -> None:
    for name in ("whole", "halted"):
        (tmp_path / name).mkdir()
    whole = train(PLAN, pictures, fresh_network(pictures), tmp_path / "whole", workers=0)
    with pytest.raises(RuntimeError, match="stopped"):
        train(PLAN, pictures, Stopping(fresh_network(pictures), after=3), tmp_path / "halted", workers=0)
    assert torch.load(tmp_path / "halted" / CHECKPOINT, weights_only=True)["step"] == 2
    resumed = train(PLAN, pictures, fresh_network(pictures), tmp_path / "halted", workers=0)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    logs = [(tmp_path / name / LOG).read_text().splitlines() for name in ("whole", "halted")]
    whole_log, halted_log = ([{**json.loads(line), "seconds": 0} for line in log] for log in logs)
    assert whole_log == halted_log and whole_log[0]["plan"]["steps"] == 4


def test_principal_axes_divided_by_their_deviations_are_a_whitening() -> None:
    generator = torch.Generator().manual_seed(5)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
    rows = torch.randn(500, 6, generator=generator) * torch.arange(1, 7) @ turn + 3
    axes, mean = principal_axes(rows, 6, 0.5)
    assert torch.allclose(torch.cov(((rows - mean) @ axes.T).T), torch.eye(6), atol=1e-3)
    plain, _ = principal_axes(rows, 2, 0)
    variances = ((rows - mean) @ plain.T).var(dim=0)
    assert plain.shape == (2, 6) and variances[0] > variances[1] > torch.cov(rows.T).trace() / 6


def test_evening_out_spreads_the_rows_of_strangers(pictures: Pictures) -> None:
    network = fresh_network(pictures).eval()
    with torch.no_grad():
        network.projection.bias.add_(2 * network.projection.weight.norm(dim=1))
    chosen = np.arange(len(pictures))
    squares = [squashed(np.asarray(pictures.image(index)), SIDE) for index in chosen.tolist()]
    pixels = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        before = network(pixels)
        evened_out(network, pictures, chosen)
        after = network(pixels)
    assert (before @ before.T).mean() > 0.5 > (after @ after.T).mean()


class Stopping(Learner):
    """A network that fails once it was trained for some steps."""

    def __init__(self, network: Learner, after: int) -> None:
        super().__init__(network.first, network.rest)
        self.projection = network.projection
        self._left = after

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.training:
            self._left -= 1
            if self._left < 0:
                raise RuntimeError("stopped")
        return super().forward(pixels)


def test_another_plan_does_not_go_on_with_a_checkpoint(pictures: Pictures, tmp_path: Path) -> None:
    train(Plan(**{**vars(PLAN), "steps": 2}), pictures, fresh_network(pictures), tmp_path, workers=0)
    with pytest.raises(SystemExit, match="of another plan"):
        train(PLAN, pictures, fresh_network(pictures), tmp_path, workers=0)


def test_in_the_end_half_of_what_was_learnt_stands_beside_structure_and_colours(
    pictures: Pictures,
) -> None:
    network, chosen = fresh_network(pictures).eval(), np.arange(len(pictures))
    squares = [squashed(np.asarray(pictures.image(index)), SIDE) for index in chosen.tolist()]
    pixels = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        learnt = network(pixels)
        narrow = narrowed(network, pictures, chosen, power=0.0).eval()
        rows = narrow(pixels)
    assert learnt.shape == rows.shape == (len(pictures), ROW_DIM)
    with torch.inference_mode():
        parts = narrow.projected(narrow.maps(pixels)), narrow.structure(pixels), narrow.palette(pixels)
    assert [part.shape[1] for part in parts] == [TRAINED_DIM, structure.DIM, palette.DIM]
    shares = (1 - STRUCTURE_SHARE - PALETTE_SHARE, STRUCTURE_SHARE, PALETTE_SHARE)
    joined = torch.cat([share**0.5 * part for share, part in zip(shares, parts, strict=True)], dim=1)
    # Along the axes of so few pictures, structure is not of full length.
    assert torch.allclose(rows, torch.nn.functional.normalize(joined, dim=1), atol=1e-5)
    # So few pictures lie in the span of the axes that stay: their distances stay as they were.
    centred = torch.nn.functional.normalize(learnt - learnt.mean(dim=0), dim=1)
    kept = torch.nn.functional.normalize(rows[:, :TRAINED_DIM], dim=1)
    assert (centred @ centred.T - kept @ kept.T).abs().mean() < 0.05


def test_what_is_exported_is_what_was_trained(pictures: Pictures, tmp_path: Path) -> None:
    network, chosen = ended_network(pictures).eval(), np.arange(len(pictures))
    network.background.copy_(background_rows(network, pictures, chosen))
    ranges = measured_ranges(network, pictures, chosen, (64, 96))
    digest = export(network, ranges, tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").stat().st_size < 10_000_000
    again, read = read_network(tmp_path / "w.safetensors", digest)
    assert torch.equal(read, ranges.half().float())
    assert torch.equal(again.background, network.background.half().float())
    pixels = torch.from_numpy(np.array(pictures.image(0).resize((160, 160)))).permute(2, 0, 1)[None]
    with torch.inference_mode():
        assert (network(pixels) * again.eval()(pixels)).sum() > 0.9999


def test_the_background_is_a_row_of_evenly_spaced_pictures(pictures: Pictures) -> None:
    network = ended_network(pictures).eval()
    rows = background_rows(network, pictures, np.arange(1, len(pictures)))
    assert rows.shape == (BACKGROUND, ROW_DIM)
    for place, index in ((0, 1), (BACKGROUND - 1, len(pictures) - 1)):
        square = torch.from_numpy(squashed(np.asarray(pictures.image(index)), SIDE)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            assert torch.allclose(network(square)[0], rows[place], atol=1e-4)


def test_ranges_hold_nearly_all_values(pictures: Pictures) -> None:
    network, chosen = fresh_network(pictures).eval(), np.arange(len(pictures))
    ranges = measured_ranges(network, pictures, chosen, (64,))
    first, second = ranges[0].tolist(), ranges[2].tolist()
    assert first[0] == 0 and 1 < first[1] <= 6
    with torch.inference_mode():
        squares = [squashed(np.asarray(pictures.image(index)), 64) for index in chosen.tolist()]
        pixels = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
        block = network.first((pixels.float() - 127.5) / 127.5)
    inside = (block >= second[0]) & (block <= second[1])
    assert 1 - 5e-3 < inside.float().mean() < 1
