"""py-evm's interpreter, with a fast path for the most common instructions.

py-evm spends several calls on every PUSH and DUP. This decodes each code once and executes stack
operations directly; every other instruction goes to py-evm, one at a time. Words on the stack are
always numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, cast

from eth import exceptions
from eth.abc import MessageAPI, StateAPI, TransactionContextAPI
from eth.vm.code_stream import CodeStream
from eth.vm.forks.prague.computation import PragueComputation
from eth.vm.stack import Stack

WORD = 2**256
STACK_WORDS = 1024
STACK_POPS = ("pop_ints", "pop_bytes", "pop_any", "pop1_int", "pop1_bytes", "pop1_any")
STACK_CALLS = (*STACK_POPS, "push_int", "push_bytes")
POP, JUMP, JUMPI, JUMPDEST, PUSH0, PUSH32, DUP1, SWAP1 = (
    0x50,
    0x56,
    0x57,
    0x5B,
    0x5F,
    0x7F,
    0x80,
    0x90,
)

Words = list[int]
Act = Callable[[Words], object]
DOES, PUSHES, JUMPS, BRANCHES, OTHER = range(5)
Step = tuple[int, int, Any, int]
"""An instruction's kind, its gas, its word, action or opcode, and the position of the next one."""


class Interpreter(PragueComputation):
    """One run of one contract's code."""

    def __init__(
        self, state: StateAPI, message: MessageAPI, transaction_context: TransactionContextAPI
    ) -> None:
        super().__init__(state, message, transaction_context)
        numbers = _Numbers()
        self.words = cast("Words", numbers.values)
        self._stack = numbers
        # py-evm would look these up through a decorator that Python 3.14 warns about.
        vars(self).update({f"stack_{name}": getattr(numbers, name) for name in STACK_CALLS})
        self.code = _Program(message.code, self)


class _Numbers(Stack):
    """A stack that holds only numbers."""

    def push_bytes(self, value: bytes) -> None:
        self.push_int(int.from_bytes(value, "big"))


class _Program(CodeStream):
    """Code that runs what it can, and yields the opcodes that it cannot execute itself."""

    def __init__(self, code: bytes, computation: Interpreter) -> None:
        super().__init__(code)
        self._computation = computation

    def __iter__(self) -> Iterator[int]:
        try:
            yield from self._run()
        except IndexError:
            raise exceptions.InsufficientStack("too few words on the stack") from None

    def _run(self) -> Iterator[int]:
        steps, targets = _decoded(self._raw_code_bytes)
        meter, words = self._computation.get_gas_meter(), self._computation.words
        at, gas = self.program_counter, meter.gas_remaining
        while True:
            kind, cost, argument, following = steps[at]
            gas -= cost
            if gas < 0:
                raise exceptions.OutOfGas("out of gas")
            if kind == DOES:
                argument(words)
            elif kind == PUSHES:
                words.append(argument)
            elif kind == OTHER:
                meter.gas_remaining, self.program_counter = gas, following
                yield argument
                at, gas = self.program_counter, meter.gas_remaining
                continue
            else:
                target = words.pop()
                if kind == JUMPS or words.pop():
                    if target not in targets:
                        raise exceptions.InvalidJumpDestination("no jump goes there")
                    following = target
            if len(words) > STACK_WORDS:
                raise exceptions.FullStack("too many words on the stack")
            at = following


@functools.lru_cache(maxsize=256)
def _decoded(code: bytes) -> tuple[list[Step], frozenset[int]]:
    """Return the step at every position, with STOP after the last, and the valid jump targets."""
    steps: list[Step] = [(OTHER, 0, 0, position + 1) for position in range(len(code) + 1)]
    targets = set()
    at = 0
    while at < len(code):
        steps[at] = _step(code, at)
        if code[at] == JUMPDEST:
            targets.add(at)
        at = steps[at][3]
    return steps, frozenset(targets)


def _step(code: bytes, at: int) -> Step:
    opcode, following = code[at], at + 1
    if PUSH0 <= opcode <= PUSH32:
        size = opcode - PUSH0
        word = code[following : following + size].ljust(size, b"\0")
        end = min(following + size, len(code))
        return PUSHES, 2 if size == 0 else 3, int.from_bytes(word, "big"), end
    if opcode == JUMP:
        return JUMPS, 8, 0, following
    if opcode == JUMPI:
        return BRANCHES, 10, 0, following
    if opcode in ACTS:
        cost, act = ACTS[opcode]
        return DOES, cost, act, following
    return OTHER, 0, opcode, following


def _dup(position: int) -> Act:
    return lambda words: words.append(words[-position])


def _swap(position: int) -> Act:
    def swap(words: Words) -> None:
        words[-1], words[-position] = words[-position], words[-1]

    return swap


def _of_two(function: Callable[[int, int], int]) -> Act:
    def act(words: Words) -> None:
        top = words.pop()
        words[-1] = function(top, words[-1])

    return act


def _of_one(function: Callable[[int], int]) -> Act:
    def act(words: Words) -> None:
        words[-1] = function(words[-1])

    return act


def _acts() -> dict[int, tuple[int, Act]]:
    """Return the gas and action of every instruction that needs only the stack."""
    acts: dict[int, tuple[int, Act]] = {
        0x01: (3, _of_two(lambda a, b: (a + b) % WORD)),
        0x02: (5, _of_two(lambda a, b: a * b % WORD)),
        0x03: (3, _of_two(lambda a, b: (a - b) % WORD)),
        0x04: (5, _of_two(lambda a, b: a // b if b else 0)),
        0x06: (5, _of_two(lambda a, b: a % b if b else 0)),
        0x10: (3, _of_two(lambda a, b: int(a < b))),
        0x11: (3, _of_two(lambda a, b: int(a > b))),
        0x14: (3, _of_two(lambda a, b: int(a == b))),
        0x15: (3, _of_one(lambda a: int(a == 0))),
        0x16: (3, _of_two(lambda a, b: a & b)),
        0x17: (3, _of_two(lambda a, b: a | b)),
        0x18: (3, _of_two(lambda a, b: a ^ b)),
        0x19: (3, _of_one(lambda a: WORD - 1 - a)),
        0x1B: (3, _of_two(lambda a, b: b << a & WORD - 1 if a < 256 else 0)),
        0x1C: (3, _of_two(lambda a, b: b >> a if a < 256 else 0)),
        POP: (2, list.pop),
        JUMPDEST: (1, lambda _: None),
    }
    acts |= {DUP1 + n: (3, _dup(n + 1)) for n in range(16)}
    acts |= {SWAP1 + n: (3, _swap(n + 2)) for n in range(16)}
    return acts


ACTS = _acts()
