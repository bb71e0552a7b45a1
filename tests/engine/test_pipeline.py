"""Small things put together."""

from __future__ import annotations

from twinlens.engine.pipeline import lots


def test_pieces_come_together_until_they_are_long_enough() -> None:
    """None is left out, divided or moved; one that is long enough stays alone."""
    assert list(lots([b"ab", b"c", b"", b"defg", b"h"], 3)) == [[b"ab", b"c"], [b"", b"defg"], [b"h"]]
    assert list(lots([b"abc", b"abcd"], 3)) == [[b"abc"], [b"abcd"]]
    assert list(lots([], 3)) == []
