"""Fused convolutions give what the separate steps give, bit for bit."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from twinlens.models import efficientnet
from twinlens.models.fusing import FusedConv, fuse, fuse_for

NEEDS_ONEDNN = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no oneDNN in this torch")


def maps(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    random = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    return random.to(dtype).contiguous(memory_format=torch.channels_last)


@NEEDS_ONEDNN
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("side", [7, 8, 20, 37])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
def test_one_convolution(kind: type[nn.Conv2d], kernel: int, side: int, dtype: torch.dtype) -> None:
    torch.manual_seed(kernel)
    padding = 0 if kind is Conv2dSame else kernel // 2
    conv = kind(16, 16, kernel, 2, padding, groups=16).to(dtype)
    layers = nn.Sequential(conv, nn.ReLU6())
    seen = maps(3, 16, side, side, dtype=dtype)
    with torch.inference_mode():
        assert torch.equal(FusedConv(conv, activated=True)(seen), layers(seen))
        assert torch.equal(FusedConv(conv, activated=False)(seen), conv(seen))


@NEEDS_ONEDNN
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("side", [112, 160])
def test_the_whole_backbone(dtype: torch.dtype, side: int) -> None:
    plain = nn.Sequential(*efficientnet.split(efficientnet.build(efficientnet.find_weights())))
    plain = plain.to(dtype).to(memory_format=torch.channels_last)
    fused = copy.deepcopy(plain)
    fuse(fused)
    seen = maps(2, 3, side, side, dtype=dtype)
    with torch.inference_mode():
        assert torch.equal(fused(seen), plain(seen))
    assert not any(isinstance(layer, nn.Conv2d | nn.ReLU6) for layer in fused.modules())


def test_other_devices_keep_their_layers() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6())
    fuse_for(layers, "cuda")
    assert isinstance(layers[0], nn.Conv2d) and isinstance(layers[1], nn.ReLU6)
