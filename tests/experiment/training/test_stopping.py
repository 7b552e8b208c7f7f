"""Signals: what they do to work, and what status a command ends with."""

import os
import signal
import threading

import pytest

from altprop.experiment.training.stopping import Stop, exit_status, interruptible

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.fixture(autouse=True)
def _as_before():
    before = {number: signal.getsignal(number) for number, _ in SIGNALS}
    yield
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_every_signal_does_what_ctrl_c_does(number, status):
    with pytest.raises(KeyboardInterrupt), interruptible():
        os.kill(os.getpid(), number)
    assert exit_status() == status


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_the_first_signal_asks_and_the_second_interrupts(number, status):
    with interruptible(), pytest.raises(KeyboardInterrupt), Stop() as stop:
        assert not stop.asked
        os.kill(os.getpid(), number)
        assert stop.asked
        os.kill(os.getpid(), number)
    assert exit_status() == status


def test_an_interrupt_that_was_raised_counts_as_ctrl_c():
    with pytest.raises(KeyboardInterrupt), interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interruptible():
        raise KeyboardInterrupt
    assert exit_status() == 130


@pytest.mark.parametrize("guard", [interruptible, Stop])
def test_what_is_ignored_stays_ignored(guard):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with guard():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_leave_signals_alone():
    def work():
        with interruptible(), Stop() as stop:
            assert not stop.asked
            done.append(1)

    done = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done
