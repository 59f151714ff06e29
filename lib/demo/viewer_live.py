"""One camera for several browsers: it is opened for the first of them and closed after the last."""

import threading
from collections.abc import Callable

from ..errors import UserError
from .frames import Frame, FrameSource


class SharedSource:
    """Hands the frames of one live source to everybody who asks. open_source: opens it."""

    def __init__(self, open_source: Callable[[], FrameSource]):
        self.open_source = open_source
        self.source: FrameSource | None = None
        self.frame: Frame | None = None
        self.failure: str | None = None
        self.viewers = 0
        self.changed = threading.Condition()
        self._opening = threading.Lock()

    def open(self) -> "LiveView":
        """A source for one browser. Raises UserError if there is no camera."""
        with self._opening:  # a camera takes seconds to open: those who look on are not kept waiting
            if self.source is None or self.failure is not None:
                source = self.open_source()
                with self.changed:
                    self.source, self.frame, self.failure, self.viewers = source, None, None, 0
                threading.Thread(target=self._read, args=(source,), name="shared camera", daemon=True).start()
            with self.changed:
                self.viewers += 1
                return LiveView(self, self.source)

    def _read(self, source: FrameSource) -> None:
        failure = f"{source.name}: no more pictures come"
        try:
            while self.source is source and (frame := source.read()) is not None:
                with self.changed:
                    self.frame = frame
                    self.changed.notify_all()
        except UserError as error:
            failure = str(error)
        finally:
            source.close()
            with self.changed:
                if self.source is source:
                    self.failure = failure
                self.changed.notify_all()

    def leave(self, source: FrameSource) -> None:
        """A browser is gone; the last one closes the camera."""
        with self.changed:
            if self.source is not source:
                return
            self.viewers -= 1
            if self.viewers <= 0:
                self.source = self.frame = None
                self.changed.notify_all()


class LiveView(FrameSource):
    """What one browser sees of a shared source: the newest frame, each at most once."""

    is_live = True

    def __init__(self, shared: SharedSource, source: FrameSource):
        super().__init__(source.name, frame_rate=source.frame_rate)
        self.shared, self.source, self.last = shared, source, None

    def read(self) -> Frame | None:
        shared = self.shared
        with shared.changed:
            shared.changed.wait_for(lambda: self.source is None or shared.frame is not self.last or shared.failure)
            if self.source is None or shared.source is not self.source:
                return None
            if shared.frame is self.last:
                raise UserError(shared.failure)
            self.last = shared.frame
            return shared.frame

    def close(self) -> None:
        source, self.source = self.source, None
        if source is not None:
            self.shared.leave(source)
