"""Endless pictures of made-up scenes with exact depth: what `train_depth.py` learns from.

    from experiments.procedural_scenes import render_scenes, stream

    batch = render_scenes([0, 1, 2], 224, 224)     # batch.images_rgb, batch.depth, batch.cameras, batch.kinds
    for batch in stream(seed=0, batch_size=16, height=224, width=224, device="cuda"): ...

    python experiments/procedural_scenes.py -o sheet.png --count 48           # a contact sheet, pictures over depth
    python experiments/procedural_scenes.py --fps --kinds room street         # how fast this machine renders
    python experiments/procedural_scenes.py --save scenes --count 100         # a folder of pictures with depth
    python experiments/procedural_scenes.py --video move.mp4 --seed 3 --kinds room

How a picture comes about: experiments/scenes/.
"""

import argparse
import json
import sys
from pathlib import Path

if __name__ == "__main__":
    # the checkout, where `lib` and `experiments` are, instead of this folder, where `datasets` is no package
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from lib.demo.options import positive_int
from lib.demo.script import run_script
from lib.errors import UserError

FARTHEST_SAVED = 200.0  # metres: what is farther, like the sky, is saved as unknown
PICTURE_ENDINGS, VIDEO_ENDINGS = (".png", ".jpg", ".jpeg"), (".mp4",)
VIDEO_RATE = 24  # frames a second


def __getattr__(name: str):
    """The library's names, imported when asked for, so that --help is instant."""
    if name in ("render_scenes", "stream", "RenderedBatch"):
        from experiments.scenes import render

        return getattr(render, name)
    if name == "KINDS":
        from experiments.scenes.kinds import KINDS

        return KINDS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output_path", metavar="PNG", help="write a contact sheet")
    parser.add_argument(
        "--save", metavar="FOLDER", help="write pictures, 16-bit depth and meta.json, a folder per scene"
    )
    parser.add_argument("--sample", metavar="JPG", help="write one picture of the first seed, in good quality")
    parser.add_argument("--video", metavar="MP4", help="write a camera's move through the scene of the first seed")
    parser.add_argument("--fps", action="store_true", help="measure how many pictures a second are rendered")
    parser.add_argument("--count", type=positive_int, default=48, help="how many scenes (%(default)s)")
    parser.add_argument(
        "--size", type=positive_int, default=224, metavar="PIXELS", help="side of the pictures (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first scene; the others follow (%(default)s)")
    parser.add_argument(
        "--kinds", nargs="+", metavar="KIND", help="only these kinds of scenes; an unknown one lists all"
    )
    parser.add_argument("-d", "--device", default="cpu", help="where to render: cpu, cuda, ... (%(default)s)")
    parser.add_argument("--sample_size", type=positive_int, nargs=2, default=(960, 720), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--video_size", type=positive_int, nargs=2, default=(640, 360), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument(
        "--video_frames", type=positive_int, default=120, metavar="N", help=f"at {VIDEO_RATE} a second (%(default)s)"
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> int:
    """Write what was asked for. Raises UserError with one sentence for everything that cannot be done."""
    targets = {"-o": args.output_path, "--sample": args.sample, "--video": args.video}
    if not (any(targets.values()) or args.save or args.fps):
        raise UserError(
            "nothing to do: pass -o sheet.png, --save FOLDER, --sample picture.jpg, --video move.mp4 or --fps"
        )
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: expected a whole number, zero or above")
    for option, target in targets.items():
        endings = VIDEO_ENDINGS if option == "--video" else PICTURE_ENDINGS
        if target and Path(target).suffix.lower() not in endings:
            raise UserError(f"{option} {target}: expected a file name that ends in {', '.join(endings)}")
    check_kinds(args.kinds)
    check_device(args.device)
    if args.output_path:
        write_sheet(args)
    if args.save:
        save_pairs(args)
    if args.sample:
        write_sample(args)
    if args.video:
        write_video(args)
    if args.fps:
        measure(args)
    return 0


def check_kinds(kinds: list[str] | None) -> None:
    from experiments.scenes.kinds import KINDS

    for kind in kinds or []:
        if kind not in KINDS:
            raise UserError(f"--kinds {kind}: expected some of {', '.join(KINDS)}")


def check_device(device: str) -> None:
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {device} cannot be used here: {str(error).splitlines()[0]}") from error


def batches(args: argparse.Namespace, count: int, *, at_once: int = 16):
    """RenderedBatches of `count` scenes from args.seed on."""
    from experiments.scenes.render import render_scenes

    for first in range(args.seed, args.seed + count, at_once):
        seeds = range(first, min(first + at_once, args.seed + count))
        yield render_scenes(seeds, args.size, args.size, device=args.device, kinds=args.kinds)


def write_image(path: str | Path, image) -> None:
    """A file, in a folder that is made if need be. image: H x W or H x W x 3 (BGR), uint8 or uint16."""
    import cv2

    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        written = cv2.imwrite(str(path), image)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    if not written:
        raise UserError(f"cannot write {path}")


def to_bgr(image_rgb):
    """3 x H x W float 0..1 tensor -> H x W x 3 uint8 array, BGR."""
    return (image_rgb.flip(0).permute(1, 2, 0) * 255).round().byte().cpu().numpy()


def depth_colours(depth):
    """Metres, H x W tensor -> H x W x 3 uint8 array, BGR: inverse depth from its 2nd to its 98th percentile, near is
    bright."""
    import cv2
    import numpy as np

    inverse = 1.0 / depth.cpu().numpy()
    low, high = np.percentile(inverse, (2, 98))
    grey = np.clip((inverse - low) / max(high - low, 1e-9), 0, 1)
    return cv2.applyColorMap((grey * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)


def write_sheet(args: argparse.Namespace) -> None:
    """Pictures over their depth, twelve in a row or fewer."""
    import numpy as np

    cells = []
    for batch in batches(args, args.count):
        cells += [
            np.vstack([to_bgr(image), depth_colours(depth)])
            for image, depth in zip(batch.images_rgb, batch.depth, strict=True)
        ]
    wide = min(len(cells), 12 if len(cells) > 24 else 8)
    cells += [np.zeros_like(cells[0])] * (-len(cells) % wide)
    write_image(args.output_path, np.vstack([np.hstack(cells[i : i + wide]) for i in range(0, len(cells), wide)]))
    print(f"Wrote {args.output_path}.")


def save_pairs(args: argparse.Namespace) -> None:
    """FOLDER/NAME/ with image.png, gt.png (16 bit, times `scale` is metres, 0 is unknown) and meta.json."""
    import numpy as np

    number = args.seed
    for batch in batches(args, args.count):
        for i, kind in enumerate(batch.kinds):
            folder = Path(args.save) / f"{number:08d}_{kind}"
            depth = batch.depth[i].cpu().numpy().astype(np.float64)
            known = depth <= FARTHEST_SAVED
            scale = float(depth[known].max()) / 65535 if known.any() else 1.0
            write_image(folder / "image.png", to_bgr(batch.images_rgb[i]))
            write_image(
                folder / "gt.png", np.where(known, np.rint(np.where(known, depth, 0.0) / scale), 0).astype(np.uint16)
            )
            camera = {name: float(getattr(batch.cameras, name)[i]) for name in ("fx", "fy", "cx", "cy")}
            meta = {
                "name": folder.name, "image": "image.png", "gt": "gt.png", "kind": "depth_m", "scale": scale,
                "invalid_value": 0, "width": args.size, "height": args.size, "scene_type": kind, "seed": number,
                "intrinsics": camera,
            }  # fmt: skip
            (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
            number += 1
    print(f"Wrote {args.count} pictures with depth into {args.save}.")


def make_clean_scene(args: argparse.Namespace):
    """The scene of the first seed, seen by a good camera in clear air."""
    import dataclasses

    from experiments.scenes.kinds import make_scene

    scene = make_scene(args.seed, tuple(args.kinds) if args.kinds else None)
    scene.fog = min(scene.fog, 0.003)
    scene.sensor = dataclasses.replace(
        scene.sensor,
        noise=0.002,
        softness=0.0,
        aperture=0.0,
        quality=0.0,
        sharpening=0.3,
        saturation=1.05,
        brightness=0.48,
    )
    return scene


def write_sample(args: argparse.Namespace) -> None:
    import torch

    from experiments.scenes.render import render

    width, height = args.sample_size
    with torch.no_grad():
        batch = render([make_clean_scene(args)], height, width, device=args.device, supersample=3)
    write_image(args.sample, to_bgr(batch.images_rgb[0]))
    print(f"Wrote {args.sample}.")


def moving_cameras(camera, distance: float, frames: int) -> list:
    """Cameras on a gentle arc around a point `distance` metres ahead, there and back, so that the video can be
    repeated."""
    import dataclasses
    import math

    moved = []
    for frame in range(frames):
        phase = 2 * math.pi * frame / frames
        angle, forward, rise = 0.16 * math.sin(phase), 0.06 * (1 - math.cos(phase)), 0.02 * math.sin(2 * phase)
        yaw = camera.yaw + angle
        # Where the camera looked at first stays in the middle: the camera turns around it, and comes nearer.
        x = camera.position[0] - distance * math.sin(camera.yaw) + distance * (1 - forward) * math.sin(yaw)
        y = camera.position[1] + distance * math.cos(camera.yaw) - distance * (1 - forward) * math.cos(yaw)
        moved.append(dataclasses.replace(camera, position=(x, y, camera.position[2] + rise * distance), yaw=yaw))
    return moved


def write_video(args: argparse.Namespace) -> None:
    """One scene from a moving camera."""
    import copy
    import dataclasses

    import torch

    from experiments.scenes.render import render
    from lib.demo.video_writer import VideoWriter

    width, height = args.video_size
    Path(args.video).parent.mkdir(parents=True, exist_ok=True)
    scene = make_clean_scene(args)
    with torch.no_grad():
        depth = render([scene], 64, 64).depth
        middle = depth[:, 24:40, 24:40]
        distance = float(middle[middle.isfinite()].median()) if middle.isfinite().any() else 10.0
        cameras = moving_cameras(scene.camera, min(max(distance, 1.0), 12.0), args.video_frames)
        with VideoWriter(args.video, frame_rate=VIDEO_RATE, size_wh=(width, height)) as video:
            for number, camera in enumerate(cameras):
                frame = copy.copy(scene)
                frame.camera, frame.sensor = camera, dataclasses.replace(scene.sensor, seed=float(number))
                video.write(to_bgr(render([frame], height, width, device=args.device, supersample=3).images_rgb[0]))
    print(f"Wrote {args.video}.")


def measure(args: argparse.Namespace) -> None:
    """Print pictures per second, layouts included, and where they were rendered."""
    import platform
    import time

    import torch

    on_gpu = torch.device(args.device).type == "cuda"
    at_once = 64 if on_gpu else 16
    for _ in batches(args, at_once, at_once=at_once):
        pass  # the textures are painted once, before the clock runs
    start, processor_start = time.perf_counter(), time.process_time()
    for _ in batches(args, args.count, at_once=at_once):
        if on_gpu:
            torch.cuda.synchronize()
    seconds, processor_seconds = time.perf_counter() - start, time.process_time() - processor_start
    machine = (
        torch.cuda.get_device_name()
        if on_gpu
        else f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    )
    print(
        f"{args.count / seconds:.1f} pictures a second of {args.size} x {args.size} on {args.device} ({machine}); "
        f"{1000 * processor_seconds / args.count:.1f} ms of processor time each"
    )


# The names of the library for type checkers and for `from experiments.procedural_scenes import render_scenes`.
__all__ = ["KINDS", "RenderedBatch", "render_scenes", "stream"]  # noqa: F822

if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
