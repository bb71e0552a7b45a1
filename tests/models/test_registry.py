"""Names, `auto`, and that nothing heavy is imported before a model is loaded."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.models.checkpoints import register, save_file_of, save_folder_of
from tests.models.hub_server import refusing, serve, silent, use_hub
from twinlens.engine.errors import DeviceUnavailable, InvalidValue, UnknownModel, WeightsUnavailable
from twinlens.models import KNOWN_MODELS, hub, load_model, registry, resolve_auto
from twinlens.models.clip_files import find_repository

CLIP = "ViT-B-32/laion2b_s34b_b79k"


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, twinlens.models;"
        "print([name for name in ('torch', 'open_clip', 'timm', 'huggingface_hub') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_auto_without_clip_is_the_embedded_model_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with refusing() as endpoint:
        use_hub(monkeypatch, endpoint, tmp_path)
        resolution = resolve_auto()
        with caplog.at_level(logging.WARNING):
            embedder = load_model("auto", device="cpu")
    assert resolution.name == embedder.description.name == "twinlens_copy512"
    assert resolution.notice is not None and "\n" not in resolution.notice
    assert endpoint in resolution.notice and "--model ViT-B-32@FILE" in resolution.notice
    assert [record.message for record in caplog.records] == [resolution.notice]


def test_clip_is_where_open_clip_finds_it() -> None:
    found = find_repository(registry.CLIP_ARCHITECTURE, registry.CLIP_TAG)
    assert found == (registry.CLIP_REPOSITORY, hub.OPEN_CLIP_WEIGHTS)


def test_auto_imports_no_library_of_models(tmp_path: Path) -> None:
    code = (
        "import sys; from twinlens import load_model; load_model('auto', device='cpu')\n"
        "print([name for name in ('open_clip', 'timm') if name in sys.modules])"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.strip() == "[]" and "twinlens_copy512" in run.stderr


def test_auto_is_clip_where_the_hub_offers_it_and_downloads_nothing_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, filenames = find_repository(*CLIP.split("/"))
    requests: list[str] = []
    with serve({f"{repository}/{filenames[0]}": b"weights"}, requests) as endpoint:
        use_hub(monkeypatch, endpoint, tmp_path)
        assert resolve_auto().name == CLIP
    assert resolve_auto().notice
    assert [request.split()[0] for request in requests] == ["HEAD"]


def test_auto_is_clip_where_its_weights_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (snapshot / "open_clip_model.safetensors").write_bytes(b"weights")
    refs = snapshot.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text("c0ffee")
    with refusing() as endpoint:
        use_hub(monkeypatch, endpoint, tmp_path)
        assert resolve_auto().name == CLIP and resolve_auto().notice is None


def test_clip_without_a_network_is_one_error_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with silent() as endpoint:
        use_hub(monkeypatch, endpoint, tmp_path)
        start = time.monotonic()
        with pytest.raises(WeightsUnavailable, match="twinlens_copy512"):
            load_model("clip")
    assert time.monotonic() - start < 8


def test_a_model_of_the_hub_is_downloaded_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    folder = save_folder_of("twinlens-vit", tmp_path / "own")
    published = {f"org/tiny/{path.name}": path.read_bytes() for path in folder.iterdir()}
    with serve(published, []) as endpoint:
        use_hub(monkeypatch, endpoint, tmp_path / "cache")
        embedder = load_model("hf-hub:org/tiny", device="cpu", precision="float32")
    assert embedder.description.name == "hf-hub:org/tiny" and embedder.description.text_capable
    local = load_model(f"local-dir:{folder}", device="cpu", precision="float32").description
    assert embedder.description.weights_digest == local.weights_digest
    assert embedder.description.revision == local.revision
    with refusing() as endpoint:
        use_hub(monkeypatch, endpoint, tmp_path / "cache")
        assert load_model("hf-hub:org/tiny", device="cpu").description == embedder.description


@pytest.mark.parametrize("name", ["efficientnet_lite", "resnet50", "ViT-B-32", "", "auto "])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UnknownModel):
        load_model(name)


def test_device_and_precision_are_checked_before_anything_is_loaded(tmp_path: Path) -> None:
    register()
    for name in ("efficientnet_lite0", f"twinlens-vit@{save_file_of('twinlens-vit', tmp_path / 'w.pt')}"):
        with pytest.raises(InvalidValue, match="device"):
            load_model(name, device="tpu")
        with pytest.raises(InvalidValue, match="precision"):
            load_model(name, precision="half")


def test_the_list_of_models_begins_with_the_plain_names() -> None:
    assert [model.name for model in KNOWN_MODELS][:5] == [
        "auto",
        "clip",
        "twinlens_copy512",
        "twinlens_fast512",
        "efficientnet_lite0",
    ]
    assert [model.name for model in KNOWN_MODELS if not model.text_capable] == [
        "auto",
        "twinlens_copy512",
        "twinlens_fast512",
        "efficientnet_lite0",
    ]


def test_cuda_is_never_replaced_in_silence() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(DeviceUnavailable):
        load_model("efficientnet_lite0", device="cuda")
