"""What the environment says; the only module that reads it.

Every field of `Settings` is read from `TWINLENS_<NAME>`: `TWINLENS_PORT=9000`, `TWINLENS_HOME=/srv/twins`.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from twinlens.engine.cores import usable_cores


class DistanceUnit(StrEnum):
    """What distances and ranges of image matching count."""

    PERCENT = "percent"
    BITS = "bits"


def cache_home() -> Path:
    """The user's cache folder by the XDG Base Directory rules, `~/.cache` unless set otherwise."""
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) if base else Path.home() / ".cache"


def default_home() -> Path:
    """Where the service remembers things: `twinlens` in the user's data folder by the XDG rules."""
    return _data_home() / "twinlens"


def user_trash() -> Path:
    """The user's own trash, by the freedesktop.org Trash specification; it need not be there yet."""
    return _data_home() / "Trash"


def _data_home() -> Path:
    base = os.environ.get("XDG_DATA_HOME")
    return Path(base) if base else Path.home() / ".local" / "share"


def unknown_variables() -> list[str]:
    """Variables of the environment that look like settings and are none: misspelt, most likely."""
    known = {f"TWINLENS_{name.upper()}" for name in Settings.model_fields}
    return sorted(
        name for name in os.environ if name.upper().startswith("TWINLENS_") and name.upper() not in known
    )


class Settings(BaseSettings):
    """How a server runs.

    Attributes:
        home: folder of keys and collections.
        host: address to listen on; "localhost" is 127.0.0.1 and, where there is one, ::1.
        port: TCP port; 0 takes a free one and prints it.
        allow_anonymous: serve a public address although no key exists.
        workers: threads that decode and hash; one for each core unless given.
        distance_unit: percent of differing bits with one decimal, or bits.
        max_body_bytes: largest request body.
        max_inflight_bytes: bodies held in memory at once; requests beyond it wait before they are read.
        max_records: records in one request.
        max_hash_records: records in one `visual_hash`; 10 is documented.
        max_collection_records: records that one collection holds.
        max_image_bytes: largest image file, sent or downloaded.
        max_image_pixels: largest width times height, px. Decoding takes 10 to 25 bytes a pixel.
        max_body_values: JSON values in a request body, counted by its commas and opening brackets.
        idle_seconds: how long a client may say nothing: between requests, within the headers of one, and
            while it takes an answer.
        request_seconds: longest time for one request; records that are not read by then have failed.
        url_attempts: tries for one download.
        url_seconds: time for one download, all tries and redirects together.
        url_concurrency: downloads at a time, of all requests together.
        url_redirects: redirects followed.
        allow_private_urls: fetch from private, loopback and link-local addresses as well.
        datasets: folders of datasets made on the command line that are served, as one text with ":" between
            them.
        owner: name or id of the key that those datasets belong to.
        model: of datasets that are made over REST; "auto" takes CLIP where its weights can be had.
        device: where models and joins run: "cpu", "cuda", or "auto" for CUDA where there is one.
        index_processes: datasets that are indexed at a time, each in a process of its own.
        allowed_roots: folders below which `process` and `POST /dataset` may take images from, as one text
            with ":" between them; none unless given.
        public_url: what clients reach this server by, such as "https://twins.example.com", where that is not
            what their requests say.
        max_upload_bytes: largest request that uploads files, archives included.
        max_upload_file_bytes: largest image file in an upload or in an archive.
        max_upload_files: files in one request, or in one archive.
        max_unpacked_bytes: what an archive may unpack to.
        max_annotation_rows: rows of one file of labels.
        max_nearest: images that one search shows.
        max_pairs: pairs that one similarity threshold may have, identical copies counted once.
        queries_waiting: searches under way in a model, those whose image is being decoded included; more
            are told to come again (429).
        url_signature_seconds: how long, at least, the URL of an image can be loaded.
        anchor_seconds: how long an image that was uploaded to be searched for is remembered.
        jwt_max_seconds: longest time from `iat` to `exp` that a JWT may have; any unless given.
        page_cache_bytes: memory for answers of explore that were written out.
        shutdown_seconds: how long running requests may take to finish when the server is told to stop.
    """

    model_config = SettingsConfigDict(
        env_prefix="TWINLENS_", env_ignore_empty=True, extra="forbid", frozen=True
    )

    home: Path = Field(default_factory=default_home)
    host: str = "localhost"
    port: int = Field(default=8000, ge=0, le=65535)
    allow_anonymous: bool = False
    workers: int = Field(default_factory=usable_cores, ge=1)
    distance_unit: DistanceUnit = DistanceUnit.PERCENT
    max_body_bytes: int = Field(default=64 * 2**20, ge=1024)
    max_inflight_bytes: int = Field(default=256 * 2**20, ge=1024)
    max_body_values: int = Field(default=1_000_000, ge=1)
    max_records: int = Field(default=1000, ge=1)
    max_hash_records: int = Field(default=10, ge=1)
    max_collection_records: int = Field(default=1_000_000, ge=1)
    max_image_bytes: int = Field(default=32 * 2**20, ge=1)
    max_image_pixels: int = Field(default=100_000_000, ge=1)
    idle_seconds: int = Field(default=30, ge=1)
    request_seconds: float = Field(default=60, gt=0)
    url_attempts: int = Field(default=3, ge=1)
    url_seconds: float = Field(default=30, gt=0)
    url_concurrency: int = Field(default=16, ge=1)
    url_redirects: int = Field(default=5, ge=0)
    allow_private_urls: bool = False
    datasets: Annotated[tuple[Path, ...], NoDecode] = ()
    owner: str | None = None
    model: str = "auto"
    device: str = "auto"
    index_processes: int = Field(default=1, ge=1)
    allowed_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    public_url: str | None = Field(default=None, pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$")
    max_upload_bytes: int = Field(default=2 * 2**30, ge=1024)
    max_upload_file_bytes: int = Field(default=200 * 2**20, ge=1)
    max_upload_files: int = Field(default=100_000, ge=1)
    max_unpacked_bytes: int = Field(default=16 * 2**30, ge=1)
    max_annotation_rows: int = Field(default=1_000_000, ge=1)
    max_nearest: int = Field(default=1000, ge=1)
    max_pairs: int = Field(default=50_000_000, ge=1)
    queries_waiting: int = Field(default=256, ge=1)
    url_signature_seconds: int = Field(default=3600, ge=1)
    anchor_seconds: int = Field(default=86_400, ge=1)
    jwt_max_seconds: int | None = Field(default=None, ge=1)
    page_cache_bytes: int = Field(default=64 * 2**20, ge=0)
    shutdown_seconds: int = Field(default=30, ge=1)

    @field_validator("allowed_roots", "datasets", mode="before")
    @classmethod
    def _split_folders(cls, value: object) -> object:
        """One text with ":" between its folders, as in PATH."""
        return tuple(filter(None, value.split(os.pathsep))) if isinstance(value, str) else value

    @field_validator("home")
    @classmethod
    def _spell_out(cls, value: Path) -> Path:
        """Files remember absolute paths: the next server may be started elsewhere."""
        return Path(os.path.abspath(value))

    @field_validator("allowed_roots", "datasets")
    @classmethod
    def _spell_out_each(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        """The same for the same folder, however it was named."""
        return tuple(Path(os.path.abspath(folder)) for folder in value)

    @property
    def datasets_file(self) -> Path:
        """Where what the server remembers of datasets is."""
        return self.home / "datasets.sqlite"

    @property
    def datasets_folder(self) -> Path:
        """Where the files of datasets are that were made over REST."""
        return self.home / "datasets"

    @property
    def collections_file(self) -> Path:
        """Where the records of image matching are."""
        return self.home / "collections.sqlite"
