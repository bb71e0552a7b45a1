"""Annotations read apart from the server: Parquet is decoded by native code, which a damaged file may crash.

`python -m twinlens.service.explore.annotation_process FILE NAME MAX_ROWS` prints one JSON array a row, and at
last `{"read": true}` or `{"refused": "why"}`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from twinlens.engine.errors import InvalidValue
from twinlens.service.explore.annotation_files import Annotation, read_annotations
from twinlens.service.explore.staging import shown

_SECONDS = 600


def annotations_of(path: Path, name: str, *, max_rows: int) -> list[Annotation]:
    """All rows of an annotation file (`read_annotations`); Parquet is read by a process of its own.

    Raises:
        InvalidValue: it cannot be read.
    """
    if not name.lower().endswith(".parquet"):
        return list(read_annotations(path, name, max_rows=max_rows))
    command = [sys.executable, "-m", "twinlens.service.explore.annotation_process", str(path), name]
    found: list[Annotation] = []
    with subprocess.Popen(
        [*command, str(max_rows)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as reader:
        assert reader.stdout is not None
        for line in reader.stdout:
            said = json.loads(line)
            if isinstance(said, list):
                found.append(Annotation(*said))
            elif "refused" in said:
                raise InvalidValue(said["refused"])
            else:
                return found
        code = reader.wait(_SECONDS)
    raise InvalidValue(
        f"{shown(name)} is damaged: reading it ended with {code}; write it again, or send it as CSV"
    )


def main() -> None:
    """Print the rows of one file."""
    path, name, most = sys.argv[1:]
    try:
        for each in read_annotations(Path(path), name, max_rows=int(most)):
            sys.stdout.write(json.dumps([each.filename, each.label, each.caption]) + "\n")
    except InvalidValue as error:
        sys.stdout.write(json.dumps({"refused": str(error)}) + "\n")
    else:
        sys.stdout.write(json.dumps({"read": True}) + "\n")


if __name__ == "__main__":
    main()
