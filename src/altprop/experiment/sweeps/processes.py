"""Workers as processes of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from altprop.experiment.errors import InputError
from altprop.experiment.sweeps.working import work
from altprop.experiment.training.stopping import exit_status, interruptible

_SECONDS_TO_END = 60  # a worker that is asked to stop gives its trial back first
_SECONDS_TO_ANSWER = 5
_PROGRAM = "from altprop.experiment.sweeps.processes import main; main()"


def run_processes(url: str, name: str, count: int, logs: Path, look: Callable[[], Any]) -> None:
    """Let processes work on a sweep until they have all ended. Ctrl-C ends them, and they give their trials back.

    Args:
        url: of the storage.
        name: of the sweep.
        count: how many processes.
        logs: the folder for what they print.
        look: called every now and then.

    Raises:
        InputError: all of them ended with an error; the message is that of the last.
    """
    files = [logs / f"worker-{number}.log" for number in range(count)]
    processes = [_start(url, name, file) for file in files]
    try:
        while any(process.poll() is None for process in processes):
            look()
            time.sleep(0.5)
    except BaseException:
        _stop(processes)
        raise
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
    if all(process.returncode for process in processes):
        raise InputError(_last_words(processes, files))


def main() -> None:
    """The program of a process: the storage and the name of the sweep come in by standard input."""
    task = json.loads(sys.stdin.readline())
    _belong_to_the_sweep()
    try:
        with interruptible():
            work(task["storage"], task["name"])
    except InputError as error:
        raise SystemExit(f"altprop: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(exit_status()) from None


def _belong_to_the_sweep() -> None:
    """Leave it to the sweep to say when this process ends; if the sweep itself is killed, end too."""
    for name in ("SIGINT", "SIGHUP"):  # which a terminal sends to both of them
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)

    def watch() -> None:
        os.read(0, 1)  # until the other end of the pipe is closed; by sys.stdin Python could not end meanwhile
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=watch, daemon=True).start()


def _start(url: str, name: str, log: Path) -> subprocess.Popen[str]:
    with log.open("a", encoding="utf-8") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=out, stderr=out, text=True
        )
    # By a pipe: other users can read the command lines of all processes, and the URL may hold a password.
    assert process.stdin is not None
    process.stdin.write(json.dumps({"storage": url, "name": name}) + "\n")
    process.stdin.flush()  # and open as long as this process lives
    return process


def _stop(processes: list[subprocess.Popen[str]]) -> None:
    deadline = time.monotonic() + _SECONDS_TO_END
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        # Again and again: what a signal raises within a callback of Python's own, such as a weak reference's, is lost.
        for process in processes:
            process.terminate()
        _wait(processes, min(deadline, time.monotonic() + _SECONDS_TO_ANSWER))
    for process in processes:
        process.kill()
        process.wait()


def _wait(processes: list[subprocess.Popen[str]], until: float) -> None:
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, until - time.monotonic()))


def _last_words(processes: list[subprocess.Popen[str]], files: list[Path]) -> str:
    codes = ", ".join(str(process.returncode) for process in processes)
    lines = files[-1].read_text(encoding="utf-8").strip().splitlines()
    said = lines[-1].removeprefix("altprop: ") if lines else f"exit status {codes}"
    return f"No worker came to the end of the sweep: {said} (see {files[-1]}). The same command goes on with it."
