"""Exports from asking to downloading: who may, under which names and URLs, how they end."""

from __future__ import annotations

import httpx
import pytest

from tests.explore import JsonObject, Lab, done, duplicates, refusal
from tests.service.explore.exported import download, export_json, finished, start, task_of, unpacked

NOBODY = "00000000-0000-4000-8000-000000000007"


def test_the_archive_is_downloaded_under_the_name_that_was_asked_for(lab: Lab) -> None:
    for asked, name in (
        ({"file_name": "cats & dogs"}, "cats_dogs.zip"),
        ({"file_name": "../../etc/cats.ZIP"}, "cats.zip"),
        ({"file_name": "\r\nx: y"}, "x_y.zip"),
        ({"file_name": "Ünï"}, "n.zip"),
        ({"file_name": "..."}, "export.zip"),
        ({}, "photographs.zip"),
    ):
        state = finished(lab.ann, lab.dataset, start(lab.ann, lab.dataset, **asked))
        assert httpx.URL(state["download_uri"]).path.endswith(f"/{name}")
        headers = done(httpx.get(state["download_uri"], verify=False)).headers
        assert headers["content-disposition"] == f'attachment; filename="{name}"'
        assert headers["x-content-type-options"] == "nosniff"


def test_only_the_url_that_was_signed_is_served(lab: Lab) -> None:
    tasks = [start(lab.ann, lab.dataset) for _ in range(2)]
    one, other = (finished(lab.ann, lab.dataset, task) for task in tasks)
    url = httpx.URL(one["download_uri"])
    signature = str(url.params["signature"])
    changed = [
        url.copy_set_param("signature", signature[:-1] + ("A" if signature[-1] != "A" else "B")),
        url.copy_set_param("expires", str(int(url.params["expires"]) + 1)),
        url.copy_remove_param("signature"),
        url.copy_remove_param("expires"),
        url.copy_with(query=None),
        url.copy_with(path=httpx.URL(other["download_uri"]).path),
        url.copy_with(path=url.path.replace(".zip", "2.zip")),
    ]
    for each in changed:
        refusal(httpx.get(each, verify=False), 403)
    assert unpacked(download(one)).keys() == {"metadata.json"}


def test_nothing_to_export_is_rejected(lab: Lab) -> None:
    cluster = lab.ann.explore(lab.dataset, [duplicates(0.9)])["clusters"][-1]
    members = [media["media_id"] for media in cluster["previews"]]
    payload = {"cluster_id": cluster["cluster_id"], "exclude_media_ids": members}
    selection = {"media_selection": [{"type": "cluster", "payload": payload}]}
    for started in (
        lab.ann.get(f"/dataset/{lab.dataset}/export_context_async", labels="nobody"),
        lab.ann.post(f"/dataset/{lab.dataset}/export_entities_async", json=selection),
    ):
        state = finished(lab.ann, lab.dataset, task_of(started))
        assert (state["status"], state["entities_count"], state["download_uri"]) == ("REJECTED", 0, None)
        assert "no image" in state["result_message"]


def test_who_may_see_a_dataset_exports_it_under_the_own_name(lab: Lab) -> None:
    task = start(lab.ann, lab.dataset)
    grant = {"grant_to_user_email": "bob"}
    for call in ("export_context_async", "export", "export_media_id"):
        refusal(lab.bob.get(f"/dataset/{lab.dataset}/{call}"), 404)
    refusal(lab.bob.get(f"/dataset/{lab.dataset}/export_status", export_task_id=task), 404)
    done(lab.ann.put(f"/manage/{lab.dataset}/invite", json=grant))
    assert export_json(lab.bob, lab.dataset)["info"]["exported_by"] == "bob"
    assert lab.bob.json(f"/dataset/{lab.dataset}/export")["info"]["exported_by"] == "bob"
    done(lab.ann.request("DELETE", f"/manage/{lab.dataset}/invite", json=grant))


def test_a_dataset_that_is_not_ready_is_not_exported(lab: Lab) -> None:
    draft = lab.ann.new_dataset("draft")
    path = f"/dataset/{draft}"
    body = {"media_selection": [{"type": "media", "payload": {"media_ids": [NOBODY]}}]}
    for answer in (
        *(lab.ann.get(f"{path}/{call}") for call in ("export_context_async", "export", "export_media_id")),
        lab.ann.post(f"{path}/export_entities_async", json=body),
    ):
        assert "DRAFT" in refusal(answer, 409)
    task = start(lab.ann, lab.dataset)
    refusal(lab.ann.get(f"{path}/export_status", export_task_id=task), 404)
    done(lab.ann.delete(path))


@pytest.mark.parametrize(
    ("asked", "code", "named"),
    [
        ({"export_format": "coco"}, 422, "export_format"),
        ({"include_images": "maybe"}, 422, "include_images"),
        ({"duplicate_threshold": "2"}, 422, "duplicate_threshold"),
        ({"vql": "[{}]"}, 422, "vql"),
        ({"entity_type": "OBJECTS"}, 422, "OBJECTS"),
        ({"caption": "a cat"}, 409, "efficientnet_lite0"),
        ({"anchor_media_id": NOBODY, "anchor_type": "UPLOAD"}, 404, NOBODY),
    ],
)
def test_what_cannot_be_answered_is_refused_at_once(
    lab: Lab, asked: JsonObject, code: int, named: str
) -> None:
    assert named in refusal(lab.ann.get(f"/dataset/{lab.dataset}/export_context_async", **asked), code)


def test_tasks_that_nobody_knows(lab: Lab) -> None:
    path = f"/dataset/{lab.dataset}/export_status"
    assert "export_task_id" in refusal(lab.ann.get(path), 400)
    for task in (NOBODY, "x", "\0"):
        refusal(lab.ann.get(path, export_task_id=task), 404)
