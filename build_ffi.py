"""Build of rawsys._shim: C written from the table of calls, and the command classes that compile it.

setuptools finds the classes through pyproject.toml.  By hand, ``python build_ffi.py stubs`` writes
``raw.pyi``, ``syscalls.pyi``, ``_calls.pyi`` and ``constants.pyi`` anew after a change of the tables, and
``python build_ffi.py stubs --check`` fails when they are stale.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CSRC = HERE / "rawsys" / "csrc"

FLAGS = ["-std=gnu11", "-O2", "-g", "-fno-plt", "-fvisibility=hidden", "-fstack-protector-strong", "-Wall", "-Wextra",
         "-Wno-unused-parameter", "-Wno-missing-field-initializers", "-Wno-deprecated-declarations"]  # fmt: skip
LINK = ["-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack"]

# Calls whose doors are compiled with the row as a constant: what loops call, and what is compared with os.
HOT = {"read", "write", "close", "lseek", "pread64", "pwrite64", "getpid", "getppid", "gettid", "openat", "kill"}


def load_table() -> Any:
    """rawsys.table by its file: at build time the package cannot be imported, since its shim does not exist."""
    spec = importlib.util.spec_from_file_location("_rawsys_table", HERE / "rawsys" / "table.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# ---- the rows in C ----

_KINDS = {"fd": "RS_FD", "dirfd": "RS_FD", "path": "RS_PATH", "str": "RS_STR", "strings": "RS_STRINGS", "in": "RS_IN",
          "out": "RS_OUT", "inout": "RS_INOUT", "any": "RS_ANY"}  # fmt: skip
_COMPUTED = ("computed", "own_size")
_RETURNS = {"none": "RS_NONE", "size": "RS_SIZE", "fd": "RS_NEWFD", "never": "RS_NEVER"}


def c_words(entry: Any, expression: str, words: str) -> str:
    """An expression of a row in C: each argument's name becomes its word, as wide as the kernel reads it.

    Inside ``u32(argument, offset)`` the name stands for the argument itself.
    """
    numbers = {a.name: i for i, a in enumerate(entry.arguments)}
    casts = {a.name: f"{'' if a.signed else 'unsigned '}{'int' if a.bits == 32 else 'long'}" for a in entry.arguments}
    expression = re.sub(r"u32\((\w+)", lambda m: f"rs_u32(word, length, {numbers[m[1]]}", expression)
    return re.sub(
        r"\b[a-z_]\w*", lambda m: f"({casts[m[0]]}){words}[{numbers[m[0]]}]" if m[0] in numbers else m[0], expression
    )


def c_argument(entry: Any, argument: Any) -> str:
    """One ``struct rs_arg``."""
    extent = argument.extent
    computed = f"extent_{entry.name}_{argument.name}" if extent and extent.form in _COMPUTED else "0"
    return (
        f'{{"{argument.name}", {_KINDS.get(argument.kind, "RS_NUMBER")}, {argument.bits}, {int(argument.signed)}, '
        f"{int(argument.kind == 'addr')}, {'RS_' + extent.form.upper() if extent else 'RS_UNKNOWN'}, "
        f"{extent.argument if extent else 0}, {extent.scale if extent else 0}, {extent.plus if extent else 0}, {computed}}}"
    )


def c_flags(entry: Any) -> str:
    """The ``enum rs_flag`` bits of a row."""
    special = {"clone": "RS_CLONE", "clone3": "RS_CLONE3", "close": "RS_CLOSES", "ioctl": "RS_IOCTL",
               "getsockopt": "RS_GETSOCKOPT"}  # fmt: skip
    flags = [special[entry.name]] if entry.name in special else []
    if entry.may_block and "keeps_gil" not in entry.traits:
        flags.append("RS_BLOCKS")
    if entry.status == "refused":
        flags.append("RS_REFUSED")
    if entry.name == "getsockopt" or any(
        a.extent and a.extent.form in ("pointed", "own_size") for a in entry.arguments
    ):
        flags.append("RS_COPIES")
    if "answer32" in entry.traits:
        flags.append("RS_ANSWER32")
    return " | ".join(flags) or "0"


def c_row(entry: Any) -> str:
    """The definition of ``row_NAME``, after the functions that it points to."""
    functions, fd_if = "", "0"
    if entry.fd_condition:
        fd_if = f"fd_if_{entry.name}"
        functions = f"static int {fd_if}(const long *word) {{ return {c_words(entry, entry.fd_condition, 'word')}; }}\n"
    for a in entry.arguments:
        if a.extent and a.extent.form in _COMPUTED:
            size = c_words(entry, a.extent.text, "word")
            functions += f"static size_t extent_{entry.name}_{a.name}(const long *word, const size_t *length) {{ (void)length; return (size_t)({size}); }}\n"
    arguments = ", ".join(c_argument(entry, a) for a in entry.arguments) or "{0}"
    return (
        f"{functions}static const struct rs_row row_{entry.name} = {{{c_string(entry.name)}, {c_string(entry.signature.replace(', /', ''))}, "
        f"{c_string(entry.instead or '')}, {entry.number}, {len(entry.arguments)}, {_RETURNS.get(entry.returns, 'RS_INT')}, "
        f"{c_flags(entry)}, {fd_if}, {{{arguments}}}}};"
    )


def c_string(text: str) -> str:
    """A C string literal; the table is ASCII, and JSON's escapes are C's there."""
    return json.dumps(text)


_KIND_WORDS = {
    "fd": "descriptor: int, Fd or an object with fileno()", "dirfd": "directory descriptor or AT_FDCWD",
    "path": "path: str, bytes or os.PathLike", "str": "string: str or bytes", "strings": "sequence of strings",
    "in": "memory, read: a buffer, an address or None", "out": "memory, written: a writable buffer, an address or None",
    "inout": "memory, read and written: a writable buffer, an address or None",
    "any": "a number, or memory as another argument says: a writable buffer", "addr": "address (int) or None",
    "mode": "permission bits", "pid": "process or thread number", "uid": "user id", "gid": "group id",
    "signal": "signal: int or Signal", "offset": "file offset in bytes", "size": "length", "flags": "flags", "int": "number",
}  # fmt: skip


def argument_words(argument: Any) -> str:
    """One line of a docstring about one argument."""
    words = _KIND_WORDS[argument.kind]
    if argument.family:
        words += f" ({argument.family}_*)"
    if argument.extent:
        words += f", at least {argument.extent.text} bytes"
    elif argument.direction is None and argument.kind not in ("fd", "dirfd", "addr"):
        words += f", {argument.bits} bits"
    return words


def docstring(entry: Any, checked: bool) -> str:
    """The docstring of one built-in, after the header that gives it its signature."""
    gives = {"none": "None" if checked else "0", "fd": "an Fd" if checked else "a new descriptor (int)", "size": "a count of bytes",
             "int": "an int", "addr": "an address (int)", "never": "nothing: it does not return"}[entry.returns]  # fmt: skip
    if entry.fd_condition:
        gives += f" if {entry.fd_condition}, else an int"
    failure = "raises OSError on failure." if checked else "or -errno."
    names = [*entry.parameters]
    width = max(map(len, names), default=0)
    lines = [f"`{entry.man or entry.name + '(2)'}`: {entry.summary}.", "", entry.declaration]
    lines += [f"  {n:{width}}  {argument_words(a)}" for n, a in zip(names, entry.arguments, strict=True)]
    lines += ["", f"Gives {gives}{';' if checked else ','} {failure}"]
    if entry.instead:
        refused = "Refused" if entry.status == "refused" else "Refused with CLONE_VM, CLONE_SETTLS or a stack"
        lines.append(f"{refused} (RefusedCallError): use {entry.instead}.")
    if "thread" in entry.traits:
        lines.append("Scope: the kernel keeps this for each thread; only the calling thread is concerned.")
    gil = "keeps the GIL" if "keeps_gil" in entry.traits or not entry.may_block else "releases the GIL"
    lines.append(f"System call {entry.number}{f', since Linux {entry.since}' if entry.since else ''}; {gil}.")
    return "\n".join(lines)


def c_doors(entry: Any) -> tuple[str, str, str]:
    """The raw and the checked built-in of one row, and their lines in the two method tables."""
    code, lines = [], []
    for door in ("raw", "checked"):
        function = f"{door}_{entry.name}"
        path = f"{door}_{'hot' if entry.name in HOT else 'door'}"
        code.append(
            f"static PyObject *{function}(PyObject *m, PyObject *const *a, Py_ssize_t n) {{ (void)m; return {path}(&row_{entry.name}, a, n); }}"
        )
        header = entry.signature.replace("(", "($module, " if entry.arguments else "($module, /", 1)
        doc = c_string(f"{header}\n--\n\n{docstring(entry, door == 'checked')}")
        lines.append(f'    RS_METHOD("{entry.name}", {function}, {doc}),')
    return "\n".join(code), lines[0], lines[1]


def doors_inc() -> str:
    """All that doors.c includes."""
    live = [entry for entry in load_table() if entry.live]
    doors = [c_doors(entry) for entry in live]
    end = "    {NULL, NULL, 0, NULL},\n};"
    parts = [c_row(entry) for entry in live]
    parts.append("const struct rs_row *const rs_table[RS_TABLE_SIZE] = {")
    parts += [f"    [{entry.number}] = &row_{entry.name}," for entry in live]
    parts += ["};", *(door[0] for door in doors)]
    parts += ["static PyMethodDef raw_functions[] = {", *(door[1] for door in doors), end]
    parts += ["static PyMethodDef checked_functions[] = {", *(door[2] for door in doors), end]
    return "\n".join(parts) + "\n"


# ---- the stubs ----

_TAKES = {"fd": "Descriptor", "dirfd": "Descriptor", "path": "Path", "str": "String", "strings": "Strings", "in": "Readable",
          "out": "Writable", "inout": "Writable", "any": "Writable", "addr": "Address"}  # fmt: skip
_GIVES = {"none": ("int", "None"), "fd": ("int", "Fd"), "never": ("int", "Never")}
_HEAD = "# Written by build_ffi.py from syscalls.tsv.\n"
_IMPORTS = "from rawsys._types import Address, Descriptor, Int, Path, Readable, String, Strings, Writable\n"


def stub_parameters(entry: Any, more: str = "") -> list[str]:
    """The positional-only parameters of a call with their types; `more` may stand in the place of any of them."""
    names = zip(entry.parameters, entry.arguments, strict=True)
    return [f"{n}: {_TAKES.get(a.kind, 'Int')}{more}" for n, a in names] + (["/"] if entry.arguments else [])


def stub_door(checked: bool) -> str:
    """The typed face of rawsys.raw or rawsys.syscalls."""
    live = [entry for entry in load_table() if entry.live]
    lines = [_HEAD, "from typing import Never", ""]
    lines += ["from rawsys._types import Address, Descriptor, Int, Path, Readable, String, Strings, Writable"]
    lines += ["from rawsys.fd import Fd", ""] if checked else [""]
    for entry in live:
        gives = "Fd | int" if checked and entry.fd_condition else _GIVES.get(entry.returns, ("int", "int"))[checked]
        gives = "Never" if entry.status == "refused" else gives
        lines.append(f"def {entry.name}({', '.join(stub_parameters(entry))}) -> {gives}: ...")
    return "\n".join([*lines, "", f"__all__ = {json.dumps(sorted(entry.name for entry in live))}"]) + "\n"


def stub_calls() -> str:
    """The methods of Program that add a step."""
    lines = [
        _HEAD,
        "from collections.abc import Iterable",
        "",
        _IMPORTS.rstrip(),
        "from rawsys.program import Slot",
        "",
        "class Calls:",
    ]
    ours = "*, label: str | None = None, always: bool = False, retry: bool = False, allow: Iterable[int] = ()"
    for entry in load_table():
        if entry.live and entry.status != "refused" and "keeps_gil" not in entry.traits:
            lines.append(
                f"    def {entry.name}({', '.join(['self', *stub_parameters(entry, ' | Slot'), ours])}) -> Slot: ..."
            )
    return "\n".join(lines) + "\n"


def stubs(check: bool) -> int:
    """Write the stubs, or say which are stale."""
    from rawsys._stubs import stub_text

    texts = {
        "constants.pyi": stub_text(),
        "raw.pyi": stub_door(False),
        "syscalls.pyi": stub_door(True),
        "_calls.pyi": stub_calls(),
    }
    stale = []
    for name, text in texts.items():
        path = HERE / "rawsys" / name
        if not path.exists() or path.read_text("utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, "utf-8")
    if stale and check:
        print(f"stale: {', '.join(stale)}; run: python build_ffi.py stubs", file=sys.stderr)
    return int(bool(stale) and check)


# ---- the commands of setuptools ----


def check_host() -> None:
    """Stop with one sentence where the module cannot be built."""
    machine = sysconfig.get_platform()
    if machine != "linux-x86_64":
        raise SystemExit(f"rawsys needs Linux on x86-64 (64-bit Python); this is {machine}.")
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if not any(map(shutil.which, (compiler, "cc", "gcc"))):
        raise SystemExit(
            "rawsys is compiled at installation and found no C compiler: install the package gcc (Debian: apt install gcc, Fedora: dnf install gcc)."
        )
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        raise SystemExit(
            "rawsys is compiled at installation and found no Python.h: install Python's headers (Debian: apt install python3-dev, Fedora: dnf install python3-devel)."
        )


def generate(into: Path) -> list[str]:
    """Write the generated C into the build directory; the list of all C files to compile."""
    import cffi

    into.mkdir(parents=True, exist_ok=True)
    (into / "doors.inc").write_text(doors_inc(), "utf-8")
    ffi = cffi.FFI()
    ffi.cdef((CSRC / "shim.cdef").read_text("utf-8"))
    ffi.set_source("rawsys._shim", '#include "shim.h"')
    ffi.emit_c_code(str(into / "_shim.c"))
    return [str(into / "_shim.c"), *(str(path.relative_to(HERE)) for path in sorted(CSRC.glob("*.c")))]


def commands() -> tuple[type, type]:
    """The command classes; made here so that the stubs need no setuptools."""
    from setuptools.command.bdist_wheel import bdist_wheel as _bdist_wheel
    from setuptools.command.build_ext import build_ext as _build_ext

    limited = not sysconfig.get_config_var("Py_GIL_DISABLED")

    class BuildExt(_build_ext):
        def build_extension(self, ext: Any) -> None:
            check_host()
            into = Path(self.build_temp) / "generated"
            ext.sources = generate(into)
            ext.include_dirs = [str(CSRC), str(into)]
            ext.extra_compile_args, ext.extra_link_args = FLAGS, LINK
            ext.define_macros = [("Py_LIMITED_API", "0x030b0000")] if limited else [("_CFFI_NO_LIMITED_API", None)]
            ext.py_limited_api = limited
            super().build_extension(ext)

        def get_ext_filename(self, fullname: str) -> str:
            name = super().get_ext_filename(fullname)
            return re.sub(r"\.cpython-[^.]+\.so$", ".abi3.so", name) if limited else name

    class BdistWheel(_bdist_wheel):
        def finalize_options(self) -> None:
            if limited:
                self.py_limited_api = "cp311"
            super().finalize_options()

    return BuildExt, BdistWheel


def __getattr__(name: str) -> Any:
    """setuptools asks for ``build_ffi.build_ext`` and ``build_ffi.bdist_wheel``."""
    if name in ("build_ext", "bdist_wheel"):
        return dict(zip(("build_ext", "bdist_wheel"), commands(), strict=True))[name]
    raise AttributeError(name)


if __name__ == "__main__":
    if sys.argv[1:2] != ["stubs"]:
        sys.exit("usage: python build_ffi.py stubs [--check]")
    sys.exit(stubs(check="--check" in sys.argv))
