"""The network in 8-bit integers says what it says in floats, nearly, and the same in calls of any shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image

from tests.models.squares import pixels_of
from twinlens.engine.errors import InvalidValue
from twinlens.models import copy_descriptor, load_model, quantised
from twinlens.models.copy_descriptor import FAST_NAME, NAME, read_network
from twinlens.models.device import INT8, choose_precision, cpu_computes_int8
from twinlens.models.quantised import PIXELS, QuantisedMaps, Scale, ranged

NEEDS_INT8 = pytest.mark.skipif(not cpu_computes_int8(), reason="this CPU has no VNNI instructions")


def test_codes_reach_from_end_to_end_and_have_an_exact_zero() -> None:
    for low, high in ((0.0, 6.0), (-3.0, 5.0), (-2.0, -1.0)):
        step, zero = Scale.of_range(low, high)
        assert 0 <= zero <= 255
        assert step * (0 - zero) == pytest.approx(min(low, 0), abs=step)
        assert step * (255 - zero) == pytest.approx(max(high, 0), abs=step)
    assert PIXELS.step * (128 - PIXELS.zero) == 0


def test_every_map_between_two_layers_has_a_range() -> None:
    network, ranges = read_network(copy_descriptor.WEIGHTS, copy_descriptor.WEIGHTS_DIGEST)
    modules = list(ranged(network.layers))
    assert len(modules) == len(set(modules)) == len(ranges) == 48
    assert (ranges[:, 0] <= 0).all() and (ranges[:, 1] > 0).all()


@NEEDS_INT8
@pytest.mark.parametrize("side", [96, 100, 112, 160])
def test_feature_maps_are_nearly_those_of_floats(pictures: list[Image.Image], side: int) -> None:
    network, ranges = read_network(copy_descriptor.WEIGHTS, copy_descriptor.WEIGHTS_DIGEST)
    network.eval()
    pixels = pixels_of(pictures, side)
    with torch.inference_mode():
        exact, found = network.maps(pixels), QuantisedMaps(network.layers, ranges, side)(pixels)
        assert found.shape == exact.shape and found.dtype == torch.float32
        assert (network.projected(exact) * network.projected(found)).sum(dim=1).min() > 0.97


@NEEDS_INT8
@pytest.mark.parametrize("name", [NAME, FAST_NAME])
def test_similarities_are_nearly_those_of_floats(name: str, pictures: list[Image.Image]) -> None:
    seen = [np.asarray(picture) for picture in pictures]
    seen += [np.asarray(picture.resize((200, 150))) for picture in pictures]
    exact = load_model(name, device="cpu", precision="float32").embed_images(seen)
    narrow = load_model(name, device="cpu", precision=INT8).embed_images(seen)
    assert (exact * narrow).sum(axis=1).min() > 0.985
    assert np.abs(exact @ exact.T - narrow @ narrow.T).mean() < 0.006


@NEEDS_INT8
def test_calls_of_any_shape_give_the_same_maps(pictures: list[Image.Image]) -> None:
    network, ranges = read_network(copy_descriptor.WEIGHTS, copy_descriptor.WEIGHTS_DIGEST)
    maps = QuantisedMaps(network.layers, ranges, 112)
    pixels = pixels_of(pictures, 112)
    with torch.inference_mode():
        together = maps(pixels)
        assert torch.equal(torch.cat([maps(pixels[i : i + 1]) for i in range(len(pixels))]), together)
        assert torch.equal(maps(pixels.contiguous()), together)


@NEEDS_INT8
def test_large_maps_are_there_for_a_few_pictures_at_once(
    pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, ranges = read_network(copy_descriptor.WEIGHTS, copy_descriptor.WEIGHTS_DIGEST)
    maps = QuantisedMaps(network.layers, ranges, 112)
    pixels = pixels_of(pictures, 112)
    pixels = pixels.repeat(-(-60 // len(pixels)), 1, 1, 1)[:60]
    counts: list[int] = []

    def through(steps: Sequence[quantised.Maps], some: torch.Tensor) -> torch.Tensor:
        counts.append(len(some))
        for step in steps:
            some = step(some)
        return some

    monkeypatch.setattr(quantised, "_through", through)
    with torch.inference_mode():
        together = maps(pixels)
        assert counts == [20, 20, 20, 60] and quantised.LARGE_TOGETHER >= 20 * 112**2
        assert torch.equal(torch.cat([maps(some) for some in torch.split(pixels, 7)]), together)


@NEEDS_INT8
@pytest.mark.parametrize(("name", "count"), [(NAME, 32), (FAST_NAME, 64)])
def test_calls_are_larger_than_in_floats(name: str, count: int) -> None:
    assert load_model(name, device="cpu", precision=INT8).cpu_call == count
    assert load_model(name, device="cpu", precision="float32").cpu_call == 16


@NEEDS_INT8
def test_auto_is_int8_on_a_cpu_that_can() -> None:
    assert load_model(NAME, device="cpu").precision == INT8
    assert choose_precision("auto", "cpu", quantised=True) == INT8
    assert choose_precision("auto", "cuda", quantised=True) == "float16"
    assert choose_precision("bfloat16", "cpu", quantised=True) == "bfloat16"


def test_int8_where_it_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted in (("int8", "cuda", True), ("int8", "cpu", False)):
        with pytest.raises(InvalidValue, match="AVX512-VNNI"):
            choose_precision(wanted[0], wanted[1], quantised=wanted[2])
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False, raising=False)
    assert choose_precision("auto", "cpu", quantised=True) in ("bfloat16", "float32")
    with pytest.raises(InvalidValue, match="AVX512-VNNI"):
        load_model(NAME, device="cpu", precision="int8")
