"""Check the storeys: who may import whom (pyproject.toml, [tool.importlinter]).

The linter knows Python files only.  So that it sees who imports the compiled module, it is shown a copy of the package
in which an empty _shim.py stands for it; nothing of that copy is run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Copy the Python files, add the stand-in, run the linter there."""
    with tempfile.TemporaryDirectory(prefix="rawsys-imports-") as name:
        place = Path(name)
        shutil.copytree(ROOT / "rawsys", place / "rawsys", ignore=shutil.ignore_patterns("*.so", "__pycache__", "csrc"))
        shutil.copy(ROOT / "pyproject.toml", place)
        (place / "rawsys" / "_shim.py").touch()
        linter = Path(sys.executable).with_name("lint-imports")
        command = [linter, "--config", "pyproject.toml", "--no-cache", "--no-logo"]
        return subprocess.run(command, cwd=place, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
