"""Every constant of the kernel interface under its kernel's name: ``constants.O_CLOEXEC``, ``constants.SIGUSR1``.

The constants stand in families, each with one class, and there is one rule for its name: the bits ``FOO_*`` are members
of the flag class ``FooFlags``, constants ``BAR_*`` of which one excludes the other are members of the enum ``Bar``::

    O_CLOEXEC  is  OFlags.O_CLOEXEC          family "O"
    CLOCK_TAI  is  Clock.CLOCK_TAI           family "CLOCK"
    NAME_MAX   is  255                       family "LIMIT": plain numbers have no class

(a family that ends in ``FLAG`` does not say it twice: ``SCHED_FLAG_*`` are ``SchedFlags``). Where the kernel uses one
prefix for two sets, the families are ``MSYNC`` and ``MS``, ``IPC`` and ``IPC_CMD``, and so on: `families` tells them all,
and what each is for. Values are those of x86-64 up to Linux 6.18, not those of the headers that this was built with;
`describe` tells since which kernel a constant is there.

Flags keep bits that they do not know, and enums accept numbers that they do not know. Both are ints.
Nothing is read before the first name is asked for, and the class of a family is built with its first constant.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys._catalog import Constant

_FUNCTIONS = ("decode", "describe", "families", "family")


def family(name: str) -> type[int]:
    """The class of a family: ``family("O")`` is `OFlags`; ``int`` for a family of plain numbers.

    Raises: ValueError for an unknown family, with the nearest one.
    """
    from rawsys import _families

    made = _families.build(name)
    if made is not int:
        globals()[made.__name__] = made
    return made


def families() -> tuple[str, ...]:
    """The names of all families, as `family` and `decode` take them."""
    from rawsys import _catalog

    return tuple(_catalog.kinds())


def decode(family: str, value: int) -> str:
    """A number as strace writes it: ``decode("O", 0o2000000)`` is ``O_RDONLY|O_CLOEXEC``.

    Bits without a name are written in hexadecimal, zero as the name that stands for it or ``0``. Several families may be
    joined by ``+`` where an argument mixes them: ``decode("SOCK+SOCK_FLAG", type)``, ``decode("CLONE+Signal", flags)``,
    ``decode("AT_EACCESS+AT", flags)``; of two names for one bit the family that stands first wins.

    Raises: ValueError for an unknown family, never for a number.
    """
    from rawsys import _catalog

    return _catalog.decode(family, value)


def describe(name: str) -> "Constant":
    """What the table knows of a constant: family, kind, value, since which kernel, remark.

    Raises: ValueError for an unknown name, with the nearest one.
    """
    from rawsys import _catalog

    row = _catalog.row(name)
    if row is None:
        raise ValueError(f"no constant {name!r}{_catalog.near(name, _catalog.names())}")
    return row


def _public() -> list[str]:
    from rawsys import _catalog

    return sorted({*_FUNCTIONS, *_catalog.classes(), *_catalog.names()})


def __getattr__(name: str) -> object:
    if name == "__all__":
        return _public()
    # What the import system and inspect ask of every module must not cost a look into the table.
    if name.startswith("__") and name.endswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    from rawsys import _catalog

    row = _catalog.row(name)
    owner = row.family if row is not None else _catalog.classes().get(name)
    if owner is None:
        close = "" if name.startswith("_") else _catalog.near(name, _public())
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{close}", name=name)
    made = family(owner)
    plain = made is int
    found = {key: value if plain else made(value) for key, value in _catalog.members(owner).items()}
    # A name that Python cannot write (SIGRTMIN+1) stays inside its class.
    globals().update((key, value) for key, value in found.items() if key.isidentifier())
    return globals()[name]


def __dir__() -> list[str]:
    return _public()
