"""Bytes of images under signed URLs, and answers that clients need not load twice."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from PIL import Image

from tests.explore import JsonObject, Lab, done, duplicates, laboratory, refusal
from tests.photographs import photographs

FILES = photographs()
SIGNED = ("media_uri", "media_thumb_uri")


@pytest.fixture(scope="module")
def browser() -> Iterator[httpx.Client]:
    """Sends no key, as an `<img>` tag does."""
    with httpx.Client(verify=False) as client:
        yield client


def previews(lab: Lab) -> dict[str, JsonObject]:
    clusters = lab.ann.explore(lab.dataset, [duplicates(0.95)])["clusters"]
    return {preview["file_name"]: preview for cluster in clusters for preview in cluster["previews"]}


# -- bytes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["astronaut.jpg", "coffee-again.jpg", "blank-1.png"])
def test_an_image_is_the_file_that_was_uploaded(lab: Lab, browser: httpx.Client, name: str) -> None:
    sent = done(browser.get(previews(lab)[name]["media_uri"]))
    assert sent.content == FILES[name]
    assert sent.headers["content-type"] == {"jpg": "image/jpeg", "png": "image/png"}[name[-3:]]
    assert int(sent.headers["content-length"]) == len(FILES[name])


def test_a_thumbnail_is_a_small_webp(lab: Lab, browser: httpx.Client) -> None:
    sent = done(browser.get(previews(lab)["astronaut.jpg"]["media_thumb_uri"]))
    assert sent.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(sent.content)) as picture:
        assert picture.format == "WEBP" and max(picture.size) <= 320
        assert picture.width == picture.height


@pytest.mark.parametrize("field", SIGNED)
def test_an_image_is_shown_as_nothing_else(lab: Lab, browser: httpx.Client, field: str) -> None:
    headers = done(browser.get(previews(lab)["astronaut.jpg"][field])).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["cache-control"].startswith("private, max-age=")


# -- signatures ------------------------------------------------------------------------------------


def with_query(url: str, **changes: str | None) -> str:
    asked: dict[str, str | None] = {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}
    left = {name: value for name, value in (asked | changes).items() if value is not None}
    return f"{url.split('?')[0]}?{urlencode(left)}"


def other_signature(url: str) -> str:
    signature = parse_qs(urlsplit(url).query)["signature"][0]
    return ("A" if signature[0] != "A" else "B") + signature[1:]


CHANGED: dict[str, Callable[[str, JsonObject], str]] = {
    "no query": lambda url, other: url.split("?")[0],
    "no signature": lambda url, other: with_query(url, signature=None),
    "no expiry": lambda url, other: with_query(url, expires=None),
    "an empty signature": lambda url, other: with_query(url, signature=""),
    "another signature": lambda url, other: with_query(url, signature=other_signature(url)),
    "a cut signature": lambda url, other: url[:-1],
    "a later expiry": lambda url, other: with_query(url, expires="99999999999"),
    "an earlier expiry": lambda url, other: with_query(url, expires="1"),
    "an expiry that is no number": lambda url, other: with_query(url, expires="never"),
    "another image": lambda url, other: f"{other['media_uri'].split('?')[0]}?{urlsplit(url).query}",
    "its thumbnail": lambda url, other: url.replace("/image?", "/thumbnail.webp?"),
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED.keys())
def test_a_url_that_was_not_given_out_is_refused(
    lab: Lab, browser: httpx.Client, change: Callable[[str, JsonObject], str]
) -> None:
    shown = previews(lab)
    url = change(shown["astronaut.jpg"]["media_uri"], shown["brick.jpg"])
    assert url not in (shown["astronaut.jpg"]["media_uri"], shown["brick.jpg"]["media_uri"])
    assert "the signature of this URL is" in refusal(browser.get(url), 403)


def test_a_key_is_no_signature(lab: Lab) -> None:
    path = urlsplit(previews(lab)["astronaut.jpg"]["media_uri"]).path.removeprefix("/api/v1")
    refusal(lab.ann.get(path), 403)


def test_a_url_is_the_same_for_a_while(lab: Lab) -> None:
    assert previews(lab)["astronaut.jpg"] == previews(lab)["astronaut.jpg"]
    expires = int(parse_qs(urlsplit(previews(lab)["astronaut.jpg"]["media_uri"]).query)["expires"][0])
    assert 3600 <= expires - time.time() <= 7200


@pytest.fixture(scope="module")
def elsewhere(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Another server for the same dataset, with short-lived URLs and a name of its own."""
    options = ("--dataset", str(lab.folder), "--owner", "ann")
    settings = {"url_signature_seconds": 1, "public_url": "https://twins.example.com/api-of-ours/"}
    with laboratory(tmp_path_factory.mktemp("elsewhere"), *options, **settings) as (server, ann, bob):
        (dataset,) = ann.json("/datasets")
        yield Lab(server, ann, bob, dataset["id"])


def test_a_url_begins_as_the_operator_says(elsewhere: Lab) -> None:
    for field in SIGNED:
        url = previews(elsewhere)["astronaut.jpg"][field]
        assert url.startswith("https://twins.example.com/api-of-ours/api/v1/dataset/")


def test_a_url_expires(elsewhere: Lab, browser: httpx.Client) -> None:
    public = previews(elsewhere)["astronaut.jpg"]["media_uri"]
    url = public.replace("https://twins.example.com/api-of-ours", elsewhere.server.url)
    assert done(browser.get(url)).content == FILES["astronaut.jpg"]
    deadline = time.monotonic() + 10
    while (answer := browser.get(url)).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "has expired" in refusal(answer, 403)
    fresh = previews(elsewhere)["astronaut.jpg"]["media_uri"]
    assert fresh != public


# -- etags -----------------------------------------------------------------------------------------


def test_an_answer_that_the_client_has_is_not_sent_again(lab: Lab) -> None:
    path = f"/explore/{lab.dataset}"
    first = done(lab.ann.get(path, duplicate_threshold=0.95))
    etag = first.headers["etag"]
    assert etag.startswith('"') and etag.endswith('"')
    assert (first.headers["cache-control"], first.headers["vary"]) == ("private, no-cache", "authorization")
    for sent in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = lab.ann.request(
            "GET", path, params={"duplicate_threshold": 0.95}, headers={"If-None-Match": sent}
        )
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


def test_another_answer_is_sent(lab: Lab) -> None:
    path = f"/explore/{lab.dataset}"
    etag = lab.ann.get(path, duplicate_threshold=0.95).headers["etag"]
    for params in ({"duplicate_threshold": 0.96}, {"duplicate_threshold": 0.95, "page_number": 1}, {}):
        answer = done(lab.ann.request("GET", path, params=params, headers={"If-None-Match": etag}))
        assert answer.headers["etag"] != etag and answer.json()
    answer = lab.ann.request(
        "GET", path, params={"duplicate_threshold": 0.95}, headers={"If-None-Match": '"no"'}
    )
    assert done(answer).headers["etag"] == etag


def test_an_etag_opens_nothing(lab: Lab) -> None:
    path = f"/explore/{lab.dataset}"
    refusal(lab.bob.request("GET", path, headers={"If-None-Match": "*"}), 404)
