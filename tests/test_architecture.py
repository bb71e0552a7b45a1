"""The shape of the project: who imports whom, and what the wheel holds."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("engine", "models", "service")


def imported_names(module: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(module.read_text())))
    sources = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return sources | {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}


def test_import_contracts_hold() -> None:
    linter = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    run = subprocess.run([*linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_models_know_only_the_types_and_errors_of_the_engine() -> None:
    allowed = {"twinlens.engine.types", "twinlens.engine.errors"}
    for module in (ROOT / "models").rglob("*.py"):
        engine = {name for name in imported_names(module) if name.startswith("twinlens.engine")}
        assert engine <= allowed, f"{module.name} imports {engine - allowed}"


def test_only_the_service_reads_the_environment() -> None:
    for folder in ("engine", "models"):
        for module in (ROOT / folder).rglob("*.py"):
            text = module.read_text()
            assert "os.environ" not in text and "getenv" not in text, f"{module} reads the environment"


def test_no_placeholder_of_sql_has_a_number() -> None:
    """From Python 3.14 on, sqlite3 refuses them with a sequence: plain ones, or names with a mapping."""
    for folder in FOLDERS:
        for module in (ROOT / folder).rglob("*.py"):
            strings = (
                node.value
                for node in ast.walk(ast.parse(module.read_text()))
                if isinstance(node, ast.Constant)
            )
            found = [text for text in strings if isinstance(text, str) and re.search(r"[=,( ]\?[0-9]", text)]
            assert not found, f"{module}: {found}"


def test_hashing_needs_neither_torch_nor_faiss() -> None:
    code = (
        "import sys, twinlens, twinlens.engine.hashing, twinlens.engine.hamming, twinlens.engine.decode;"
        "print([m for m in ('torch', 'faiss', 'open_clip', 'models', 'engine') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_wheel_holds_every_module(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"twinlens/{path.relative_to(ROOT).as_posix()}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert wanted | {"twinlens/__init__.py", "twinlens/py.typed"} <= held, wanted - held
