"""What is in the sdist and the wheel: python packages.py DIST, started in the tree that they were built from."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

TAG = "cp311-abi3-linux_x86_64"
DATA = {".py", ".pyi", ".tsv", ".typed"}
"""Endings of the files of the package that are installed."""
CARRIED = ("tests", "docs", "examples", "benchmarks")
"""Folders that the sdist brings, so that a distribution can run the tests and build the docs."""

FILES = {"build_ffi.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}


def sources(*folders: str) -> set[str]:
    """Files of the tree under these folders, but for what was built."""
    found = (path for folder in folders for path in Path(folder).rglob("*") if path.is_file())
    return {
        path.as_posix()
        for path in found
        if "__pycache__" not in path.parts and "_build" not in path.parts and path.suffix not in (".so", ".pyc")
    }


def check_wheel(path: Path) -> list[str]:
    """The wheel has every file of the package that is not C, the compiled module, and nothing else."""
    wrong = [] if path.name.endswith(f"-{TAG}.whl") else [f"{path.name} is not tagged {TAG}"]
    with zipfile.ZipFile(path) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        info = {name.rpartition("/")[2] for name in wheel.namelist() if ".dist-info/" in name}
    expected = {name for name in sources("rawsys") if Path(name).suffix in DATA} | {"rawsys/_shim.abi3.so"}
    wrong += [f"wheel lacks {name}" for name in sorted(expected - names)]
    wrong += [f"wheel has {name}" for name in sorted(names - expected)]
    wrong += [f"wheel lacks {name}" for name in sorted({"LICENSE", "METADATA", "entry_points.txt"} - info)]
    return wrong


def check_sdist(path: Path) -> list[str]:
    """The sdist has the package with its C, and tests, docs, examples and benchmarks."""
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    expected = sources("rawsys", *CARRIED) | FILES
    return [f"sdist lacks {name}" for name in sorted(expected - names)]


def main() -> int:
    """Check both, print what is wrong."""
    dist = Path(sys.argv[1])
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    wrong = check_wheel(wheel) + check_sdist(sdist)
    print("\n".join(wrong) or f"{wheel.name} and {sdist.name} carry what they should")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
