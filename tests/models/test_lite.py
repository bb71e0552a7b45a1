"""The network is timm's, and fused it gives the same values, bit for bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from torch import nn

from twinlens.models import efficientnet, lite
from twinlens.models.lite import Convolution
from twinlens.models.onednn import fuse_for

HAS_ONEDNN: Any = torch.backends.mkldnn.is_available
NEEDS_ONEDNN = pytest.mark.skipif(not HAS_ONEDNN(), reason="no oneDNN in this torch")
TYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


def maps(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    random = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    return random.to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("side", [96, 112, 160, 224, 100])
def test_feature_maps_are_those_of_timm(side: int) -> None:
    theirs: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    state = torch.load(efficientnet.find_weights(), weights_only=True)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), state.values(), strict=True)))
    ours = nn.Sequential(*efficientnet.build(efficientnet.find_weights()))
    seen = maps(2, 3, side, side)
    with torch.inference_mode():
        wanted, found = theirs.forward_features(seen), ours(seen)
    assert found.shape == wanted.shape == (2, lite.HEAD, -(-side // 32), -(-side // 32))
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


@NEEDS_ONEDNN
@TYPES
@pytest.mark.parametrize("side", [7, 8, 37])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("activated", [True, False])
def test_a_fused_convolution(activated: bool, kernel: int, side: int, dtype: torch.dtype) -> None:
    torch.manual_seed(kernel)
    for stride in (1, 2):
        layer = Convolution(16, 16, kernel, stride, groups=16, activated=activated).to(dtype)
        seen = maps(3, 16, side, side, dtype=dtype)
        with torch.inference_mode():
            plain = layer(seen)
            layer.fuse()
            assert torch.equal(layer(seen), plain) and plain.shape[-1] == -(-side // stride)


@NEEDS_ONEDNN
@TYPES
@pytest.mark.parametrize("side", [112, 160])
def test_the_fused_network(dtype: torch.dtype, side: int) -> None:
    plain = nn.Sequential(*efficientnet.build(efficientnet.find_weights()))
    plain = plain.to(dtype).to(memory_format=torch.channels_last)
    fused = copy.deepcopy(plain)
    fuse_for(fused, "cpu")
    seen = maps(2, 3, side, side, dtype=dtype)
    with torch.inference_mode():
        assert torch.equal(fused(seen), plain(seen))


def test_other_devices_compute_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Convolution(3, 4, activated=True)
    monkeypatch.setattr(Convolution, "_fused", lambda *_: pytest.fail("fused"))
    fuse_for(layer, "cuda")
    assert layer(maps(1, 3, 8, 8)).shape == (1, 4, 8, 8)
