"""What the compiled module and its objects take from outside: python symbols.py LIBRARIES OBJECTS (two folders).

The module may call Python and a few of libc's functions over memory.  A system-call wrapper, `__errno_location` or stdio
among its imports is a failure: the list is of what is allowed, so that nothing new slips in.  The objects that run
where no Python may run (the interpreter of Programs; the child) may call each other and nothing else.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ALLOWED = re.compile(
    r"_?Py\w+|mem(cpy|move|set|cmp|chr)|str(len|cmp|ncmp)|__(memcpy|memmove|memset)_chk|__stack_chk_fail"
    r"|strerror"  # as os.strerror does it, under the GIL
    r"|getauxval|memmem|__tls_get_addr"  # the vDSO's address, search in memory, data of a thread
    r"|pthread_(attr_(init|destroy|setguardsize|setstacksize)|create|detach|join|clockjoin_np|self|key_create|setspecific)"
    r"|pthread_mutex(attr_(init|destroy|setpshared|setrobust|settype)|_(init|trylock|clocklock|unlock|consistent))"
    r"|__assert_fail"  # in what cffi writes around its one function
    r"|__register_atfork|__pthread_(un)?register_cancel|__pthread_unwind_next|__sigsetjmp"  # threads, and their end
    r"|calloc|malloc|free"  # what a thread and its handle share is freed by the last of them, without the GIL
    r"|qsort|bsearch"  # which files among thousands of mappings are programs
    r"|__cxa_finalize|__gmon_start__|_ITM_\w+|_GLOBAL_OFFSET_TABLE_"
)
ALONE = {"program.o": {"__stack_chk_fail"}, "extent.o": {"__stack_chk_fail"}, "child.o": set[str]()}
"""Objects that run without Python, each with what it may take from libc; a child has no stack protector."""


def undefined(path: Path, *options: str) -> set[str]:
    """Names that a file takes from elsewhere, without their versions."""
    lines = subprocess.run(
        ["nm", *options, "--undefined-only", path], capture_output=True, text=True, check=True
    ).stdout
    return {line.split()[-1].partition("@")[0] for line in lines.splitlines() if line.strip()}


def check_module(module: Path) -> list[str]:
    """Imports, exports and hardening of the shared object."""
    wrong = [f"{module.name} takes {name}" for name in sorted(undefined(module, "-D")) if not ALLOWED.fullmatch(name)]
    lines = subprocess.run(["nm", "-D", "--defined-only", module], capture_output=True, text=True, check=True).stdout
    exported = {line.split()[-1] for line in lines.splitlines()} - {"PyInit__shim"}
    wrong += [f"{module.name} shows {name}" for name in sorted(exported)]
    headers = subprocess.run(["readelf", "-W", "-l", "-d", module], capture_output=True, text=True, check=True).stdout
    for what, pattern in {
        "no executable stack": r"GNU_STACK.* RW ",
        "RELRO": r"GNU_RELRO",
        "immediate binding": r"BIND_NOW|FLAGS_1.*NOW",
    }.items():
        if not re.search(pattern, headers):
            wrong.append(f"{module.name}: {what} is missing")
    return wrong


def check_object(path: Path, defined_here: set[str]) -> list[str]:
    """An object that runs without Python takes only what is allowed, or what such an object defines."""
    takes = undefined(path) - ALONE[path.name] - {"_GLOBAL_OFFSET_TABLE_"} - defined_here
    return [f"{path.name} takes {name}" for name in sorted(takes)]


def defined(path: Path) -> set[str]:
    """Names that an object gives to others."""
    lines = subprocess.run(["nm", "--defined-only", "-g", path], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in lines.splitlines() if line.strip()}


def main() -> int:
    """Check all, print what is wrong."""
    libraries, objects = map(Path, sys.argv[1:])
    modules = list(libraries.rglob("_shim*.so"))
    alone = [path for path in objects.rglob("*.o") if path.name in ALONE]
    if not modules or "program.o" not in {path.name for path in alone}:
        print("nothing to look at: no module, or no program.o")
        return 1
    given = set[str]().union(*map(defined, alone))
    wrong = [line for module in modules for line in check_module(module)]
    wrong += [line for path in alone for line in check_object(path, given)]
    print(
        "\n".join(wrong)
        or f"{modules[0].name} and {', '.join(sorted(p.name for p in alone))} take nothing that is not allowed"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
