"""Apply or undo journals, each in a child process that kills itself before its n-th change of a file.

Lines of standard input are JSON: {"journal": path, "verb": "apply" or "undo", "after": n}. For each, one line
of standard output says "killed", "done" or "failed". `after` counts what Python reports as changing files, or
as opening a folder, which is what happens right after something in it changed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from twinlens.engine.applying import apply, undo
from twinlens.engine.journal import Journal

CHANGES = {
    *("os.link", "os.symlink", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"),
    *("os.utime", "os.chmod", "os.chown", "os.setxattr"),
}


def work(journal: Path, verb: str, after: int) -> None:
    left = after

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        flags = arguments[2] if event == "open" else 0
        opens = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_DIRECTORY)
        if event in CHANGES or opens:
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    with Journal.open(journal) as opened:
        sys.addaudithook(count)
        {"apply": apply, "undo": undo}[verb](opened, lambda done, total: None)


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            try:
                work(Path(job["journal"]), job["verb"], job["after"])
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        print("killed" if killed else "done" if os.WEXITSTATUS(status) == 0 else "failed", flush=True)


if __name__ == "__main__":
    main()
