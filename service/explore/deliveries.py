"""From what a client sent to what a dataset takes: files checked by name, archives unpacked, labels read."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from starlette.requests import Request

from twinlens.engine.errors import InvalidValue
from twinlens.engine.formats import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from twinlens.service.explore.annotation_files import (
    Annotation,
    is_annotation_file,
    unsupported_annotation,
)
from twinlens.service.explore.annotation_process import annotations_of
from twinlens.service.explore.archives import ArchiveLimits, unpack
from twinlens.service.explore.failures import BadRequest
from twinlens.service.explore.intake import INCOMING, Delivery, Intake
from twinlens.service.explore.small_uploads import MemoryStaging, only_one
from twinlens.service.explore.uploads import (
    Accept,
    Upload,
    UploadLimits,
    is_small,
    receive_small,
    receive_upload,
)
from twinlens.service.settings import Settings

FILES = ("files", "files[]")
ARCHIVES = ("archive", "file")
QUERY = "file"
_SHOWN = 100


async def receive(
    request: Request,
    folder: Path,
    settings: Settings,
    *,
    fields: Iterable[str],
    archives: Iterable[str] = (),
    blobs: bool = False,
) -> Upload:
    """Read the body of a request to disk.

    Args:
        request: its body is not read yet.
        folder: an empty one.
        settings: limits.
        fields: names of form fields that take image files, and files of labels.
        archives: names of form fields that take an archive.
        blobs: take files without an extension as well, as browsers call what comes from memory ("blob").

    Raises:
        InvalidValue: no multipart body, a field or a kind of file that is not taken.
        BadRequest: limits, damage, an extension of no image.
    """
    archives, fields = tuple(archives), tuple(fields)
    limits = _limits(settings, archives=bool(archives))
    return await receive_upload(request, folder, limits, accept=_accepting(fields, archives, blobs=blobs))


async def receive_query(request: Request, intake: Intake, settings: Settings) -> tuple[bytes, dict[str, str]]:
    """Read the one image of a request that searches for it, and its other fields.

    Raises:
        InvalidValue, BadRequest: as `receive`, or it is not one image.
    """
    limits, accept = _limits(settings), _accepting((QUERY,), blobs=True)
    if is_small(request):
        memory = MemoryStaging()
        sent = await receive_small(request, memory, limits, accept=accept)
        return memory.only_content(), sent.fields
    async with intake.staging(INCOMING) as folder:
        sent = await receive_upload(request, folder, limits, accept=accept)
        if len(sent.files) != 1:
            raise only_one()
        return await asyncio.to_thread(sent.files[0].path.read_bytes), sent.fields


def _limits(settings: Settings, *, archives: bool = False) -> UploadLimits:
    return UploadLimits(
        max_bytes=settings.max_upload_bytes,
        max_file_bytes=settings.max_upload_bytes if archives else settings.max_upload_file_bytes,
        max_files=settings.max_upload_files,
        seconds_idle=settings.idle_seconds,
    )


def _accepting(fields: Sequence[str], archives: Sequence[str] = (), *, blobs: bool) -> Accept:
    def accept(field: str, name: str) -> None:
        if field in archives:
            return
        if field not in fields:
            taken = ", ".join(f"'{each}'" for each in (*fields, *archives))
            raise InvalidValue(f"form field {field[:_SHOWN]!r} takes no file here: use {taken}")
        if not (blobs and not os.path.splitext(name)[1]):
            check_name(name)

    return accept


def check_name(name: str) -> None:
    """See that a file may be an image, or one of labels, by its name.

    Raises:
        InvalidValue: a video, or labels of objects.
        BadRequest: something else.
    """
    extension = os.path.splitext(name)[1].lower()
    if is_annotation_file(name) or extension in IMAGE_EXTENSIONS:
        return
    if (why := unsupported_annotation(name)) is not None:
        raise InvalidValue(why)
    if extension in VIDEO_EXTENSIONS:
        raise InvalidValue(
            f"{name[:_SHOWN]!r} is a video, which is not supported by this server: send extracted frames"
        )
    kinds = " ".join(sorted(IMAGE_EXTENSIONS))
    raise BadRequest(f"Unsupported format: {name[:_SHOWN]!r} is none of {kinds}")


def delivery_of_files(upload: Upload, folder: Path, settings: Settings) -> Delivery:
    """What a request with single files brings.

    Raises:
        InvalidValue: a file of labels that cannot be read.
        BadRequest: no file at all.
    """
    if not upload.files:
        raise BadRequest("no file was sent: repeat the form field 'files'")
    digest = hashlib.sha256()
    annotations: list[Annotation] = []
    images = 0
    for file in upload.files:
        digest.update(f"{len(file.name)} {file.name} {file.size} ".encode("utf-8", "surrogatepass"))
        with open(file.path, "rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
        if is_annotation_file(file.name):
            annotations += annotations_of(file.path, file.name, max_rows=settings.max_annotation_rows)
            file.path.unlink()
        else:
            images += 1
    return Delivery(folder, images, digest.digest(), tuple(annotations))


def delivery_of_archive(upload: Upload, folder: Path, settings: Settings) -> Delivery:
    """What a request with an archive brings; the archive itself is removed.

    Raises:
        InvalidValue: a file of labels that cannot be read.
        BadRequest: no archive or several, damage, limits, or nothing in it that may be an image.
    """
    if len(upload.files) != 1:
        raise BadRequest(f"one archive is taken in one request, and {len(upload.files)} files were sent")
    (archive,) = upload.files
    target = folder / "unpacked"
    target.mkdir()
    limits = ArchiveLimits(
        max_members=settings.max_upload_files,
        max_file_bytes=settings.max_upload_file_bytes,
        max_bytes=settings.max_unpacked_bytes,
    )
    unpacked = unpack(archive.path, archive.name, target, limits)
    with open(archive.path, "rb") as content:
        digest = hashlib.file_digest(content, "sha256").digest()
    archive.path.unlink()
    annotations: list[Annotation] = []
    images = 0
    for path in unpacked.files:
        if is_annotation_file(path.name):
            annotations += annotations_of(path, path.name, max_rows=settings.max_annotation_rows)
            path.unlink()
        elif path.suffix.lower() in IMAGE_EXTENSIONS:
            images += 1
    if not images:
        raise BadRequest(f"{archive.name[:_SHOWN]!r} holds no image")
    left_out = tuple((each.name, each.reason) for each in unpacked.left_out)
    return Delivery(target, images, digest, tuple(annotations), left_out)
