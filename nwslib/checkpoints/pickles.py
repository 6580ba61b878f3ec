"""What a pickle would do, told from its instructions; none is carried out here.

``weights_only=True`` keeps a pickle from running code that is not torch's. It does
not keep it from filling the memory or from overflowing the interpreter's stack, each
with a few bytes, and either ends the process. These are refused before torch
reads them.
"""

from __future__ import annotations

import pickletools
from typing import IO

from nwslib.checkpoints.refusal import Refused, quoted

#: No weights need them, and they expand: bytearray(10**12), nested hex_codec.
_EXPANDING = ("_codecs encode", "builtins bytearray", "__builtin__ bytearray")
#: Hashing a tuple of tuples of tuples ... overflows the stack at some 100,000.
_DEEPEST = 100
#: torch copies the scales of a quantised tensor when it rebuilds it, however many a
#: view of a single number claims that there are.
_PER_CHANNEL = ("torch per_channel_affine", "torch per_channel_affine_float_qparams")
_MOST_SCALES = 2**26

_INTEGERS = ("BININT", "BININT1", "BININT2", "LONG1")
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS = ("GET", "BINGET", "LONG_BINGET")
#: Instruction -> (from a mark on?, objects taken below it, objects left).
_EFFECTS = {
    each.name: (
        pickletools.markobject in each.stack_before,
        [*each.stack_before, pickletools.markobject].index(pickletools.markobject),
        len(each.stack_after),
    )
    for each in pickletools.opcodes
}


def check(stream: IO[bytes], count: int) -> None:
    """Go through pickles that follow each other.

    Parameters
    ----------
    stream : binary file
        Read from where it stands.
    count : int
        Number of pickles.

    Raises
    ------
    Refused
        If reading them would end the process.
    ValueError, IndexError, KeyError
        If they are damaged.
    """
    wanted: dict[str, None] = {}
    largest = 0
    for _ in range(count):
        # How deep tuples nest in each object on the stack and in the memo.
        stack: list[int] = []
        memo: dict[int, int] = {}
        marks: list[int] = []  # sizes of the stack
        for instruction, argument, _ in pickletools.genops(stream):
            name = instruction.name
            if name == "MARK":
                marks.append(len(stack))
                continue
            if name in _PUTS:
                memo[argument] = stack[-1]
                continue
            if name in _GETS:
                stack.append(memo[argument])
                continue
            if name == "GLOBAL":
                wanted[argument] = None
            elif name in _INTEGERS:
                largest = max(largest, argument)
            marked, below, left = _EFFECTS[name]
            start = (marks.pop() if marked else len(stack)) - below
            depth = max(stack[start:], default=0) + name.startswith("TUPLE")
            if depth > _DEEPEST:
                raise Refused(
                    "its pickle nests tuples without end: save model.state_dict() "
                    "alone."
                )
            stack[start:] = [depth] * left
    if any(name in wanted for name in _EXPANDING):
        # numpy's objects come with one of these: name them, not it.
        foreign = [n for n in wanted if not n.startswith(("torch", "collections"))]
        raise wants_more(foreign[0].replace(" ", "."))
    if largest > _MOST_SCALES and any(name in wanted for name in _PER_CHANNEL):
        raise Refused(
            "beside tensors that are quantised by channel it holds a number too large "
            "for a shape: save model.state_dict() alone."
        )


def wants_more(name: str) -> Refused:
    """Say what a pickle wants that no weights need."""
    return Refused(
        f"its pickle wants {quoted(name)}, which is more than weights: save "
        "model.state_dict() alone."
    )
