"""How quickly scenes go to a browser: as quickly as it takes them in, so that it always gets the newest."""

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress

import viser

ON_THE_WAY = 2  # scenes: one that travels while the other is drawn
LONGEST_WAIT = 5.0  # seconds for a browser that does not answer, such as one in a hidden tab
KEY = "plain_dpt_pace"  # of nothing: only the answer counts


class Pace:
    """Keeps no more than ON_THE_WAY scenes between the server and one browser.

    viser's own queue keeps the newest scene only, but the connection below it holds some megabytes, in which scenes would
    grow old. So after each scene the browser is asked for something, which it answers when it has dealt with that scene.
    """

    def __init__(self, client: viser.ClientHandle):
        self.client, self.closed = client, False
        self.answers: deque[Future] = deque()
        self.askers = ThreadPoolExecutor(ON_THE_WAY, thread_name_prefix="pace of one browser")

    def sent(self) -> None:
        """A scene was sent."""
        if not self.closed:
            self.answers.append(self.askers.submit(self._ask))

    def _ask(self) -> None:
        with suppress(RuntimeError, TimeoutError):  # it is gone, or keeps nothing for us, or is very slow: all the same here
            self.client.local_storage.get_item(KEY, timeout=LONGEST_WAIT)

    def wait(self) -> None:
        """Returns when another scene may be sent, or all is over."""
        deadline = time.monotonic() + LONGEST_WAIT
        while len(self.answers) >= ON_THE_WAY and not self.closed and time.monotonic() < deadline:
            with suppress(NotYet):
                self.answers[0].result(timeout=0.1)
            if self.answers[0].done():
                self.answers.popleft()

    def close(self) -> None:
        self.closed = True
        self.askers.shutdown(wait=False, cancel_futures=True)
