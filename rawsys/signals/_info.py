"""How a `SignalInfo` is shown."""

from __future__ import annotations

from rawsys.constants import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys._native.signals import SignalInfo

_ANY_CODE = {0: "SI_USER", 0x80: "SI_KERNEL", -1: "SI_QUEUE", -2: "SI_TIMER", -3: "SI_MESGQ", -4: "SI_ASYNCIO",
             -5: "SI_SIGIO", -6: "SI_TKILL", -7: "SI_DETHREAD", -60: "SI_ASYNCNL"}  # fmt: skip
_CODES = {
    4: ("ILL_ILLOPC", "ILL_ILLOPN", "ILL_ILLADR", "ILL_ILLTRP", "ILL_PRVOPC", "ILL_PRVREG", "ILL_COPROC", "ILL_BADSTK"),
    5: ("TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT", "TRAP_UNK", "TRAP_PERF"),
    7: ("BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR", "BUS_MCEERR_AR", "BUS_MCEERR_AO"),
    8: ("FPE_INTDIV", "FPE_INTOVF", "FPE_FLTDIV", "FPE_FLTOVF", "FPE_FLTUND", "FPE_FLTRES", "FPE_FLTINV", "FPE_FLTSUB"),
    11: ("SEGV_MAPERR", "SEGV_ACCERR", "SEGV_BNDERR", "SEGV_PKUERR"),
    17: ("CLD_EXITED", "CLD_KILLED", "CLD_DUMPED", "CLD_TRAPPED", "CLD_STOPPED", "CLD_CONTINUED"),
    29: ("POLL_IN", "POLL_OUT", "POLL_MSG", "POLL_ERR", "POLL_PRI", "POLL_HUP"),
    31: ("SYS_SECCOMP", "SYS_USER_DISPATCH"),
}
_HEX = {"addr", "call_addr", "arch"}


def code_name(signal: int, code: int) -> str:
    """The name of a siginfo's `code`, or the number: ``SI_QUEUE``, ``CLD_EXITED``."""
    codes = _CODES.get(signal, ())
    return codes[code - 1] if 0 < code <= len(codes) else _ANY_CODE.get(code, str(code))


def shown(info: SignalInfo) -> str:
    """The repr: the fields that count for this signal and code."""
    words = [decode("Signal", info.signal), code_name(info.signal, info.code)]
    for name in info._fields:
        value = getattr(info, name)
        if name in ("signal", "code", "int_value") or (name == "errno" and not value):
            continue
        words.append(f"{name}={value:#x}" if name in _HEX else f"{name}={value}")
    return f"SignalInfo({', '.join(words)})"
