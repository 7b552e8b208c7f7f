"""Failures at a place of choice: the n-th line of altprop that runs, the n-th torch function that is called."""

import sys

import torch
from torch.overrides import TorchFunctionMode

_SWITCHES = {"torch.autograd.grad_mode", "torch.utils._contextlib", "torch.amp.autocast_mode", "torch.random"}
"""Where torch's switches are set and set back."""


class Interrupt:
    """Ctrl-C at the n-th line of altprop that runs within the block, or of torch's switches that altprop sets.

    Attributes:
        count: how many ran.
        lines: which; what they are stays the same from run to run.
        place: where it came, in words.
    """

    error = KeyboardInterrupt

    def __init__(self, n):
        self.n, self.count, self.place, self.lines = n, 0, None, []

    def _trace(self, frame, event, _):
        if not _is_ours(frame):
            return None
        if event == "line":
            self.count += 1
            self.lines.append((frame.f_code, frame.f_lineno))
            if self.count == self.n:
                self.place = f"{frame.f_globals['__name__']}, line {frame.f_lineno}"
                raise KeyboardInterrupt
        return self._trace

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self._before)


def _is_ours(frame):
    while frame is not None and frame.f_globals.get("__name__") in _SWITCHES:
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "altprop"


class OutOfMemory(TorchFunctionMode):
    """No memory for the n-th torch function within the block; ``count`` says how many were called."""

    error = torch.OutOfMemoryError

    def __init__(self, n):
        super().__init__()
        self.n, self.count, self.place = n, 0, None

    def __torch_function__(self, function, types, args=(), kwargs=None):
        # Switching gradients on and off takes no memory.
        self.count += function is not torch._C._set_grad_enabled
        if self.count == self.n and self.place is None:
            self.place = f"{function}, call {self.n}"
            raise torch.OutOfMemoryError("out of memory")
        return function(*args, **(kwargs or {}))


def failures_of(failure, start, work, at_most=10_000):
    """For each place at which ``work(start())`` can fail, at most so many: what start() gave, and the place."""
    with failure(0) as whole:
        work(start())
    places = range(1, whole.count + 1, max(1, -(-whole.count // at_most)))
    for n in places:
        subject = start()
        try:
            with failure(n) as failed:
                work(subject)
        except failure.error:
            yield subject, failed.place


def interrupts_of(start, work):
    """:func:`failures_of` interrupts at each line that runs, at the last time that it does."""
    with Interrupt(0) as whole:
        work(start())
    last = {line: n for n, line in enumerate(whole.lines, start=1)}
    for n in sorted(last.values()):
        subject = start()
        try:
            with Interrupt(n) as interrupt:
                work(subject)
        except (KeyboardInterrupt, SystemError):  # torch's C++ makes the second of the first
            yield subject, interrupt.place
