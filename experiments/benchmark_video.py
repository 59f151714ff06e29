"""How steady each normalisation of run_video.py is, and how much longer a whole run takes than its network alone.

    python experiments/benchmark_video.py                                  # a made-up clip, with the default model
    python experiments/benchmark_video.py -m depth-anything-v2-small --frames 100 --batch_size 4
    python experiments/benchmark_video.py -i tripod.mp4                    # a clip of yours; nothing but its still parts counts

Flicker is the mean absolute change from one frame to the next, in grey levels of 255, of the painted depth where the picture
itself stands still. "numbers" is the same for the network's own numbers, painted by the range of the whole clip without any
limit: no normalisation can be steadier than the network is.

The made-up clip: a rendered room seen by a camera that does not move, noise, and a ball that comes closer and goes away again.
"""

import argparse
import platform
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

if __name__ == "__main__":
    # the checkout, where `lib` and `experiments` are, instead of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from lib.demo.options import add_input_option, add_model_options, positive_int
from lib.demo.script import run_script
from lib.errors import UserError

WIDTH, HEIGHT, RATE, SEED = 640, 360, 30, 7
NOISE = 2.0  # grey levels
BALL_RADII, BALL_FRAMES = (0.03, 0.3), 40  # smallest and largest, in picture heights; how long it takes to come and go
STILL_CHANGE = 12.0  # grey levels: a pixel that changes no more than this over a whole clip stands still
FEWEST_STILL = 0.02  # of the pixels
MODES = ("frame", "ema", "clip")


def parse_args(arguments=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_input_option(parser, expected="a video whose camera stands still (default: a made-up one)")
    parser.add_argument("--frames", type=positive_int, default=120, metavar="N", help="at most so many (%(default)s)")
    parser.add_argument("--turns", type=positive_int, default=3, metavar="N", help="counted runs (%(default)s)")
    parser.add_argument("--batch_size", type=positive_int, nargs="+", default=[1], metavar="N", help="which to time (1)")
    parser.add_argument("--save_clip", metavar="MP4", help="keep the made-up clip")
    add_model_options(parser)
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> int:
    """Print both tables. Raises UserError with one sentence for everything that cannot be done."""
    import torch

    from lib.demo.model import load_model

    if args.frames < 2:
        raise UserError("--frames 1: flicker is a change between frames, so there must be two at least")
    model = load_model(args)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(args.image_path[0]) if args.image_path else Path(args.save_clip or Path(folder) / "clip.mp4")
        if not args.image_path:
            make_clip(path, args.frames)
        threads = f"{torch.get_num_threads()} threads, torch {torch.__version__}"
        print(f"{platform.processor() or platform.machine()}, {threads}, {path.name}, {model.name}, {date.today()}")
        print_flicker(model, path, args.frames)
        print_times(model, path, args, Path(folder))
    return 0


def make_clip(path: Path, frames: int) -> None:
    """A room, a still camera, noise, and a ball that comes and goes."""
    import cv2
    import numpy as np

    from experiments.scenes.render import render_scenes
    from lib.demo.video_writer import VideoWriter

    room_rgb = render_scenes([SEED], HEIGHT, WIDTH, kinds=["room"]).images_rgb[0]  # 3 H W, 0..1
    room = np.ascontiguousarray((room_rgb.flip(0).permute(1, 2, 0).clamp(0, 1) * 255).numpy()).astype(np.float32)
    rng = np.random.default_rng(0)
    with VideoWriter(path, frame_rate=RATE) as video:
        for number in range(frames):
            nearness = 0.5 - 0.5 * np.cos(2 * np.pi * number / BALL_FRAMES)  # 0 to 1 and back
            radius = HEIGHT * (BALL_RADII[0] + (BALL_RADII[1] - BALL_RADII[0]) * nearness)
            centre = (round(WIDTH * (0.3 + 0.1 * nearness)), round(HEIGHT * (0.55 + 0.1 * nearness)))
            image = room.copy()
            cv2.circle(image, centre, round(radius), (40, 60, 220), -1, cv2.LINE_AA)
            cv2.circle(
                image, (round(centre[0] - radius / 3), round(centre[1] - radius / 3)), round(radius / 4), (120, 130, 250), -1
            )
            video.write(np.clip(image + rng.normal(0, NOISE, image.shape), 0, 255).astype(np.uint8))


class Shortened:
    """The first so many frames of a source: everything else is the source's own."""

    def __init__(self, source, frames: int):
        self.source, self.frames = source, frames

    def __getattr__(self, name: str):
        return getattr(self.source, name)

    @property
    def frame_count(self) -> int:
        return min(self.source.frame_count or self.frames, self.frames)

    def read(self):
        frame = self.source.read()
        return frame if frame is not None and frame.index < self.frames else None

    def __iter__(self):
        while (frame := self.read()) is not None:
            yield frame


def still_region(path: Path, frames: int):
    """H x W bool: where the picture changes so little over the clip that it is noise. Raises UserError if that is nowhere."""
    import cv2
    import numpy as np

    from lib.demo.frames import open_frames

    low = high = None
    with open_frames(path) as source:
        for frame in Shortened(source, frames):
            grey = cv2.blur(cv2.cvtColor(frame.image_bgr, cv2.COLOR_BGR2GRAY).astype(np.float32), (5, 5))
            low = grey if low is None else np.minimum(low, grey)
            high = grey if high is None else np.maximum(high, grey)
    still = cv2.erode((high - low < STILL_CHANGE).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    if still.mean() < FEWEST_STILL:
        raise UserError(f"{path}: next to nothing stands still in this clip, so there is no flicker to measure; use a tripod")
    return still


def print_flicker(model, path: Path, frames: int) -> None:
    """The first table: a row for each mode."""
    import math

    import numpy as np

    from lib.demo.colour import Look
    from lib.demo.frames import open_frames
    from lib.demo.video_pipeline import VideoDepth

    still = still_region(path, frames)
    modes = MODES + (("range",) if math.isfinite(model.dpt_model.output.value_range[1]) else ())
    print(f"\nFlicker, {100 * still.mean():.0f}% of the picture stands still\n")
    print("| normalisation | flicker, grey levels | largest change of one frame |\n|---|---|---|")
    low, high, raw, last = math.inf, -math.inf, [], None
    for mode in modes:
        changes, before = [], None
        with open_frames(path) as source:
            with VideoDepth(model, Look("gray"), mode, keep_pictures=False).run(Shortened(source, frames)) as results:
                for result in results:
                    grey = result.colour_bgr[..., 0][still].astype(np.float32)
                    if before is not None:
                        changes.append(float(np.abs(grey - before).mean()))
                    before = grey
                    if mode == modes[0]:
                        values = result.depth_map.depth[still]
                        low, high = (
                            min(low, float(result.depth_map.depth.min())),
                            max(high, float(result.depth_map.depth.max())),
                        )
                        if last is not None:
                            raw.append(float(np.abs(values - last).mean()))
                        last = values
        print(f"| {mode} | {np.mean(changes):.2f} | {np.max(changes):.2f} |")
    scale = 255 / max(high - low, 1e-9)
    print(f"| numbers | {scale * np.mean(raw):.2f} | {scale * np.max(raw):.2f} |")


def print_times(model, path: Path, args: argparse.Namespace, folder: Path) -> None:
    """The second table: a row for each batch size. Whole runs and the network alone take turns; medians are printed."""
    import statistics

    print(
        f"\nWhole run (decode, network, colours, encode: --normalize clip, mp4) beside its network, medians of {args.turns}\n"
    )
    print("| batch | frames | whole run, s | network alone, s | whole / alone |\n|---|---|---|---|---|")
    for batch_size in args.batch_size:
        run_once(model, path, 2 * batch_size, batch_size, folder)  # not counted: the first of everything is slow
        runs = []
        for _ in range(args.turns):
            whole, frames, inferences = run_once(model, path, args.frames, batch_size, folder)
            runs.append((whole, network_alone(model, path, args.frames, batch_size, inferences)))
        whole, alone = (statistics.median(column) for column in zip(*runs, strict=True))
        by_alone = statistics.median(whole / alone for whole, alone in runs)
        print(f"| {batch_size} | {frames} | {whole:.2f} | {alone:.2f} | {by_alone:.2f} |")


def run_once(model, path: Path, frames: int, batch_size: int, folder: Path) -> tuple[float, int, int]:
    """Seconds of a whole run, how many frames it had, and how many went through the network."""
    from lib.demo.colour import Look
    from lib.demo.frames import open_frames
    from lib.demo.video_normalise import sample_places
    from lib.demo.video_output import VideoOutput, plan_paths
    from lib.demo.video_pipeline import VideoDepth

    start = time.perf_counter()
    with open_frames(path) as whole_source:
        source = Shortened(whole_source, frames)
        samples = len(sample_places(source.frame_count))
        depth = VideoDepth(model, Look(), "clip", batch_size=batch_size, keep_pictures=False)
        paths = plan_paths(str(folder / "results"), source.name, ("mp4",))
        with VideoOutput(paths, source, model, side=False, facts={}) as output, depth.run(source) as results:
            for result in results:
                output.write(result)
    return time.perf_counter() - start, depth.frames_done, depth.frames_done + samples


def network_alone(model, path: Path, frames: int, batch_size: int, inferences: int) -> float:
    """Seconds that the network takes for as many frames, with nothing else going on."""
    from lib.demo.frames import open_frames
    from lib.demo.video_pipeline import in_batches

    seconds, done = 0.0, 0
    while done < inferences:
        with open_frames(path) as source:
            for batch in in_batches(Shortened(source, frames), batch_size):
                tensor = model.prepare([frame.image_bgr for frame in batch])
                start = time.perf_counter()
                model.infer(tensor)
                seconds += time.perf_counter() - start
                done += len(batch)
                if done >= inferences:
                    break
    return seconds * inferences / done


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
