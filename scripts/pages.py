"""A page of Markdown whose sections are written by different programs."""

from __future__ import annotations


def with_section(page: str, heading: str, text: str) -> str:
    """A page whose section of a heading is this text; it is the last one where it was not there."""
    before, found, rest = f"\n{page}".partition(f"\n{heading}\n")
    following = rest.find("\n## ") if found else -1
    after = rest[following:] if following >= 0 else ""
    return f"{before.strip()}\n\n{text.strip()}\n{after}"


def section_of(page: str, heading: str) -> str:
    """The section of a heading; nothing where there is none."""
    _, found, rest = f"\n{page}".partition(f"\n{heading}\n")
    return f"{heading}\n{rest.partition(chr(10) + '## ')[0]}" if found else ""
