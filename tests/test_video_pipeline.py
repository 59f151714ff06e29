"""All steps at once on different frames: nothing lost, nothing mixed up, nothing that grows, nothing left running."""

import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from lib.demo.colour import Look, paint_depth
from lib.demo.frames import Frame
from lib.demo.model import LoadedModel
from lib.demo.video_output import VideoOutput, plan_paths
from lib.demo.video_pipeline import VideoDepth
from lib.demo.video_threads import RunAhead, map_in_order
from lib.errors import UserError
from lib.make_dpt import make_dpt_from_state_dict

from .video_files import METRES, MadeUpFrames, StubModel

MODES = ("clip", "ema", "frame")


def no_threads_left(before: set) -> bool:
    """Whether all threads have ended that were not there before."""
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.02)
    return not set(threading.enumerate()) - before


@pytest.fixture(autouse=True)
def threads_end():
    before = set(threading.enumerate())
    yield
    assert no_threads_left(before)


def results(source, model, *, mode="frame", **options) -> list:
    with VideoDepth(model, Look(), mode, **options).run(source) as frames:
        return list(frames)


def test_working_ahead_keeps_the_order_and_a_limit():
    taken = []

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    with RunAhead(items(), capacity=3) as ahead:
        for expected in range(50):
            assert next(ahead) == expected
            time.sleep(0.001)
            assert len(taken) <= expected + 1 + 3 + 1  # in the queue, and one in the thread's hand
        assert next(ahead, "end") == "end" and ahead.finished
        assert next(ahead, "end") == "end"


def test_polling_never_waits():
    gate = threading.Event()

    def items():
        gate.wait(10)
        yield "item"

    with RunAhead(items(), capacity=1) as ahead:
        assert ahead.poll() is None and not ahead.finished
        gate.set()
        found = []
        while not ahead.finished:
            found.append(ahead.poll())
        assert [item for item in found if item] == ["item"]


def test_work_at_the_same_time_keeps_the_order():
    running, most, started = [0], [0], []
    lock = threading.Lock()

    def work(number: int) -> int:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.03 if number % 3 == 0 else 0.001)
        with lock:
            running[0] -= 1
        return -number

    found = list(map_in_order(work, range(40), workers=3, prepare=lambda: started.append(threading.current_thread().name)))
    assert found == [-number for number in range(40)]
    assert 1 < most[0] <= 3 == len(set(started))
    assert list(map_in_order(work, [], workers=3)) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_the_error_of_work_comes_where_its_result_would_have(workers):
    def work(number: int) -> int:
        if number == 5:
            raise UserError("not this one")
        return number

    results_, found = map_in_order(work, iter(range(100)), workers=workers), []
    with pytest.raises(UserError, match="not this one"):
        for number in results_:
            found.append(number)
    assert found == list(range(5))


@pytest.mark.parametrize("workers", [1, 3])
def test_what_came_before_an_error_of_the_source_is_not_lost(workers):
    def items():
        yield from range(7)
        raise UserError("unplugged")

    results_, found = map_in_order(lambda number: number, items(), workers=workers), []
    with pytest.raises(UserError, match="unplugged"):
        for number in results_:
            found.append(number)
    assert found == list(range(7))


def test_the_source_of_work_is_not_run_through():
    """Whoever stops early has not paid for what would have come."""
    taken = []
    results_ = map_in_order(lambda number: number, (taken.append(n) or n for n in range(1000)), workers=2)
    assert next(results_) == 0 and next(results_) == 1
    results_.close()
    assert len(taken) <= 6


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_frames_at_the_same_time_give_the_same_video(mode, batch_size):
    alone = results(MadeUpFrames(30), StubModel(), mode=mode, batch_size=batch_size)
    together = results(MadeUpFrames(30), StubModel(seconds=0.002, batches_at_once=4), mode=mode, batch_size=batch_size)
    assert [result.frame.index for result in together] == list(range(30))
    for ours, other in zip(together, alone, strict=True):
        assert ours.ends == other.ends and np.array_equal(ours.depth_map.depth, other.depth_map.depth)


def threads_of_a_new_thread() -> int:
    """How many threads PyTorch uses in a thread that begins now."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


def test_each_worker_has_its_share_of_the_threads():
    before, seen = torch.get_num_threads(), []

    class Watched(StubModel):
        def infer(self, batch):
            seen.append(torch.get_num_threads())
            return super().infer(batch)

    try:
        torch.set_num_threads(4)
        results(MadeUpFrames(20), Watched(batches_at_once=2))
        assert set(seen) == {2} and torch.get_num_threads() == threads_of_a_new_thread() == 4
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads, batch_size, expected", [(1, 1, 1), (2, 1, 2), (6, 1, 3), (8, 1, 4), (10, 1, 2), (8, 8, 2)])
def test_workers_leave_no_thread_idle(threads, batch_size, expected, tiny_v2):
    _, network, dpt_imgproc = make_dpt_from_state_dict(tiny_v2)
    model = LoadedModel(network, dpt_imgproc, "name", "file", None, False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert model.batches_at_once(batch_size) == expected
    finally:
        torch.set_num_threads(before)


def test_errors_come_where_their_item_would_have():
    def items():
        yield 1
        raise UserError("no more")

    with RunAhead(items(), capacity=5) as ahead:
        assert next(ahead) == 1
        with pytest.raises(UserError, match="no more"):
            next(ahead)


def test_closing_ends_a_thread_that_waits_and_its_generator():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    ahead = RunAhead(items(), capacity=1)
    next(ahead)
    ahead.close()
    assert closed.wait(5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_every_frame_once_and_in_order(mode, batch_size):
    model = StubModel()
    found = results(MadeUpFrames(20), model, mode=mode, batch_size=batch_size)
    assert [result.frame.index for result in found] == list(range(20))
    for result in found:
        np.testing.assert_allclose(result.depth_map.depth, result.frame.index / 10, rtol=1e-6)
        assert result.depth_map.depth.shape == (48, 64) == result.colour_bgr.shape[:2]
    assert max(model.batches) == batch_size


def test_metres_are_painted_by_their_range():
    """And the numbers stay metres: only colours are normalised."""
    found = results(MadeUpFrames(20, brightness=lambda index: 100), StubModel(METRES), mode="range")
    for result in found:
        assert result.ends == (20.0, 0.0) and (result.depth_map.depth == 10).all()
        assert result.depth_map.quantity == "metres"
        expected, _ = paint_depth(result.depth_map.depth, Look(), nearest_is_largest=False, ends=(20.0, 0.0))
        assert np.array_equal(result.colour_bgr, expected)


def test_modes_differ_in_what_they_follow():
    """Depth that goes up: one range for the clip, one for each frame, and one that lags behind."""

    def ends(mode):
        source = MadeUpFrames(60, brightness=lambda index: 100 + index)
        return np.array([result.ends[1] for result in results(source, StubModel(), mode=mode)])

    clip, ema, frame = (ends(mode) for mode in MODES)
    np.testing.assert_allclose(frame, (100 + np.arange(60)) / 10, rtol=1e-6)
    assert len(set(clip)) == 1 and frame.min() < clip[0] <= frame.max()
    assert (np.diff(ema) > 0).all() and np.abs(np.diff(ema)).mean() < np.abs(np.diff(frame)).mean()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("error", [UserError("camera 0 was unplugged"), RuntimeError("a bug")])
def test_an_error_while_reading_ends_everything(mode, error):
    with pytest.raises(type(error), match=str(error)):
        results(MadeUpFrames(200, failing_at=90, error=error), StubModel(), mode=mode)


@pytest.mark.parametrize(("batch_size", "batches_at_once"), [(1, 1), (1, 4), (8, 1), (8, 4)])
def test_all_frames_before_an_error_of_the_source_are_done(batch_size, batches_at_once):
    source = MadeUpFrames(200, failing_at=45, error=UserError("camera 0 was unplugged"))
    found = []
    with pytest.raises(UserError, match="unplugged"):
        depth = VideoDepth(StubModel(batches_at_once=batches_at_once), Look(), "frame", batch_size=batch_size)
        with depth.run(source) as frames:
            for result in frames:
                found.append(result.frame.index)
    assert found == list(range(45))


def test_an_error_of_the_network_ends_everything():
    with pytest.raises(RuntimeError, match="the network failed"):
        results(MadeUpFrames(200), StubModel(failing_at=30))


def test_whoever_takes_the_results_may_stop():
    source = MadeUpFrames(10**9)
    with pytest.raises(KeyboardInterrupt):
        with VideoDepth(StubModel(), Look(), "ema").run(source) as frames:
            for result in frames:
                if result.frame.index == 25:
                    raise KeyboardInterrupt
    assert source.place < 200  # it did not read on


def test_interrupted_while_it_looks_over_the_clip():
    """The look ahead has ended before whoever opened the source closes it."""
    left = []

    def interrupt(done, total):
        raise KeyboardInterrupt

    try:
        results(MadeUpFrames(200), StubModel(seconds=0.01), mode="clip", report_clip=interrupt)
    except KeyboardInterrupt:  # whose traceback holds on to everything that nobody closed
        left = [thread for thread in threading.enumerate() if thread.name.startswith(("look ahead", "worker"))]
    else:
        raise AssertionError("not interrupted")
    assert left == []


def test_steps_work_at_the_same_time():
    """While the network is busy with one frame, others are read and painted: it hardly ever waits."""
    working, together = set(), []

    class Watched(StubModel):
        def step(self, name, *arguments):
            working.add(name)
            time.sleep(0.002)
            together.append(frozenset(working))
            working.discard(name)
            return getattr(StubModel, name)(self, *arguments)

        def prepare(self, images_bgr):
            return self.step("prepare", images_bgr)

        def infer(self, batch):
            return self.step("infer", batch)

        def restore(self, prediction, image_hw, domain=None):
            return self.step("restore", prediction, image_hw)

    results(MadeUpFrames(100), Watched())
    assert frozenset(["prepare", "infer", "restore"]) in together


def resident_bytes() -> int:
    """Memory that this process uses now; 0 where nobody tells."""
    if not os.path.exists("/proc/self/statm"):
        return 0
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_memory_does_not_grow_over_5000_frames(tmp_path):
    alive, most_alive, sizes = weakref.WeakSet(), [0], {}

    class Counted(MadeUpFrames):
        def read(self) -> Frame | None:
            frame = super().read()
            if frame is not None:
                alive.add(frame)
                most_alive[0] = max(most_alive[0], len(alive))
            return frame

    source, model = Counted(5000), StubModel()
    paths = plan_paths(str(tmp_path / "out"), source.name, ("mp4", "npz"))
    depth = VideoDepth(model, Look(), "ema", batch_size=4)
    with VideoOutput(paths, source, model, side=True, facts={}) as output, depth.run(source) as frames:
        for result in frames:
            output.write(result)
            if result.frame.index in (1000, 4999):
                sizes[result.frame.index] = resident_bytes()
        output.complete = True
    assert output.frames == 5000 == depth.frames_done
    assert most_alive[0] < 80  # queues of batches, and what "ema" looks ahead
    assert sizes[4999] - sizes[1000] < 20e6  # 4000 frames of pictures alone would be 37 MB, and as much again of depth
    with np.load(paths["npz"]) as stored:
        assert stored["depth"].shape == (5000, 48, 64)
