"""What an installed rawsys is: its version, its names, what it loads, and what it says where it cannot work."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support import INTERPRETER, run_python

import rawsys

PACKAGE = Path(rawsys.__file__).parent
ROOT = Path(__file__).resolve().parent.parent
TOPICS = ["batch", "constants", "errors", "fd", "proc", "program", "raw", "signals", "structs", "syscalls"]


def test_version() -> None:
    """The version that pip shows is the one of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert importlib.metadata.version("rawsys") == project["version"]


def test_one_dependency() -> None:
    """At run time rawsys needs cffi and nothing else."""
    needs = [text for text in importlib.metadata.requires("rawsys") or () if "extra ==" not in text]
    assert [text.partition(">")[0] for text in needs] == ["cffi"]


def test_all_is_sorted_and_there() -> None:
    """Every name of `__all__` can be had, once, and `dir` shows it."""
    assert len(set(rawsys.__all__)) == len(rawsys.__all__)
    for name in rawsys.__all__:
        assert getattr(rawsys, name) is not None
    assert set(rawsys.__all__) <= set(dir(rawsys))


@pytest.mark.parametrize("topic", TOPICS)
def test_all_of_a_topic(topic: str) -> None:
    """Every name of a topic's `__all__` can be had; a `*` import gives exactly these."""
    module = importlib.import_module(f"rawsys.{topic}")
    names = list(module.__all__) if hasattr(module, "__all__") else []
    for name in names:
        assert getattr(module, name) is not None
    space: dict[str, object] = {}
    exec(f"from rawsys.{topic} import *", space)
    if names:
        assert set(space) - {"__builtins__"} == set(names)


def test_missing_name() -> None:
    """A name that is not there is AttributeError with the name."""
    with pytest.raises(AttributeError, match="no_such_name"):
        rawsys.no_such_name  # noqa: B018


@pytest.mark.parametrize("name", ["py.typed", "syscalls.tsv", "raw.pyi", "syscalls.pyi", "_shim.pyi"])
def test_data_is_installed(name: str) -> None:
    """Type information and the table lie beside the modules."""
    assert (PACKAGE / name).is_file()


def test_import_is_light() -> None:
    """`import rawsys` loads nothing dear, and of itself only what the built-ins at top level need."""
    code = """
    import sys
    before = set(sys.modules)
    import rawsys
    rawsys.raw_getpid()
    print(*sorted(set(sys.modules) - before))
    """
    done = run_python(code, flags=["-I", "-S", "-W", "error"])
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert not loaded & {
        "enum",
        "typing",
        "ctypes",
        "dataclasses",
        "re",
        "collections",
        "functools",
        "subprocess",
        "signal",
        "struct",
    }
    assert {name for name in loaded if name.startswith("rawsys")} <= {
        "rawsys",
        "rawsys._native",
        "rawsys._native.install",
        "rawsys._shim",
        "rawsys._shim.lib",
    }


def test_raw_calls_are_light() -> None:
    """So does making raw calls: no table, no enum."""
    code = """
    import sys
    from rawsys import raw
    raw.getpid()
    raw.close(-1)
    print(*sorted(sys.modules))
    """
    done = run_python(code, flags=["-I", "-S", "-W", "error"])
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & {
        "enum",
        "typing",
        "ctypes",
        "rawsys.table",
        "rawsys.constants",
        "rawsys.structs",
    }


@pytest.fixture
def source_folder(tmp_path: Path) -> Path:
    """A folder with the package as a clone has it: without the compiled module."""
    shutil.copytree(PACKAGE, tmp_path / "rawsys", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return tmp_path


def _in(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """A script that finds the package in this folder first, as a script started there does."""
    # -S: the finder of an editable install would lend it that one's compiled module.
    paths = f"import sys; sys.path[:0] = [{str(folder)!r}]\n"
    command = [INTERPRETER, "-I", "-S", "-c", paths + code]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_source_folder_says_what_to_do(source_folder: Path) -> None:
    """From a clone without the compiled module the ImportError is one sentence that names the folder and the commands."""
    done = _in(source_folder, "import rawsys")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("ImportError: rawsys has no compiled module")
    assert str(source_folder / "rawsys") in last
    assert "pip install ." in last
    assert "pip install -e ." in last


@pytest.mark.parametrize(
    "elsewhere",
    [
        "import sys; sys.platform = 'darwin'",
        "import sys; sys.maxsize = 2**31 - 1",
        "import os; real = os.uname(); os.uname = lambda: os.uname_result((*real[:4], 'aarch64'))",
    ],
    ids=["system", "32-bit Python", "processor"],
)
def test_elsewhere_says_what_it_needs(elsewhere: str) -> None:
    """On another system or processor the import is one ImportError, even before the compiled module is looked for."""
    done = run_python(f"{elsewhere}\nimport rawsys", flags=["-I", "-W", "error"])
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ImportError: rawsys needs Linux on x86-64 and a 64-bit Python"
    assert "During handling" not in done.stderr


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            "sysconfig.get_platform = lambda: 'linux-aarch64'",
            "rawsys needs Linux on x86-64 (64-bit Python); this is linux-aarch64.",
        ),
        ("shutil.which = lambda *a, **k: None", "found no C compiler: install the package gcc"),
        (
            "sysconfig.get_paths = lambda *a, **k: {'include': '/nonexistent'}",
            "found no Python.h: install Python's headers",
        ),
    ],
    ids=["processor", "compiler", "headers"],
)
def test_build_says_what_is_missing(change: str, sentence: str) -> None:
    """Where it cannot be compiled, the build ends with one sentence; for packages it names those of Debian and Fedora."""
    if not (ROOT / "build_ffi.py").exists():
        pytest.skip("not in a source tree")
    code = f"import shutil, sysconfig, sys; sys.path.insert(0, {str(ROOT)!r}); import build_ffi\n"
    code += f"sysconfig.get_config_vars()\n{change}\nbuild_ffi.check_host()"
    done = subprocess.run([INTERPRETER, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert sentence in lines[0]
    if "install" in sentence:
        assert "apt install" in lines[0]
        assert "dnf install" in lines[0]


def test_compiled_module_is_for_every_python() -> None:
    """The compiled module is the stable ABI's, so that one wheel serves all versions from 3.11 on."""
    found = importlib.util.find_spec("rawsys._shim")
    assert found is not None
    assert found.origin is not None
    assert found.origin.endswith(".abi3.so") or not getattr(sys, "_is_gil_enabled", lambda: True)()


def test_needs_no_libc_at_all_for_errno() -> None:
    """libc's errno is neither read nor set: a failed raw call leaves it as it was."""
    code = """
    import ctypes
    from rawsys import raw
    libc = ctypes.CDLL(None, use_errno=False)
    place = libc.__errno_location
    place.restype = ctypes.POINTER(ctypes.c_int)
    errno = place()
    errno[0] = 77
    assert raw.close(-1) == -9
    assert errno[0] == 77, errno[0]
    """
    done = run_python(code)
    assert done.returncode == 0, done.stderr
