"""Archives of every kind, real and hostile."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import shutil
import stat
import struct
import subprocess
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.disks import small_disk
from twinlens.engine.errors import StorageFull
from twinlens.service.explore.archives import ArchiveLimits, LeftOut, Unpacked, unpack
from twinlens.service.explore.failures import BadRequest

LIMITS = ArchiveLimits(max_members=1000, max_file_bytes=10_000_000, max_bytes=20_000_000)
PHOTOS = {"a.jpg": b"first", "trip/b.jpg": os.urandom(2_500_000), "trip/day 2/naïve 猫.png": b""}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes,
    ".tar.gz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
}


def a_zip(
    members: Iterable[tuple[str | zipfile.ZipInfo, bytes]], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", method) as file:
        for name, data in members:
            file.writestr(name, data, compress_type=method)
    return packed.getvalue()


def a_tar(members: Iterable[tuple[str | tarfile.TarInfo, bytes]], style: int = tarfile.PAX_FORMAT) -> bytes:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=style) as file:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = info.size or len(data)
            file.addfile(info, BytesIO(data))
    return packed.getvalue()


def unpacked(
    tmp_path: Path, packed: bytes, limits: ArchiveLimits = LIMITS, name: str = "photos.zip"
) -> Unpacked:
    """Unpack bytes below `tmp_path`, and see that nothing else is there."""
    archive, folder = tmp_path / "archive", tmp_path / "photos"
    archive.write_bytes(packed)
    folder.mkdir()
    result = unpack(archive, name, folder, limits)
    assert sorted(result.files) == sorted(path for path in folder.rglob("*") if not path.is_dir())
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    return result


def contents(tmp_path: Path, result: Unpacked) -> dict[str, bytes]:
    return {str(path.relative_to(tmp_path / "photos")): path.read_bytes() for path in result.files}


def assert_refused(tmp_path: Path, packed: bytes, words: str, limits: ArchiveLimits = LIMITS) -> None:
    """See that an archive is refused as a whole and that nothing of it stays."""
    with pytest.raises(BadRequest, match=words) as refused:
        unpacked(tmp_path, packed, limits)
    assert str(refused.value).startswith("'photos.zip' ")
    assert not list((tmp_path / "photos").iterdir())


def assert_left_out(result: Unpacked, **expected: str) -> None:
    reasons = {each.name: each.reason for each in result.left_out}
    assert set(reasons) == set(expected)
    for name, words in expected.items():
        assert words in reasons[name], reasons


# -- what real programs pack ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED], ids=["deflated", "stored"])
def test_a_zip_is_unpacked_with_its_folders(tmp_path: Path, method: int) -> None:
    result = unpacked(tmp_path, a_zip(PHOTOS.items(), method))
    assert contents(tmp_path, result) == PHOTOS
    assert list(contents(tmp_path, result)) == list(PHOTOS)
    assert result.left_out == ()


@pytest.mark.parametrize("style", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_a_tar_is_unpacked_with_its_folders(
    tmp_path: Path, compress: Callable[[bytes], bytes], style: int
) -> None:
    result = unpacked(tmp_path, compress(a_tar(PHOTOS.items(), style)))
    assert contents(tmp_path, result) == PHOTOS
    assert result.left_out == ()


@pytest.mark.parametrize(
    "command",
    [
        ["zip", "-qr", "-", "."],
        ["tar", "-c", "."],
        ["tar", "-cz", "--format=posix", "."],
        ["tar", "-cj", "."],
    ],
    ids=" ".join,
)
def test_what_the_system_packs_is_unpacked(tmp_path: Path, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]}")
    for name, data in PHOTOS.items():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_bytes(data)
    packed = subprocess.run(command, cwd=tmp_path / "source", capture_output=True, check=True).stdout
    result = unpacked(tmp_path, packed)
    assert contents(tmp_path, result) == PHOTOS
    assert result.left_out == ()


def test_an_archive_may_be_empty(tmp_path: Path) -> None:
    for number, packed in enumerate([a_zip([]), a_tar([]), gzip.compress(a_tar([]))]):
        (tmp_path / str(number)).mkdir()
        assert unpacked(tmp_path / str(number), packed) == Unpacked((), ())


def test_a_zip_behind_a_program_is_unpacked(tmp_path: Path) -> None:
    assert contents(tmp_path, unpacked(tmp_path, b"MZ" * 1000 + a_zip([("a.jpg", b"1")]))) == {"a.jpg": b"1"}


def test_a_tar_that_ends_in_a_zip_is_a_tar(tmp_path: Path) -> None:
    inner = a_zip([("a.jpg", b"1")])
    assert contents(tmp_path, unpacked(tmp_path, a_tar([("in.zip", inner)]))) == {"in.zip": inner}


def test_several_compressed_streams_are_one(tmp_path: Path) -> None:
    packed = a_tar(PHOTOS.items())
    split = gzip.compress(packed[:700_000]) + gzip.compress(packed[700_000:]) + bytes(1000)
    result = unpacked(tmp_path, split)
    assert contents(tmp_path, result) == PHOTOS
    assert result.left_out == ()


def test_archives_in_archives_are_files(tmp_path: Path) -> None:
    bomb = a_zip([("b.zip", a_zip([("a.jpg", bytes(10**8))]))])
    assert list(contents(tmp_path, unpacked(tmp_path, bomb))) == ["b.zip"]


def test_the_name_says_nothing_about_the_kind(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "archive").write_bytes(a_tar([("a.jpg", b"1")]))
    result = unpack(tmp_path / "archive", "photos.zip", tmp_path / "folder", LIMITS)
    assert result.files == (tmp_path / "folder" / "a.jpg",)


# -- names -----------------------------------------------------------------------------------------------

HOSTILE_NAMES = {
    "../../etc/passwd": "etc/passwd",
    "/etc/passwd": "2/etc/passwd",
    "..\\..\\boot.ini": "boot.ini",
    "C:\\photos\\a.jpg": "photos/a.jpg",
    "photos/../../b.jpg": "photos/b.jpg",
    "new\nline.jpg": "newline.jpg",
    "x" * 300 + ".jpg": "x" * 251 + ".jpg",
    "a/" * 31 + "deep.jpg": "a/" * 31 + "deep.jpg",
}


@pytest.mark.parametrize("pack", [a_zip, a_tar])
def test_names_lead_nowhere_else(tmp_path: Path, pack: Callable[..., bytes]) -> None:
    members = [(name, place.encode()) for name, place in HOSTILE_NAMES.items()]
    places = contents(tmp_path, unpacked(tmp_path, pack(members)))
    assert list(places) == list(HOSTILE_NAMES.values())
    assert all(place.encode() == data for place, data in places.items())


@pytest.mark.parametrize("pack", [a_zip, a_tar])
def test_names_that_lead_to_no_file_are_left_out(tmp_path: Path, pack: Callable[..., bytes]) -> None:
    deep, long = "a/" * 32 + "b.jpg", "/".join(["x" * 200] * 6)
    result = unpacked(tmp_path, pack([(name, b"1") for name in ("..", deep, long, "a.jpg")]))
    assert list(contents(tmp_path, result)) == ["a.jpg"]
    assert_left_out(
        result, **{"'..'": "leads to no file", deep: "more than 32 parts", long: "or 1,024 bytes"}
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("pack", [a_zip, a_tar])
def test_members_of_one_name_do_not_overwrite_each_other(tmp_path: Path, pack: Callable[..., bytes]) -> None:
    names = ["a.jpg", "a.jpg", "./a.jpg", "b", "b/c.jpg", "d/e.jpg", "d"]
    packed = pack([(name, str(number).encode()) for number, name in enumerate(names)])
    assert contents(tmp_path, unpacked(tmp_path, packed)) == {
        "a.jpg": b"0",
        "2/a.jpg": b"1",
        "3/a.jpg": b"2",
        "b": b"3",
        "2/b/c.jpg": b"4",
        "d/e.jpg": b"5",
        "2/d": b"6",
    }


@pytest.mark.parametrize("pack", [a_zip, a_tar])
def test_hidden_files_and_folders_are_passed_by(tmp_path: Path, pack: Callable[..., bytes]) -> None:
    names = [
        ".hidden.jpg",
        ".twinlens/catalog",
        "x/.cache/a.jpg",
        "__MACOSX/._a.jpg",
        "x/__MACOSX/a.jpg",
        "a.jpg",
    ]
    result = unpacked(tmp_path, pack([(name, b"1") for name in names]))
    assert list(contents(tmp_path, result)) == ["a.jpg"]
    assert result.left_out == ()


def test_names_in_utf_8_that_do_not_say_so_and_in_other_charsets(tmp_path: Path) -> None:
    def renamed(packed: bytes, old: bytes, new: bytes) -> bytes:
        assert len(old) == len(new) and packed.count(old) == 2
        return packed.replace(old, new)

    packed = a_zip([("AAAAAA.jpg", b"1"), ("BBBBB.jpg", b"2")])
    packed = renamed(packed, b"AAAAAA.jpg", "naïv.jpg".encode() + b"g").replace(b".jpgg", b"X.jpg")
    packed = renamed(packed, b"BBBBB.jpg", b"na\x8bve.jpg")
    assert list(contents(tmp_path, unpacked(tmp_path, packed))) == ["naïvX.jpg", "naïve.jpg"]


def test_names_of_a_tar_that_are_not_utf_8_are_latin_1(tmp_path: Path) -> None:
    info = tarfile.TarInfo("na\udcefve.jpg")
    packed = a_tar([(info, b"1")], tarfile.GNU_FORMAT)
    assert b"na\xefve.jpg" in packed
    assert list(contents(tmp_path, unpacked(tmp_path, packed))) == ["naïve.jpg"]


# -- members that are left out ---------------------------------------------------------------------------


def test_what_is_no_file_in_a_tar_is_left_out(tmp_path: Path) -> None:
    kinds = {
        "link": (tarfile.SYMTYPE, "symbolic link"),
        "hard": (tarfile.LNKTYPE, "hard link"),
        "disk": (tarfile.BLKTYPE, "device"),
        "null": (tarfile.CHRTYPE, "device"),
        "pipe": (tarfile.FIFOTYPE, "pipe"),
        "what": (b"Z", "unknown kind"),
    }
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [("a.jpg", b"1")]
    for name, (kind, _) in kinds.items():
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        members.append((info, b""))
    folder = tarfile.TarInfo("folder")
    folder.type = tarfile.DIRTYPE
    result = unpacked(tmp_path, a_tar([*members, (folder, b""), ("link/b.jpg", b"2")]))
    assert contents(tmp_path, result) == {"a.jpg": b"1", "link/b.jpg": b"2"}
    assert_left_out(result, **{name: words for name, (_, words) in kinds.items()})


def test_what_is_no_file_in_a_zip_is_left_out(tmp_path: Path) -> None:
    members: list[tuple[str | zipfile.ZipInfo, bytes]] = [("a.jpg", b"1"), ("folder/", b"")]
    for name, kind in (("link", stat.S_IFLNK), ("disk", stat.S_IFBLK)):
        info = zipfile.ZipInfo(name)
        info.external_attr = (kind | 0o644) << 16
        members.append((info, b"/etc/passwd"))
    result = unpacked(tmp_path, a_zip(members))
    assert contents(tmp_path, result) == {"a.jpg": b"1"}
    assert_left_out(result, link="symbolic link", disk="device")


def test_sparse_files_are_left_out_and_what_follows_is_not(tmp_path: Path) -> None:
    if shutil.which("tar") is None:
        pytest.skip("there is no tar")
    source = tmp_path / "source"
    source.mkdir()
    with (source / "a.jpg").open("wb") as file:
        for place in range(0, 60_000_000, 2_000_000):
            file.seek(place)
            file.write(b"x" * 5000)
    (source / "b.jpg").write_bytes(b"2")
    for style in ("gnu", "posix"):
        folder = tmp_path / style
        folder.mkdir()
        command = ["tar", "-cS", f"--format={style}", "a.jpg", "b.jpg"]
        result = unpacked(folder, subprocess.run(command, cwd=source, capture_output=True, check=True).stdout)
        assert contents(folder, result) == {"b.jpg": b"2"}
        assert_left_out(result, **{"a.jpg": "sparse"})


def test_three_broken_files_do_not_spoil_a_zip(tmp_path: Path) -> None:
    packed = a_zip([("a.jpg", b"first"), ("bad sum.jpg", b"second"), ("z.jpg", b"third")], zipfile.ZIP_STORED)
    result = unpacked(tmp_path, packed.replace(b"second", b"SECOND"))
    assert contents(tmp_path, result) == {"a.jpg": b"first", "z.jpg": b"third"}
    assert_left_out(result, **{"bad sum.jpg": "CRC-32"})


def damaged(name: str, change: Callable[[bytearray, int, int], None]) -> bytes:
    """A zip of three files in which the header and the table entry of one are changed."""
    packed = bytearray(a_zip([("a.jpg", b"first" * 9), (name, b"second" * 99), ("z.jpg", b"third" * 9)]))
    header = packed.index(b"PK\x03\x04", 10)
    entry = packed.index(b"PK\x01\x02", packed.index(b"PK\x01\x02") + 10)
    change(packed, header, entry)
    return bytes(packed)


def put(place: int, value: int, form: str = "<H", *, in_table: int | None = None) -> Callable[..., None]:
    """Overwrite a field of the local header, and of the table entry (two bytes further, if not said)."""

    def change(packed: bytearray, header: int, entry: int) -> None:
        if place >= 0:
            struct.pack_into(form, packed, header + place, value)
        struct.pack_into(form, packed, entry + (place + 2 if in_table is None else in_table), value)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put(6, 1), "encrypted"),
        (put(6, 0x41), "encrypted"),
        (put(6, 0x20), "method 8"),
        (put(8, 12), "method 12"),
        (put(8, 14), "method 14"),
        (put(8, 99), "method 99"),
        (put(14, 7, "<I"), "CRC-32"),
        (put(22, 10, "<I"), "CRC-32"),
        (put(22, 1_000_000, "<I"), "are missing"),
        (put(18, 5, "<I"), "damaged"),
        (put(0, 7, "<I", in_table=16), "damaged"),
        (put(-1, 0xFFFFFFF0, "<I", in_table=42), "not in the archive"),
        (lambda packed, header, entry: struct.pack_into("8s", packed, header + 38, b"\xff" * 8), "damaged"),
    ],
    ids=range(13),
)
def test_one_bad_member_of_a_zip_is_left_out(
    tmp_path: Path, change: Callable[[bytearray, int, int], None], words: str
) -> None:
    result = unpacked(tmp_path, damaged("bad.jpg", change))
    assert contents(tmp_path, result) == {"a.jpg": b"first" * 9, "z.jpg": b"third" * 9}
    assert_left_out(result, **{"bad.jpg": words})


# -- damaged as a whole ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "packed",
    [b"", b"hello", b"\xff\xd8\xff\xe0" * 1000, b"7z\xbc\xaf\x27\x1c" * 200, b"Rar!\x1a\x07" * 200],
    ids=["nothing", "text", "a JPEG", "7z", "rar"],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, packed: bytes) -> None:
    assert_refused(tmp_path, packed, "no zip or tar archive: pack the files as .zip, .tar or .tar.gz")


def test_a_compressed_file_that_is_no_tar_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path, gzip.compress(b"\xff\xd8\xff\xe0" * 1000), "holds no tar archive")


@pytest.mark.parametrize("magic", [b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\0"])
def test_a_compressed_file_that_is_none_is_refused(tmp_path: Path, magic: bytes) -> None:
    assert_refused(tmp_path, magic + b"nonsense" * 1000, "cannot be unpacked: the archive is damaged")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_zip_that_breaks_off_is_refused(tmp_path: Path, part: float) -> None:
    packed = a_zip([(f"{number}.jpg", os.urandom(1000)) for number in range(20)])
    assert_refused(tmp_path, packed[: int(len(packed) * part)], "table of contents cannot be read")


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_a_tar_that_breaks_off_keeps_what_came_before(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    noise = random.Random(1).randbytes(1_500_000)
    packed = compress(a_tar([("a.jpg", b"1" * 999), ("b.jpg", noise), ("c.jpg", b"3")]))
    result = unpacked(tmp_path, packed[:1_000_000])
    if compress is bytes or compress is gzip.compress:
        assert contents(tmp_path, result) == {"a.jpg": b"1" * 999}
    assert result.left_out == (LeftOut("b.jpg", "the archive is cut off"),)


def test_a_tar_that_breaks_off_between_members_says_so(tmp_path: Path) -> None:
    packed = a_tar([("a.jpg", b"1"), ("b.jpg", b"2")])
    places = {1024: "without its end mark", 1500: "cut off", 512: "cut off"}
    for cut, words in places.items():
        (tmp_path / str(cut)).mkdir()
        result = unpacked(tmp_path / str(cut), packed[:cut])
        assert len(result.files) == (cut >= 1024)
        assert_left_out(result, **{"photos.zip" if cut >= 1024 else "a.jpg": words})


def test_a_tar_with_a_damaged_header_keeps_what_came_before(tmp_path: Path) -> None:
    packed = bytearray(a_tar([("a.jpg", b"1"), ("b.jpg", b"2"), ("c.jpg", b"3")]))
    packed[1024:1030] = b"broken"
    result = unpacked(tmp_path, bytes(packed))
    assert contents(tmp_path, result) == {"a.jpg": b"1"}
    assert_left_out(result, **{"photos.zip": "damaged from here on"})


def test_a_checksum_of_gzip_that_does_not_hold_is_named(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(a_tar([("a.jpg", b"1")])))
    packed[-8] ^= 1
    result = unpacked(tmp_path, bytes(packed))
    assert contents(tmp_path, result) == {"a.jpg": b"1"}
    assert_left_out(result, **{"photos.zip": "incorrect data check"})


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_damage_fails_in_another_way(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    members = [("a.jpg", b"first" * 50), ("trip/b.jpg", b"second"), ("x" * 150, b"third")]
    whole = [a_zip(members), a_tar(members), gzip.compress(a_tar(members))]
    packed = bytearray(data.draw(st.sampled_from(whole)))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damaged")
    try:
        unpacked(folder, bytes(packed[: data.draw(st.integers(0, len(packed)))]))
    except BadRequest:
        assert not list((folder / "photos").iterdir())


# -- limits and bombs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [a_zip, a_tar])
def test_limits_are_what_is_allowed(tmp_path: Path, pack: Callable[..., bytes]) -> None:
    packed = pack([("a.jpg", bytes(1000)), ("b.jpg", bytes(500))])
    for number, (limits, words) in enumerate(
        [
            (ArchiveLimits(2, 1000, 1500), ""),
            (ArchiveLimits(1, 1000, 1500), "more than 1 members.*TWINLENS_MAX_UPLOAD_FILES"),
            (
                ArchiveLimits(2, 999, 1500),
                "'a.jpg' in it has more than 999 bytes.*TWINLENS_MAX_UPLOAD_FILE_BYTES",
            ),
            (ArchiveLimits(2, 1000, 1499), "more than 1,499 bytes.*TWINLENS_MAX_UNPACKED_BYTES"),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        if words:
            assert_refused(folder, packed, words, limits)
        else:
            assert len(unpacked(folder, packed, limits).files) == 2


def test_folders_count_as_members(tmp_path: Path) -> None:
    packed = a_tar(
        [("/".join(map(str, range(number, number + 20))) + "/a.jpg", b"") for number in range(100)]
    )
    assert_refused(tmp_path, packed, "more than 1,000 members")


def zeros_in_zip(size: int) -> bytes:
    return a_zip([("zeros.jpg", bytes(size))])


def test_a_zip_of_zeros_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    assert_refused(tmp_path, zeros_in_zip(10_000_001), "'zeros.jpg' in it has more than 10,000,000 bytes")


def test_a_zip_of_many_zeros_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(a_zip([(f"{number}.jpg", bytes(8_000_000)) for number in range(3)]))
    with small_disk(tmp_path / "disk", "1m") as disk, pytest.raises(BadRequest, match="unpacks to more than"):
        unpack(tmp_path / "archive", "photos.zip", disk, LIMITS)


def test_a_zip_that_lies_about_sizes_gives_no_more_than_it_claims(tmp_path: Path) -> None:
    packed = bytearray(zeros_in_zip(100_000_000))
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", packed, packed.index(mark) + place, 1000)
    result = unpacked(tmp_path, bytes(packed))
    assert result.files == ()
    assert_left_out(result, **{"zeros.jpg": "damaged"})


def overlapping(count: int) -> bytes:
    """A kernel that many members share, each of which quotes the headers of those after it.

    Source: D. Fifield, "A better zip bomb", WOOT 2019, section 3.1 (here without quoting: one offset).
    """
    one = a_zip([("a.jpg", bytes(1_000_000))])
    table = one.index(b"PK\x01\x02")
    end = one.index(b"PK\x05\x06")
    entries = one[table:end] * count
    return (
        one[:table]
        + entries
        + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(entries), table, 0)
    )


def quoting(count: int) -> bytes:
    """Each member is a stored block that holds the next header, and so on, up to one kernel of zeros."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed, plain = deflate.compress(bytes(100_000)) + deflate.flush(), bytes(100_000)
    entries = []
    for number in reversed(range(count)):
        name, crc = f"{number:03}.jpg".encode(), zlib.crc32(plain)
        fields = struct.pack("<5H3I2H", 20, 0, 8, 0, 33, crc, len(packed), len(plain), len(name), 0)
        header = b"PK\x03\x04" + fields + name
        entries.append((name, crc, len(packed), len(plain), len(header) + len(packed)))
        body = header + packed
        packed = struct.pack("<BHH", 0, len(header), len(header) ^ 0xFFFF) + body
        plain = header + plain
    table = b""
    for name, crc, small, large, tail in entries:
        fields = struct.pack(
            "<6H3I5H2I", 20, 20, 0, 8, 0, 33, crc, small, large, len(name), 0, 0, 0, 0, 0, len(body) - tail
        )
        table += b"PK\x01\x02" + fields + name
    return body + table + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(table), len(body), 0)


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    for number, packed in enumerate([overlapping(2), overlapping(15), quoting(2), quoting(100)]):
        (tmp_path / str(number)).mkdir()
        assert_refused(tmp_path / str(number), packed, "share bytes, as in a zip bomb")


@pytest.mark.parametrize(
    ("entries", "words"),
    [(20_000, "more than 1,000 members"), (400_000, "table of contents has 18,800,000 bytes")],
)
def test_a_table_of_contents_is_counted_before_it_is_read(tmp_path: Path, entries: int, words: str) -> None:
    entry = (
        struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    )
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 7, 7, entries * len(entry), 0, 0)
    packed = entry * entries + end
    tracemalloc.start()
    try:
        assert_refused(tmp_path, packed, words)
        assert tracemalloc.get_traced_memory()[1] < 6_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_of_zeros_is_refused_in_little_memory(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    huge = tarfile.TarInfo("zeros.jpg")
    huge.size = 10_000_001
    assert_refused(tmp_path, compress(a_tar([(huge, bytes(10_000_001))])), "'zeros.jpg' in it has more than")
    hidden, after = tarfile.TarInfo(".zeros"), tmp_path / "after"
    hidden.size = 60_000_000
    after.mkdir()
    skipped = compress(a_tar([("a.jpg", b"1"), (hidden, bytes(60_000_000))]))
    end = compress(a_tar([("a.jpg", b"1")]) + bytes(60_000_000))
    tracemalloc.start()
    try:
        assert_refused(after, skipped, "unpacks to more than 20,000,000 bytes")
        shutil.rmtree(after / "photos")
        assert_refused(after, end, "unpacks to more than 20,000,000 bytes")
        # xz has a dictionary of 8 MiB.
        assert tracemalloc.get_traced_memory()[1] < 24_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_extended_headers_of_any_size_are_not_read_into_memory(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("a")
    info.type, info.size = kind, 15_000_000
    packed = gzip.compress(a_tar([("a.jpg", b"1")])[:1024] + info.tobuf() + bytes(15_000_000))
    tracemalloc.start()
    try:
        result = unpacked(tmp_path, packed)
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()
    assert contents(tmp_path, result) == {"a.jpg": b"1"}
    assert_left_out(result, **{"photos.zip": "a header of 15,000,000 bytes"})


@pytest.mark.parametrize(
    "records", [b"nonsense", b"9999 path=a\n", b"0 path=a\n", b"11 size=-5\n", b"14 size=1e999\n"]
)
def test_an_extended_header_that_is_none_ends_a_tar(tmp_path: Path, records: bytes) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    whole = a_tar([("a.jpg", b"1")])
    packed = whole[:1024] + info.tobuf() + records.ljust(512, b"\0") + whole
    result = unpacked(tmp_path, packed)
    assert contents(tmp_path, result) == {"a.jpg": b"1"}
    assert_left_out(result, **{"photos.zip": "damaged"})


def test_a_negative_size_ends_a_tar(tmp_path: Path) -> None:
    info = tarfile.TarInfo("b.jpg")
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\xff" * 11 + b"\x00"
    block[148:156] = b"%06o\0 " % (256 + sum(block[:148]) + sum(block[156:]))
    result = unpacked(tmp_path, a_tar([("a.jpg", b"1")])[:1024] + bytes(block) + bytes(1024))
    assert contents(tmp_path, result) == {"a.jpg": b"1"}
    assert_left_out(result, **{"photos.zip": "negative size"})


def test_an_xz_file_that_asks_for_too_much_memory_is_refused(tmp_path: Path) -> None:
    packed = bytearray(lzma.compress(a_tar([("a.jpg", b"1")])))
    place = packed.index(b"\x21\x01", 12) + 2
    packed[place] = 37
    header_size = (packed[12] + 1) * 4
    struct.pack_into("<I", packed, 12 + header_size - 4, zlib.crc32(packed[12 : 12 + header_size - 4]))
    assert_refused(tmp_path, bytes(packed), "Memory usage limit")


def test_a_full_disk_is_named_and_has_its_room_back(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(a_zip([("a.jpg", bytes(3_000_000)), ("b.jpg", bytes(9_000_000))]))
    with small_disk(tmp_path / "disk", "8m") as disk:
        with pytest.raises(StorageFull, match="no room left"):
            unpack(tmp_path / "archive", "photos.zip", disk, LIMITS)
        assert not list(disk.iterdir())
