"""SIGINT and SIGTERM, which end a training with a checkpoint."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from detectron2.utils import comm

__all__ = ["StopSignals", "TrainingStopped"]


class TrainingStopped(KeyboardInterrupt):
    """A signal has ended a training.

    Attributes:
        exit_code: the exit status of a program that the signal ends, as shells report it.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class StopSignals:
    """While this context is active, the first SIGINT or SIGTERM asks for a stop.

    A SIGINT after that raises KeyboardInterrupt at once. Outside the main thread of a process,
    which alone may handle signals, the context does nothing.

    Attributes:
        received: the number of the signal; None before there is one.
    """

    def __init__(self, on_signal: Callable[[], None]) -> None:
        """
        Args:
            on_signal: called when the first signal arrives, between any two instructions.
        """
        self.received: int | None = None
        self._on_signal = on_signal
        self._raises = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    @contextmanager
    def raising(self) -> Iterator[None]:
        """A context where the first signal, also one from before, raises KeyboardInterrupt."""
        self._raises = True
        try:
            if self.received is not None:
                raise KeyboardInterrupt
            yield
        finally:
            self._raises = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        is_first = self.received is None
        if is_first:
            self.received = number
            self._on_signal()
            if comm.is_main_process():
                # Unlike print(), os.write() may interrupt another print().
                name = signal.Signals(number).name
                os.write(2, f"\n{name}: stopping with a checkpoint; Ctrl-C: at once\n".encode())
        # Launchers send SIGTERM to the other workers as soon as one has stopped.
        if self._raises if is_first else number == signal.SIGINT:
            raise KeyboardInterrupt
