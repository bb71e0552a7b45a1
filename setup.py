"""Map the three top folders into the `twinlens` package; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

FOLDERS = ("engine", "models", "service")
found = find_packages(".", include=[p for f in FOLDERS for p in (f, f"{f}.*")])
setup(
    packages=["twinlens", *(f"twinlens.{name}" for name in found)],
    package_dir={"twinlens": "src/twinlens", **{f"twinlens.{f}": f for f in FOLDERS}},
)
