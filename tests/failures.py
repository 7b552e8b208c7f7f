"""Failures at a place of choice: the n-th line of altprop that runs, the n-th torch function that is called."""

import sys

import torch
from torch.overrides import TorchFunctionMode


class Interrupt:
    """Ctrl-C at the n-th line of altprop that runs within the block; ``count`` says how many ran."""

    error = KeyboardInterrupt

    def __init__(self, n):
        self.n, self.count, self.place = n, 0, None

    def _trace(self, frame, event, _):
        if frame.f_globals.get("__name__", "").partition(".")[0] != "altprop":
            return None
        self.count += event == "line"
        if event == "line" and self.count == self.n:
            self.place = f"{frame.f_globals['__name__']}, line {frame.f_lineno}"
            raise KeyboardInterrupt
        return self._trace

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self._before)


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
