"""How real clients name fields and files, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.engine.errors import InvalidValue, TwinLensError
from twinlens.service.explore.failures import BadRequest
from twinlens.service.explore.part_headers import (
    Disposition,
    boundary_of,
    check_transfer_encoding,
    disposition_of,
)


@pytest.mark.parametrize(
    ("parameters", "filename"),
    [
        ('filename="photo.jpg"', "photo.jpg"),
        ("filename=photo.jpg", "photo.jpg"),
        ('FileName = "photo.jpg"', "photo.jpg"),
        ('filename=""', ""),
        ('filename="a;b=c.jpg"', "a;b=c.jpg"),
        ('filename="naïve 猫.jpg"', "naïve 猫.jpg"),
        ('filename="say %22cheese%22.jpg"', 'say "cheese".jpg'),
        (r'filename="say \"cheese\".jpg"', 'say "cheese".jpg'),
        (r'filename="a\\b.jpg"', r"a\b.jpg"),
        (r'filename="C:\photos\a.jpg"', r"C:\photos\a.jpg"),
        ('filename="a%0D%0Ab.jpg"', "a\r\nb.jpg"),
        ('filename="100%25 %41.jpg"', "100%25 %41.jpg"),
        ("filename*=UTF-8''na%C3%AFve.jpg", "naïve.jpg"),
        ("filename*=utf-8'en'na%C3%AFve.jpg", "naïve.jpg"),
        ("filename*=ISO-8859-1''na%EFve.jpg", "naïve.jpg"),
        ("filename=\"=?utf-8?B?bmHDr3ZlLmpwZw==?=\"; filename*=utf-8''na%C3%AFve.jpg", "naïve.jpg"),
        ("filename*=utf-8''a.jpg; filename=b.jpg", "a.jpg"),
        ("filename*=utf-8''%FF.jpg; filename=b.jpg", "b.jpg"),
        ("filename*=koi8-r''%FF.jpg; filename=b.jpg", "b.jpg"),
        ("filename*=b.jpg; filename=a.jpg", "a.jpg"),
    ],
)
def test_files_are_named_as_clients_name_them(parameters: str, filename: str) -> None:
    header = f'form-data; name="files"; {parameters}'.encode().decode("latin-1")
    assert disposition_of(header) == Disposition("files", filename)


def test_names_in_latin_1_are_read_as_such() -> None:
    assert disposition_of('form-data; name="files"; filename="na\xefve.jpg"').filename == "naïve.jpg"


def test_a_part_without_a_file_name_is_a_field() -> None:
    assert disposition_of("form-data; name=operations") == Disposition("operations", None)
    assert disposition_of('FORM-DATA;name="a%22b"') == Disposition('a"b', None)


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (None, "no header `Content-Disposition"),
        ("", "no header `Content-Disposition"),
        ('attachment; filename="a.jpg"', "no header `Content-Disposition"),
        ("form-data", "no field name"),
        ('form-data; filename="a.jpg"', "no field name"),
        ("form-data; name=a; filename*=koi8-r''%FF.jpg", "koi8-r"),
    ],
)
def test_what_names_nothing_is_refused(header: str | None, complaint: str) -> None:
    with pytest.raises(BadRequest, match=complaint):
        disposition_of(header)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", "abc"),
        ('Multipart/Form-Data;charset=utf-8; BOUNDARY="a b:c"', "a b:c"),
        ("multipart/form-data; boundary=----WebKitFormBoundaryx7; foo", "----WebKitFormBoundaryx7"),
        ("multipart/form-data; boundary=" + "b" * 70, "b" * 70),
    ],
)
def test_boundaries_are_read_as_clients_write_them(content_type: str, boundary: str) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    ("content_type", "complaint"),
    [
        (None, "without a Content-Type"),
        ("application/json", "of the type 'application/json'"),
        ("multipart/mixed; boundary=abc", "of the type 'multipart/mixed'"),
        ("multipart/form-data", "not of 0"),
        ("multipart/form-data; boundary=", "not of 0"),
        ('multipart/form-data; boundary=""', "not of 0"),
        ("multipart/form-data; boundary=" + "b" * 71, "not of 71"),
    ],
)
def test_what_is_no_multipart_is_refused(content_type: str | None, complaint: str) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        boundary_of(content_type)


def test_bytes_that_were_encoded_as_in_mail_are_refused() -> None:
    for plain in (None, "", "binary", "8BIT", " 7bit"):
        check_transfer_encoding(plain)
    with pytest.raises(BadRequest, match="'base64' is not read"):
        check_transfer_encoding("Base64")


@given(st.text(st.characters(max_codepoint=255) | st.sampled_from("\"\\;='%*"), max_size=100))
def test_no_header_fails_in_another_way(tail: str) -> None:
    for read in (disposition_of, boundary_of):
        for head in ("form-data; name=a;", "multipart/form-data; boundary", ""):
            try:
                read(head + tail)
            except TwinLensError as refused:
                assert str(refused).isprintable()
