"""Multipart bodies, streamed to disk within limits.

The event loop collects about 1 MiB; a thread parses and writes it before more is read. Memory is the same
for every size of body, and a slow disk slows the client down.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeAlias, TypeVar

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from starlette.requests import Request

from twinlens.engine.errors import TwinLensError
from twinlens.engine.refusals import one_line
from twinlens.engine.storage import storage_errors
from twinlens.service.bodies import TooSlow, declared_bytes
from twinlens.service.explore.batches import BATCH_BYTES, BodyBatches
from twinlens.service.explore.failures import BadRequest
from twinlens.service.explore.part_headers import boundary_of, check_transfer_encoding, disposition_of
from twinlens.service.explore.small_uploads import MemoryStaging
from twinlens.service.explore.staging import Staging, safe_name, shown

Accept: TypeAlias = Callable[[str, str], None]
"""Raises for the name of a field or of a file that is not taken; called in a thread, before its bytes."""

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_MAX_HEADER_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What one request may hold.

    Attributes:
        max_bytes: of the whole body.
        max_file_bytes: of one file.
        max_files: parts with a file name.
        seconds_idle: how long no byte may come.
        max_field_bytes: of the value of one field that is no file.
        max_fields: parts without a file name.
    """

    max_bytes: int
    max_file_bytes: int
    max_files: int
    seconds_idle: float
    max_field_bytes: int = 64 * 1024
    max_fields: int = 100


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file on disk.

    Attributes:
        field: name of its form field.
        name: its safe base name.
        path: where its bytes lie; its last part is `name`.
        size: bytes.
    """

    field: str
    name: str
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Upload:
    """A whole body.

    Attributes:
        files: in the order in which they came.
        fields: values of the others by name.
    """

    files: tuple[ReceivedFile, ...]
    fields: dict[str, str]


async def receive_upload(request: Request, folder: Path, limits: UploadLimits, *, accept: Accept) -> Upload:
    """Write the files of a multipart body; they are on disk, past every cache, when this returns.

    What was written is removed before a refusal is raised. A client that is still sending would not see its
    reason: the rest of the body is read and thrown away first, for `seconds_idle` at most.

    Args:
        request: its body is not read yet.
        folder: exists, and only this call writes to it. Files lie at `folder/name`, the second of a name at
            `folder/2/name`, and so on.
        limits: what it may hold.
        accept: raises for what is not taken.

    Raises:
        InvalidValue: the body is not multipart/form-data, or names no boundary.
        BadRequest: it is malformed or breaks off, or has more than the limits allow.
        TooSlow: no byte came for `seconds_idle`.
        StorageFull: no room left in `folder`.
        DatasetReadOnly: `folder` cannot be written.
    """
    body = BodyBatches(request, max_bytes=limits.max_bytes, seconds_idle=limits.seconds_idle)
    async with _drained(body):
        boundary = boundary_of(request.headers.get("content-type"))
        receiver = _Receiver(boundary, folder, Staging(folder), limits, accept)
        body.check_declared_size()
        return await _received(body, receiver)


def is_small(request: Request) -> bool:
    """True if the headers announce a body that is read in one batch."""
    return 0 < declared_bytes(request) <= BATCH_BYTES


async def receive_small(
    request: Request, staging: MemoryStaging, limits: UploadLimits, *, accept: Accept
) -> Upload:
    """Take a body that `is_small` into memory; where its files lie says nothing but their names.

    Args and errors are those of `receive_upload`, without those of a disk.
    """
    body = BodyBatches(request, max_bytes=limits.max_bytes, seconds_idle=limits.seconds_idle)
    async with _drained(body):
        boundary = boundary_of(request.headers.get("content-type"))
        receiver = _Receiver(boundary, Path(), staging, limits, accept)
        body.check_declared_size()
        while batch := await body.next():
            receiver.write(batch)
        return receiver.finish()


@asynccontextmanager
async def _drained(body: BodyBatches) -> AsyncIterator[None]:
    """Read the rest of a body that is refused."""
    try:
        yield
    except TooSlow:
        raise
    except TwinLensError:
        await body.drain()
        raise


async def _received(body: BodyBatches, receiver: _Receiver) -> Upload:
    try:
        while batch := await body.next():
            await _in_thread(receiver.write, batch)
        return await _in_thread(receiver.finish)
    except BaseException:
        await _in_thread(receiver.discard)
        raise


async def _in_thread(
    function: Callable[_Arguments, _Result], *args: _Arguments.args, **options: _Arguments.kwargs
) -> _Result:
    """Run to the end even where the request is cancelled: nothing is written after its files are removed."""
    task = asyncio.create_task(asyncio.to_thread(function, *args, **options))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


class _Receiver:
    """Parses a body piece by piece and writes its files; for one thread at a time."""

    def __init__(
        self,
        boundary: str,
        folder: Path,
        staging: Staging | MemoryStaging,
        limits: UploadLimits,
        accept: Accept,
    ) -> None:
        self._folder = folder
        self._staging = staging
        self._limits = limits
        self._accept = accept
        self._files: list[ReceivedFile] = []
        self._fields: dict[str, str] = {}
        self._file: _OpenFile | None = None
        self._field, self._value = "", bytearray()
        self._headers: dict[str, str] = {}
        self._header, self._content = bytearray(), bytearray()
        self._header_bytes = 0
        self._is_whole = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_to_header,
                "on_header_value": self._add_to_content,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def write(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        with storage_errors(self._folder):
            try:
                self._parser.write(data)
            except FormParserError as error:
                raise BadRequest(f"the body is no multipart that can be read: {one_line(error)}") from error

    def finish(self) -> Upload:
        """What was received, once it is on disk."""
        if not self._is_whole:
            raise BadRequest("the multipart body breaks off before its last boundary: send it again")
        with storage_errors(self._folder):
            self._staging.sync()
        return Upload(tuple(self._files), self._fields)

    def discard(self) -> None:
        """Remove what was written."""
        if self._file:
            # Closing writes what is buffered, which may be what failed.
            with suppress(OSError):
                self._file.file.close()
        self._staging.discard()

    # -- what the parser calls ----------------------------------------------------------------------

    def _begin_part(self) -> None:
        self._headers = {}
        self._header_bytes = 0

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header += data[start:end]

    def _add_to_content(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._content += data[start:end]

    def _end_header(self) -> None:
        self._headers.setdefault(self._header.decode("latin-1").lower(), self._content.decode("latin-1"))
        self._header, self._content = bytearray(), bytearray()

    def _end_headers(self) -> None:
        part = disposition_of(self._headers.get("content-disposition"))
        check_transfer_encoding(self._headers.get("content-transfer-encoding"))
        self._field = part.field
        if part.filename is None:
            self._begin_field()
        else:
            self._begin_file(part.filename)

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        piece = memoryview(data)[start:end]
        if self._file is None:
            self._value += piece
            if len(self._value) > self._limits.max_field_bytes:
                most = f"{self._limits.max_field_bytes:,}"
                raise BadRequest(f"the field {shown(self._field)} has more than {most} bytes")
        else:
            self._file.size += len(piece)
            if self._file.size > self._limits.max_file_bytes:
                raise BadRequest(
                    f"the file {shown(self._file.name)} has more than {self._limits.max_file_bytes:,} bytes: "
                    "send a smaller one, or raise TWINLENS_MAX_UPLOAD_FILE_BYTES"
                )
            self._file.file.write(piece)

    def _end_part(self) -> None:
        if self._file is None:
            self._fields[self._field] = self._text()
        else:
            self._file.file.close()
            done = self._file
            self._files.append(ReceivedFile(self._field, done.name, done.path, done.size))
            self._file = None

    def _end(self) -> None:
        self._is_whole = True

    # -- parts ---------------------------------------------------------------------------------------

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _MAX_HEADER_BYTES:
            raise BadRequest(f"a part of the body has headers of more than {_MAX_HEADER_BYTES:,} bytes")

    def _begin_file(self, filename: str) -> None:
        if len(self._files) == self._limits.max_files:
            raise BadRequest(
                f"the request holds more than {self._limits.max_files:,} files: send fewer in one request, "
                "or raise TWINLENS_MAX_UPLOAD_FILES"
            )
        name = safe_name(filename)
        self._accept(self._field, name)
        path, file = self._staging.create((name,))
        self._file = _OpenFile(name, path, file)

    def _begin_field(self) -> None:
        if len(self._fields) == self._limits.max_fields:
            raise BadRequest(
                f"the request holds more than {self._limits.max_fields:,} fields beside its files"
            )
        if self._field in self._fields:
            raise BadRequest(f"the field {shown(self._field)} is given twice: send it once")
        self._value = bytearray()

    def _text(self) -> str:
        try:
            return self._value.decode()
        except UnicodeDecodeError as error:
            raise BadRequest(
                f"the field {shown(self._field)} is no UTF-8 text from byte {error.start} on"
            ) from None


@dataclass(slots=True)
class _OpenFile:
    """A file whose bytes are coming."""

    name: str
    path: Path
    file: BinaryIO
    size: int = 0
