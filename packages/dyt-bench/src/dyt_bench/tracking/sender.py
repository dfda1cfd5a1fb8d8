"""A thread that sends to a tracker what is new, so that training never waits for one.

A tracker that does not answer is asked again at growing intervals; what it missed is in the
records, and is sent once it answers.
"""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

SEND_EVERY_S = 2.0
ASK_AGAIN_S = 30.0  # the longest pause after a failure
CLOSE_S = 60.0  # how long to wait at the end

T = TypeVar("T")


class Away(Exception):
    """The tracker does not answer: nothing else need be tried now. Its text says why."""


class Sender(Generic[T]):
    """Sends each item again and again until nothing more of it will come.

    Args:
        name: of the thread.
        send: sends what is new of an item; called with it and whether this is the last time.
            Returns whether nothing more will come. May raise anything, `Away` among it.
        said: a failure in words.
        slow: what is said where sending takes too long at the end.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[T, bool], bool],
        said: Callable[[BaseException], str],
        slow: str,
    ) -> None:
        self.problem: str | None = None  # why the tracker lacks something; None if it does not
        self._send_one, self._said, self._slow = send, said, slow
        self._followed: list[T] = []
        self._new: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def follow(self, item: T) -> None:
        """Send the item from now on, until it is whole or this closes."""
        self._new.put(item)

    def close(self, patience_s: float = CLOSE_S) -> None:
        """Send what remains and stop.

        Args:
            patience_s: the longest to wait for that.
        """
        self._closing.set()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            self.problem = self.problem or self._slow
        elif self._followed or not self._new.empty():
            self.problem = self.problem or "not everything was sent"

    def _work(self) -> None:
        pause = 0.0
        while True:
            closing = self._closing.wait(pause)
            while not self._new.empty():
                self._followed.append(self._new.get())
            try:
                sent = self._send(last=closing)
            except BaseException as error:  # the thread is all that sends: it goes on
                self.problem, sent = self._said(error), False
            pause = SEND_EVERY_S if sent else min(2 * pause + 1, ASK_AGAIN_S)
            if closing:
                return

    def _send(self, *, last: bool) -> bool:
        """Send once what is new of everything; False if the tracker did not accept it all."""
        failure: str | None = None
        followed = list(self._followed)
        for item in followed:
            try:
                if self._send_one(item, last):
                    self._followed.remove(item)
            except Away as error:
                failure = str(error)
                break
            except Exception as error:  # a tracker's outage must not reach training
                failure = self._said(error)
        if followed:
            self.problem = failure
        return failure is None
