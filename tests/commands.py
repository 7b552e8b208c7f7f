"""Programs as processes of their own, forked from one that has imported what they need."""

import multiprocessing
import os
import resource
import runpy
import signal
import sys
import warnings
from itertools import count
from pathlib import Path

import torch

_NUMBERS = count()


class Command:
    """``altprop``, or a script, with some words in a folder, in a session of its own.

    Args:
        words: what follows its name.
        folder: its working directory.
        script: the file that is run. Unset: it is altprop.
        ignored: signals that it is started to ignore, as nohup does.
        largest: how many bytes a file of its may have.
    """

    def __init__(self, *words, folder, script=None, ignored=(), largest=resource.RLIM_INFINITY):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.preloaded"])
        self._told = folder / f".told-{next(_NUMBERS)}"
        begun = context.Event()
        argv = [str(script or "altprop"), *map(str, words)]
        limits = (ignored, largest)
        self._process = context.Process(target=_run, args=(begun, argv, folder, self._told, limits))
        self._process.start()
        assert begun.wait(100)

    @property
    def pid(self):
        """Of the process, and of its session."""
        return self._process.pid

    @property
    def status(self):
        """What it ended with; None while it runs."""
        return self._process.exitcode

    def send(self, number):
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds):
        """What it ended with."""
        self._process.join(seconds)
        assert self.status is not None, "this takes too long"
        return self.status

    def told(self):
        """All that it wrote to its outputs until now."""
        return self._told.read_text()

    def is_alive(self):
        """Whether a process of its session is left."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def close(self):
        """Kill whatever is left of it."""
        if self.is_alive():
            os.killpg(self.pid, signal.SIGKILL)
        self._process.join()


def _run(begun, argv, folder, told, limits):
    ignored, largest = limits
    os.setsid()
    os.chdir(folder)
    os.environ |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    torch.set_num_threads(1)
    file = os.open(told, os.O_WRONLY | os.O_CREAT)
    for output in (1, 2):
        os.dup2(file, output)
    sys.stdout, sys.stderr = (os.fdopen(output, "w", buffering=1) for output in (1, 2))
    warnings.simplefilter("error")
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    sys.argv = argv
    begun.set()
    if argv[0] != "altprop":
        sys.path[0] = str(Path(argv[0]).parent)
        runpy.run_path(argv[0], run_name="__main__")
        return
    from altprop.cli import main  # noqa: PLC0415  (it was imported before the fork)

    main()
