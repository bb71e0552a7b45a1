"""Four forms of name, each to files on disk; what cannot be had says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models.checkpoints import register, save_folder_of
from tests.models.hub_server import COMMIT, refusing, serve, use_hub
from twinlens.engine.errors import UnknownModel, WeightsUnavailable
from twinlens.models.clip_files import CONFIG, find_repository, locate


def test_a_bare_file_is_named_by_its_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = locate("ViT-B-32@mine.pt")
    assert files.name == f"ViT-B-32@{tmp_path}/mine.pt"
    assert locate(files.name) == files


def test_a_folder_prefers_what_open_clip_prefers(tmp_path: Path) -> None:
    register()
    folder = save_folder_of("twinlens-vit", tmp_path / "own@home")
    for name in ("a.safetensors", "pytorch_model.bin", "z.pth"):
        (folder / name).write_bytes(b"other")
    files = locate(f"local-dir:{folder}")
    assert files.checkpoint.name == "open_clip_model.safetensors"
    assert files.name == files.model_name == f"local-dir:{folder}"


@pytest.mark.parametrize(("left_out", "message"), [(CONFIG, "open_clip_config"), ("w.bin", "no weights")])
def test_a_folder_needs_both_files(tmp_path: Path, left_out: str, message: str) -> None:
    for name in {CONFIG, "w.bin"} - {left_out}:
        (tmp_path / name).write_text("{}")
    with pytest.raises(WeightsUnavailable, match=message):
        locate(f"local-dir:{tmp_path}")


def test_a_tag_is_found_on_the_hub_and_brings_its_preprocessing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, filenames = find_repository("ViT-B-32", "openai")
    with serve({f"{repository}/{filenames[0]}": b"weights"}, []) as endpoint:
        use_hub(monkeypatch, endpoint, tmp_path)
        files = locate("ViT-B-32/OpenAI")
    assert files.name == "ViT-B-32/openai"
    assert files.checkpoint.read_bytes() == b"weights"
    assert files.overrides == {"force_quick_gelu": True}


def test_a_repository_of_the_hub_is_one_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = {"org/model/open_clip_pytorch_model.bin": b"weights", f"org/model/{CONFIG}": b"{}"}
    with serve(published, []) as endpoint:
        use_hub(monkeypatch, endpoint, tmp_path)
        files = locate("hf-hub:org/model")
    assert files.name == "hf-hub:org/model"
    assert files.model_name == f"local-dir:{files.checkpoint.parent}"
    assert files.checkpoint.parent.name == COMMIT
    assert json.loads((files.checkpoint.parent / CONFIG).read_text()) == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-23/openai", "did you mean ViT-B-32"),
        ("efficientnet_lite", "did you mean efficientnet_lite0"),
        ("ViT-B-32", "needs weights: use ViT-B-32/TAG with one of openai, "),
        ("ViT-B-32/opnai", "no tag 'opnai': use ViT-B-32/TAG with one of openai, "),
        ("ViT-B-32/", "needs weights"),
        ("nonsense@/w.pt", "no model or open_clip architecture is named 'nonsense'"),
        ("", "named ''"),
    ],
)
def test_unknown_names_are_answered_with_known_ones(name: str, message: str) -> None:
    with pytest.raises(UnknownModel, match=message):
        locate(name)


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("ViT-B-32/laion2b_s34b_b79k", ["local-dir:FOLDER", "ViT-B-32@FILE", "twinlens_copy512"]),
        ("ViT-B-16-SigLIP/webli", ["local-dir:FOLDER", "twinlens_copy512"]),
        ("hf-hub:org/model", ["local-dir:FOLDER", "twinlens_copy512"]),
    ],
)
def test_what_cannot_be_had_says_what_to_do(
    name: str, ways: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refusing() as endpoint:
        use_hub(monkeypatch, endpoint, tmp_path)
        with pytest.raises(WeightsUnavailable) as caught:
            locate(name)
    message = str(caught.value)
    assert all(way in message for way in ways), message
    # A bare file says nothing of the preprocessing that SigLIP needs.
    assert ("@FILE" in message) == ("ViT-B-32@FILE" in ways)
