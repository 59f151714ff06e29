"""Depth of videos, picture sequences and cameras: in a window that plays them, or into files (with -o)."""

import argparse
import sys
from collections.abc import Callable, Sequence

from lib.demo.options import (
    NORMALISATIONS,
    VIDEO_RESULTS,
    add_crop_option,
    add_display_options,
    add_input_option,
    add_model_options,
    add_webcam_option,
    positive_int,
)
from lib.demo.script import interrupted_once, run_script
from lib.errors import UserError


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, by default from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="A window: run_video.py -i clip.mp4; files: run_video.py -i clip.mp4 -o depths/ --save mp4 npz",
    )
    add_input_option(parser, expected="a video, or pictures as a folder or pattern (default: the sample video)")
    add_webcam_option(parser)
    parser.add_argument(
        "--frame_rate", type=positive_int, metavar="N", help="frames a second of a sequence of pictures (default: 25)"
    )
    add_crop_option(parser)
    parser.add_argument(
        "--normalize",
        choices=NORMALISATIONS,
        help="which depths get the first and the last colour: clip: those of the whole clip; ema: follow the frames slowly; "
        "frame: those of each frame, which flickers; range: a metric model's own (default: range for metric models, "
        "otherwise clip with -o, and ema in the window and for cameras)",
    )
    group = parser.add_argument_group("results")
    group.add_argument("-o", "--output", metavar="OUT", help="write into this folder or .mp4 file, and open no window")
    group.add_argument(
        "--save",
        nargs="+",
        choices=VIDEO_RESULTS,
        default=["mp4"],
        help="with -o, any of: mp4 (colours), npz (float32, the model's own quantity), depth16 (a folder of 16-bit PNGs "
        "with scale and offset); default: mp4",
    )
    group.add_argument("--side_by_side", action="store_true", help="the mp4 shows each picture beside its depth")
    group.add_argument(
        "--batch_size",
        type=positive_int,
        default=1,
        metavar="N",
        help="with -o: frames that go through the network together (%(default)s); on CPUs, several such batches at a time",
    )
    add_model_options(parser)
    add_display_options(parser)
    group = parser.add_argument_group("playing")
    group.add_argument(
        "-sync", "--sync", action="store_true", help="show each frame when its depth is done, however long that takes"
    )
    group.add_argument("--no_loop", action="store_true", help="stop at the end instead of playing again")
    group.add_argument("--allow_recording", action="store_true", help="the key v records the window into results/")
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> int:
    """The exit code: 0, or 1 if frames had to be skipped. Raises UserError with one sentence for everything else."""
    if args.use_webcam is not None and args.image_path is not None:
        raise UserError("-i and --use_webcam are two sources: leave one of them out")
    if args.output is not None:
        if args.crop:
            raise UserError("--crop asks for a region in a window, and -o opens none: leave one of them out")
        if args.side_by_side and "mp4" not in args.save:
            raise UserError("--side_by_side is about the video: add mp4 to --save")
    elif args.side_by_side or args.batch_size > 1:
        raise UserError("--side_by_side and --batch_size are about files: pass -o OUT too, or leave them out")
    # OpenCV and PyTorch are imported from here on, so that --help and simple mistakes are answered at once.
    if args.output is None:
        from lib.demo.display import require_display

        require_display()  # before anything slow
    from lib.demo.frames import PICTURE_RATE, open_frames

    def open_source():
        return open_frames(args.image_path, webcam=args.use_webcam, picture_rate=args.frame_rate or PICTURE_RATE)

    with open_source() as source:
        return save_video(args, source) if args.output is not None else play(args, source, open_source)


def save_video(args: argparse.Namespace, source) -> int:
    """Write the depth of every frame; the exit code says whether any was skipped."""
    from dataclasses import asdict

    from tqdm import tqdm

    from lib.demo.colour import Look
    from lib.demo.model import load_model
    from lib.demo.save import domains_line
    from lib.demo.video_normalise import choose_mode
    from lib.demo.video_output import VideoOutput, plan_paths
    from lib.demo.video_pipeline import VideoDepth

    paths = plan_paths(args.output, source.name, args.save, inputs=args.image_path or ())
    model = load_model(args)
    value_range = model.dpt_model.output.value_range
    mode = choose_mode(args.normalize, value_range=value_range, otherwise="ema" if source.is_live else "clip")
    look = Look(colour_map=args.colormap)
    with interrupted_once(), tqdm(total=source.frame_count, unit="frame") as progress:
        depth = VideoDepth(
            model,
            look,
            mode,
            batch_size=args.batch_size,
            paint="mp4" in args.save,
            keep_pictures=args.side_by_side,
            report_clip=lambda done, total: progress.set_postfix_str(f"looking over the clip {done}/{total}" * (done < total)),
        )
        facts = {"video": source.name, "normalize": mode, "look": asdict(look)}
        with VideoOutput(paths, source, model, side=args.side_by_side, facts=facts) as output:
            try:
                with depth.run(source) as results:
                    for result in results:
                        output.write(result)
                        progress.update()
                output.complete = True
            except KeyboardInterrupt:
                progress.write(f"Stopped; the files hold the {output.frames} frames that are done.", file=sys.stderr)
                raise
    if output.frames == 0:
        raise UserError(f"{source.name}: not one frame of it can be read")
    if output.domains:
        print(domains_line(output.domains))
    if len(output.domains) > 1:
        print("Metres may jump where the kind of place changes; --domain takes all frames as one.")
    where = ", ".join(str(path) for kind, path in paths.items() if kind != "json")
    print(f"{output.frames} frames done, {source.skipped} skipped; results are in {where}")
    return 1 if source.skipped else 0


def play(args: argparse.Namespace, source, reopen: Callable) -> int:
    """Play in a window; the exit code says whether any frame could not be decoded. reopen: gives the source once more."""
    from lib.demo.model import load_model
    from lib.demo.video_player import VideoPlayer

    player = VideoPlayer(
        source,
        load_model(args),
        reopen=reopen,
        display_size=args.display_size,
        colour_map=args.colormap,
        normalize=args.normalize,
        crop=args.crop,
        wait_for_depth=args.sync,
        loop=not args.no_loop,
        allow_recording=args.allow_recording,
    )
    return player.run()


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
