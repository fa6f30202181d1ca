"""Signals by number and name, and sets of them against Python's own."""

from __future__ import annotations

import copy
import pickle
import re
import signal as python_signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawsys import constants
from rawsys.constants import SIGINT, SIGKILL, SIGRTMAX, SIGRTMIN, SIGTERM, SIGUSR1
from rawsys.signals import Signal, SignalCounter, SignalSet, blocked, raw_sigaction

NUMBERS = [*range(1, 32), *range(34, 65)]
FULL = frozenset(NUMBERS)

numbers = st.frozensets(st.sampled_from(NUMBERS))


class TestSignal:
    def test_constants_are_members(self) -> None:
        """SIGINT of the constants is the Signal, and this module's Signal is the constants' class."""
        assert Signal is constants.Signal is constants.family("Signal")
        assert SIGINT is Signal.SIGINT is Signal(2)
        assert isinstance(SIGINT, int)

    def test_all_of_them(self) -> None:
        """1 to 31 and 34 to 64, in order, as Python knows them."""
        assert list(Signal) == NUMBERS
        assert {int(number) for number in python_signal.valid_signals()} == FULL
        for known in python_signal.Signals:
            assert Signal[known.name] == int(known)

    @pytest.mark.parametrize("number", NUMBERS)
    def test_number_and_name(self, number: int) -> None:
        """A number gives the signal and its name gives it back, real-time ones included; it prints as its name."""
        member = Signal(number)
        assert member == number
        assert Signal[member.name] is Signal.named(member.name) is member
        assert str(member) == f"{member}" == member.name == constants.decode("Signal", number)
        assert f"{member:d}" == str(number)
        assert pickle.loads(pickle.dumps(member)) is member

    def test_real_time_signals(self) -> None:
        """They are named by the distance from SIGRTMIN, the last is SIGRTMAX."""
        assert SIGRTMIN == 34
        assert SIGRTMAX == 64
        assert str(Signal(35)) == "SIGRTMIN+1"
        assert str(Signal(SIGRTMIN + 3)) == "SIGRTMIN+3"
        assert repr(Signal(63)) == "<Signal.SIGRTMIN+29: 63>"
        assert str(Signal(64)) == "SIGRTMAX"

    @pytest.mark.parametrize(
        ("name", "number"),
        [
            ("SIGTERM", 15),
            ("TERM", 15),
            ("term", 15),
            ("SIGCLD", 17),
            ("SIGPOLL", 29),
            ("RTMIN", 34),
            ("SIGRTMIN+0", 34),
            ("rtmin+30", 64),
            ("SIGRTMAX-0", 64),
            ("SIGRTMAX-30", 34),
            ("RTMAX-1", 63),
        ],
    )
    def test_names_as_people_write_them(self, name: str, number: int) -> None:
        """With or without SIG, in any case, real-time ones from either end."""
        assert Signal.named(name) == number

    @pytest.mark.parametrize(
        "name", ["", "SIG", "SIGFOO", "SIGRTMIN+31", "SIGRTMAX-31", "SIGRTMIN-1", "SIGTERM+1", "RTMIN+x", "9"]
    )
    def test_names_of_nothing(self, name: str) -> None:
        """A name that no signal has is ValueError."""
        with pytest.raises(ValueError, match="no signal is named"):
            Signal.named(name)

    def test_near_name(self) -> None:
        """The error tells the name that was probably meant."""
        with pytest.raises(ValueError, match="no signal is named 'SIGUSR3'; did you mean 'SIGUSR"):
            Signal.named("SIGUSR3")

    @pytest.mark.parametrize("number", [32, 33])
    def test_libc_s_own_are_refused(self, number: int) -> None:
        """32 and 33 are refused, and the reason is said."""
        with pytest.raises(ValueError, match=f"signal {number} belongs to libc"):
            Signal(number)

    @pytest.mark.parametrize("number", [0, -1, 65, 2**32 + 2])
    def test_other_numbers_are_refused(self, number: int) -> None:
        """There are no signals beyond 64, so a number is no newer one."""
        with pytest.raises(ValueError, match="is not a signal"):
            Signal(number)


class TestAlgebra:
    @given(numbers, numbers)
    def test_operators(self, left: frozenset[int], right: frozenset[int]) -> None:
        """Every operator gives what frozenset gives, as a SignalSet, also with a plain set on either side."""
        ours, theirs = SignalSet(left), SignalSet(right)
        for made, expected in [
            (ours | theirs, left | right),
            (ours & theirs, left & right),
            (ours - theirs, left - right),
            (ours ^ theirs, left ^ right),
            (~ours, FULL - left),
        ]:
            assert type(made) is SignalSet
            assert frozenset(made) == expected
        assert ours | right == left | theirs == ours | theirs
        assert ours & right == left & theirs == ours & theirs
        assert ours - right == left - theirs == ours - theirs
        assert ours ^ right == left ^ theirs == ours ^ theirs

    @given(numbers, numbers)
    def test_comparisons(self, left: frozenset[int], right: frozenset[int]) -> None:
        """Order by inclusion, equality and hash are those of frozenset."""
        ours, theirs = SignalSet(left), SignalSet(right)
        assert (ours <= theirs, ours < theirs, ours >= theirs, ours > theirs) == (
            left <= right,
            left < right,
            left >= right,
            left > right,
        )
        assert (ours == theirs) == (left == right)
        assert ours.isdisjoint(theirs) == left.isdisjoint(right)
        assert ours == left
        assert hash(ours) == hash(left)

    @given(numbers)
    def test_forms(self, signals: frozenset[int]) -> None:
        """Order, length, mask, bytes, names and copies say the same."""
        made = SignalSet(signals)
        assert list(made) == sorted(signals)
        assert all(type(member) is Signal for member in made)
        assert len(made) == len(signals)
        assert bool(made) == bool(signals)
        assert made.mask == sum(1 << (number - 1) for number in signals)
        assert made.to_bytes() == bytes(made) == made.mask.to_bytes(8, "little")
        assert SignalSet.from_mask(made.mask) == SignalSet.from_bytes(made.to_bytes()) == SignalSet(made.names) == made
        assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == copy.copy(made) == made
        assert [number for number in range(-2, 70) if number in made] == sorted(signals)

    @given(numbers)
    def test_double_complement(self, signals: frozenset[int]) -> None:
        """~ twice is the set itself, and a set and its complement are everything."""
        made = SignalSet(signals)
        assert ~~made == made
        assert made | ~made == SignalSet.full()
        assert not made & ~made


class TestSet:
    def test_made_of_signals_numbers_and_names(self) -> None:
        """Any iterable of them, in any order, twice or once."""
        assert SignalSet([SIGINT, 15, "SIGRTMIN+1", "int"]) == {2, 15, 35}
        assert SignalSet(number for number in (1, 2)) == {1, 2}
        assert SignalSet(python_signal.Signals(9) for _ in range(2)) == {9}
        assert SignalSet() == set()
        assert SignalSet(SignalSet([3])) == {3}

    def test_repr(self) -> None:
        """The repr shows names in order, and is read back as the set."""
        made = SignalSet(["SIGRTMIN+1", SIGKILL, SIGTERM])
        assert repr(made) == "SignalSet({SIGKILL, SIGTERM, SIGRTMIN+1})"
        assert (
            eval(repr(made), {"SignalSet": SignalSet, **{name: int(Signal[name]) for name in Signal.__members__}})
            == made
        )
        assert repr(SignalSet()) == "SignalSet()"
        assert made.names == ("SIGKILL", "SIGTERM", "SIGRTMIN+1")

    def test_full(self) -> None:
        """All but libc's own, in the mask too."""
        full = SignalSet.full()
        assert len(full) == 62
        assert full.mask == 0xFFFFFFFE7FFFFFFF
        assert 32 not in full
        assert 33 not in full
        assert ~full == SignalSet()
        assert ~SignalSet() == full

    def test_a_mask_of_the_kernel_may_hold_libc_s_own(self) -> None:
        """They are left out, so that the set can be given back."""
        assert SignalSet.from_mask(2**64 - 1) == SignalSet.full()
        assert SignalSet.from_mask(3 << 31 | 2) == {SIGINT}

    def test_the_mask_is_python_s(self) -> None:
        """A mask that this process really has is the one that the kernel tells."""
        before = python_signal.pthread_sigmask(python_signal.SIG_BLOCK, {python_signal.SIGUSR1, 36})
        try:
            with open("/proc/thread-self/status") as status:
                told = re.search(r"^SigBlk:\s*([0-9a-f]+)$", status.read(), re.MULTILINE)
            assert told is not None
            assert SignalSet.from_mask(int(told[1], 16)) == before | {python_signal.SIGUSR1, 36}
        finally:
            python_signal.pthread_sigmask(python_signal.SIG_SETMASK, before)

    @pytest.mark.parametrize("wrong", [32, 33, 0, -1, 65, "SIGFOO", "32"])
    def test_no_signals(self, wrong: int | str) -> None:
        """What is no signal is ValueError, in the constructor and in an operator."""
        with pytest.raises(ValueError, match="signal"):
            SignalSet([wrong])
        with pytest.raises(ValueError, match="signal"):
            SignalSet() | [wrong]
        assert wrong not in SignalSet.full()

    @pytest.mark.parametrize("wrong", [True, 2.0, None, b"SIGINT"])
    def test_wrong_types(self, wrong: object) -> None:
        """bool, float and the rest are TypeError, never a signal."""
        with pytest.raises(TypeError, match="a signal is a Signal, an int or a name"):
            SignalSet([wrong])  # type: ignore[list-item]  # what is tested
        assert wrong not in SignalSet.full()

    def test_a_str_is_not_a_set_of_letters(self) -> None:
        """A bare name is refused with the right spelling, and no operator takes one."""
        with pytest.raises(TypeError, match=re.escape("SignalSet(['SIGINT'])")):
            SignalSet("SIGINT")
        with pytest.raises(TypeError):
            SignalSet() | "SIGINT"
        with pytest.raises(TypeError):
            SignalSet() - 2  # type: ignore[operator]  # what is tested
        assert SignalSet([1]) != 1

    def test_a_signal_alone_is_not_a_set(self) -> None:
        """Refused with the right spelling, here and as the mask of an action."""
        for one, shown in ((SIGINT, "[SIGINT]"), (2, "[2]"), ("SIGINT", "['SIGINT']")):
            for use in (SignalSet, lambda mask: raw_sigaction(SIGUSR1, 0, 0, mask)):
                with pytest.raises(TypeError, match=re.escape(f"SignalSet({shown})")):
                    use(one)

    @pytest.mark.parametrize("data", [b"SIGINT", bytearray(b"\x0a"), memoryview(bytes(8))])
    def test_bytes_are_not_a_set_of_numbers(self, data: bytes) -> None:
        """Their bytes are numbers, of which some are signals; from_bytes reads the kernel's mask."""
        for use in (SignalSet, SignalCounter, blocked, SignalSet().__or__):
            with pytest.raises(TypeError, match="bytes"):
                use(data)

    @pytest.mark.parametrize("mask", [-1, 2**64])
    def test_masks_have_64_bits(self, mask: int) -> None:
        """Another number is OverflowError."""
        with pytest.raises(OverflowError, match="64 bits"):
            SignalSet.from_mask(mask)

    @pytest.mark.parametrize("size", [0, 7, 9, 128])
    def test_masks_have_8_bytes(self, size: int) -> None:
        """libc's sigset_t of 128 bytes is not the kernel's."""
        with pytest.raises(ValueError, match="8 bytes"):
            SignalSet.from_bytes(bytes(size))

    def test_membership_by_name(self) -> None:
        """`in` takes what the constructor takes."""
        made = SignalSet([SIGTERM, 36])
        assert "SIGTERM" in made  # type: ignore[comparison-overlap]  # typed by what iteration gives
        assert "rtmin+2" in made  # type: ignore[comparison-overlap]  # as above
        assert "SIGFOO" not in made  # type: ignore[comparison-overlap]  # as above

    def test_it_cannot_be_changed(self) -> None:
        """There is nothing to set or delete."""
        made = SignalSet([1])
        with pytest.raises(AttributeError, match="cannot be changed"):
            made._mask = 3
        with pytest.raises(AttributeError, match="cannot be changed"):
            del made._mask
        assert not hasattr(made, "__dict__")
        assert {made: 1}[SignalSet([1])] == 1
