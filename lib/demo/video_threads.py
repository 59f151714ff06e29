"""Work ahead: an iterator that runs in a thread of its own, only so far ahead of who takes its items."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import GeneratorType
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
TICK_SECONDS = 0.1  # how often those who wait look whether they should stop
JOIN_SECONDS = 10.0
END = object()


@dataclass(frozen=True)
class Failure:
    """An error on its way from a thread to who takes its items."""

    error: BaseException


class RunAhead(Generic[Item], Iterator[Item]):
    """Takes items from an iterable in a thread, and keeps at most `capacity` of them until they are asked for.

    An error of the iterable is raised where its item would have come. close(), or the end of a `with` block, ends the
    thread, and closes the iterable if it is a generator. stop: an event that several of these share, so that all end at
    once; by default its own.
    """

    def __init__(self, items: Iterable[Item], *, capacity: int, stop: threading.Event | None = None, name: str = "ahead"):
        self.stop = stop or threading.Event()
        self.finished = False
        self._items, self._queue = items, queue.Queue(maxsize=capacity)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __next__(self) -> Item:
        while not (self.finished or self.stop.is_set()):
            try:
                return self._unpack(self._queue.get(timeout=TICK_SECONDS))
            except queue.Empty:
                continue
        raise StopIteration

    def poll(self) -> Item | None:
        """The next item if it is there already. None also after the last one, when `finished` becomes true."""
        try:
            return None if self.finished else self._unpack(self._queue.get_nowait())
        except (queue.Empty, StopIteration):
            return None

    def close(self) -> None:
        """Ends the thread and forgets what it made."""
        self.stop.set()
        self.finished = True
        self._thread.join(timeout=JOIN_SECONDS)

    def _unpack(self, item: object) -> Item:
        if item is END:
            self.finished = True
            raise StopIteration
        if isinstance(item, Failure):
            self.finished = True
            raise item.error
        return item

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._hand_over(item):
                    break
            else:
                self._hand_over(END)
        except BaseException as error:  # whoever waits for the items must learn of it, whatever it is
            self._hand_over(Failure(error))
        finally:
            if isinstance(self._items, GeneratorType):
                self._items.close()

    def _hand_over(self, item: object) -> bool:
        """Waits for room in the queue; false if there is nobody any more who would take it."""
        while not self.stop.is_set():
            try:
                self._queue.put(item, timeout=TICK_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def __enter__(self) -> "RunAhead[Item]":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int, prepare: Callable[[], None] | None = None
) -> Iterator[Result]:
    """work(item) for each item, in the order of the items, so many at the same time. prepare: called in each thread first.

    An error of `work` or of the items is raised where its result would have come, and ends the threads.
    """
    items, failure = iter(items), None
    with ThreadPoolExecutor(workers, thread_name_prefix="worker", initializer=prepare) as pool:
        waiting = deque()
        try:
            while failure is None:
                try:
                    waiting.append(pool.submit(work, next(items)))
                except StopIteration:
                    break
                except Exception as error:  # what came before it is still to be handed out
                    failure = error
                if len(waiting) > workers:  # all are busy, and one item waits for the first of them
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
            if failure is not None:
                raise failure
        finally:
            for future in waiting:
                future.cancel()
