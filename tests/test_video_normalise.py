"""Which depths get the first and the last colour: steady where nothing moves, new where a scene begins."""

import math

import numpy as np
import pytest

from lib.demo.video_normalise import (
    CLIP_SAMPLES,
    EMA_SECONDS,
    Cuts,
    MovingEnds,
    choose_mode,
    clip_ends,
    frame_ends,
    frames_ahead,
    range_ends,
    sample_places,
    smooth_ends,
)
from lib.errors import UserError

from .conftest import make_picture
from .video_files import MadeUpFrames

METRIC, RELATIVE = (0.0, 20.0), (0.0, math.inf)


def test_which_mode_is_taken():
    assert choose_mode(None, value_range=METRIC, otherwise="clip") == "range"
    assert choose_mode(None, value_range=RELATIVE, otherwise="clip") == "clip"
    assert choose_mode("frame", value_range=METRIC, otherwise="clip") == "frame"
    with pytest.raises(UserError, match="no range"):
        choose_mode("range", value_range=RELATIVE, otherwise="clip")
    assert range_ends(METRIC, nearest_is_largest=False) == (20.0, 0.0)


def test_ends_of_a_frame_leave_out_what_sticks_out():
    rng = np.random.default_rng(0)
    prediction = rng.uniform(3, 7, (300, 300)).astype(np.float32)
    prediction[0, :30] = 1e6
    prediction[0, 30:60] = np.nan
    far, near = frame_ends(prediction, nearest_is_largest=True)
    assert 3 <= far < 3.1 and 6.9 < near <= 7
    assert frame_ends(prediction, nearest_is_largest=False) == (near, far)
    assert frame_ends(np.full((9, 9), np.nan, np.float32), nearest_is_largest=True) == (0.0, 0.0)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 100, 5000, 10**6])
def test_samples_are_all_over_the_clip(count):
    places = sample_places(count)
    assert places == sorted(set(places)) and 0 <= places[0] and places[-1] < count
    assert min(count, CLIP_SAMPLES[0]) <= len(places) <= CLIP_SAMPLES[1]
    assert max(np.diff([-1, *places, count]), default=0) <= 2 * count / len(places) + 1


@pytest.mark.parametrize("nearest_is_largest", [True, False])
def test_ends_of_a_clip_include_all_frames_and_leave_it_at_its_beginning(nearest_is_largest):
    source = MadeUpFrames(100, brightness=lambda index: index)
    seen = []
    ends = clip_ends(
        source,
        lambda images: ((image.min() - 1.0, image.max() + 1.0)[:: 1 if nearest_is_largest else -1] for image in images),
        nearest_is_largest=nearest_is_largest,
        report=lambda done, total: seen.append((done, total)),
    )
    places = sample_places(100)
    assert sorted(ends) == [places[0] - 1, places[-1] + 1] and (ends[0] < ends[1]) == nearest_is_largest
    assert source.read().index == 0 and seen[-1] == (8, 8)


@pytest.mark.parametrize("claimed", [None, 20_000, 100])
def test_ends_of_a_clip_that_is_not_as_long_as_it_says(claimed):
    """Damaged files end early; files that browsers and phones write while they record do not say how long they are."""
    source = MadeUpFrames(40, brightness=lambda index: index)
    source.frame_count = claimed
    ends = clip_ends(
        source,
        lambda images: ((float(image.min()), float(image.max())) for image in images),
        nearest_is_largest=True,
        report=lambda *_: None,
    )
    places = sample_places(40)
    assert ends == (places[0], places[-1])
    assert source.read().index == 0


def test_there_is_no_clip_of_a_camera():
    source = MadeUpFrames(10)
    source.is_live = True
    with pytest.raises(UserError, match="camera"):
        clip_ends(source, lambda images: [(0, 1)], nearest_is_largest=True, report=lambda *_: None)


def test_moving_ends_follow_slowly():
    moving = MovingEnds()
    assert moving.update((2, 6), 0.0, is_cut=True) == (2, 6)
    far, near = moving.update((4, 8), EMA_SECONDS, is_cut=False)
    keep = math.exp(-1)
    assert (far, near) == pytest.approx((2 * keep + 4 * (1 - keep), 6 * keep + 8 * (1 - keep)))
    assert moving.update((100, 200), 1.1, is_cut=True) == (100, 200)  # at once, where a scene begins
    assert moving.update((0, 1), 0.5, is_cut=False) == (0, 1)  # and after a jump back in time


def run_smooth(ends, cuts=(), *, ahead, rate=30):
    items = list(enumerate(ends))
    facts = lambda item: (item[1], item[0] / rate, item[0] == 0 or item[0] in cuts)
    found = list(smooth_ends(iter(items), facts, ahead=ahead))
    assert [item for item, _ in found] == items
    return np.array([ends for _, ends in found])


@pytest.mark.parametrize("ahead", [0, 1, 15, 500])
def test_smoothing_calms_noise_and_keeps_what_is_constant(ahead):
    rng = np.random.default_rng(1)
    noisy = np.column_stack([1 + rng.normal(0, 0.1, 300), 5 + rng.normal(0, 0.1, 300)])
    smooth = run_smooth([tuple(row) for row in noisy], ahead=ahead)
    changes = lambda values: np.abs(np.diff(values[30:], axis=0)).mean()
    assert changes(smooth) < 0.1 * changes(noisy)
    assert smooth[30:].mean(axis=0) == pytest.approx([1, 5], abs=0.1)
    constant = run_smooth([(2.0, 9.0)] * 50, ahead=ahead)
    np.testing.assert_allclose(constant, [[2.0, 9.0]] * 50, rtol=1e-12)


def test_looking_ahead_is_ready_for_what_comes():
    ramp = [(0.0, 1.0)] * 60 + [(0.0, 3.0)] * 60
    blind, seeing = (run_smooth(ramp, ahead=ahead)[:, 1] for ahead in (0, 15))
    assert blind[59] == pytest.approx(1) and seeing[59] > 1.2  # it begins to rise before the change
    assert seeing[75] > blind[75]


def test_nothing_leaks_over_a_cut():
    ends = [(0.0, 1.0)] * 40 + [(5.0, 50.0)] * 40
    smooth = run_smooth(ends, cuts=(40,), ahead=15)
    np.testing.assert_allclose(smooth[:40], [[0, 1]] * 40)
    np.testing.assert_allclose(smooth[40:], [[5, 50]] * 40)


def test_cuts_are_found_and_motion_is_none():
    cuts = Cuts()
    scene, other = make_picture(120, 200, seed=1), make_picture(120, 200, seed=2)[::-1, ::-1] // 2
    moving = [np.roll(scene, 3 * step, axis=1) for step in range(10)]
    noise = np.random.default_rng(0).integers(-8, 8, scene.shape)
    found = [cuts.is_cut(picture) for picture in [*moving, other, np.clip(other + noise, 0, 255).astype(np.uint8), scene]]
    assert found == [True] + 9 * [False] + [True, False, True]
    assert Cuts().is_cut(np.zeros((1, 1, 3), np.uint8))  # any size will do


def test_live_pictures_are_not_held_back():
    assert frames_ahead(30, is_live=True) == 0
    assert frames_ahead(30, is_live=False) == 15
    assert frames_ahead(1000, is_live=False) == 30
