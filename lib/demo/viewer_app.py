"""What run_3dviewer.py does with its options: files, or a page for the browser."""

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path

from ..errors import UserError

SAMPLE_PICTURE = Path(__file__).resolve().parents[2] / "simple_examples" / "samples" / "sample_room.jpg"


def check_options(args: argparse.Namespace) -> None:
    """Raises UserError with one sentence for options that contradict each other or lie outside what makes sense."""
    from .viewer_export import EXPORT_FORMATS, check_outputs

    positive = {"--near": args.near, "--far": args.far, "--fov": args.fov, "--scale": args.scale, "--edge": args.edge}
    for option, value in positive.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UserError(f"{option} {value:g}: expected a number above zero")
    if args.shift is not None and not math.isfinite(args.shift):
        raise UserError(f"--shift {args.shift:g}: expected a number")
    if args.fov is not None and args.fov >= 179:
        raise UserError(f"--fov {args.fov:g}: expected degrees below 179")
    if not 0 <= args.smoothing <= 1:
        raise UserError(f"--smoothing {args.smoothing:g}: expected a number from 0 to 1")
    if args.use_webcam is not None and args.image_path:
        raise UserError("--use_webcam and -i: leave one of them out")
    check_outputs(args.export or [], EXPORT_FORMATS, "--export")
    check_outputs([args.screenshot] if args.screenshot else [], ("png",), "--screenshot")
    check_outputs([args.turntable] if args.turntable else [], ("mp4",), "--turntable")
    if not 1 <= args.port <= 65535:
        raise UserError(f"--port {args.port}: expected a number from 1 to 65535")


def input_paths(args: argparse.Namespace) -> list[str]:
    """What -i says; without it, the sample picture."""
    if args.image_path:
        return args.image_path
    if not SAMPLE_PICTURE.is_file():
        raise UserError("no picture given: pass a picture, a folder or a video with -i, for example -i photo.jpg")
    return [str(SAMPLE_PICTURE)]


def is_video_input(paths: list[str]) -> bool:
    """Whether -i names a video."""
    from .frames import as_file, is_video

    if len(paths) != 1:
        return False
    file = as_file(paths[0])
    return file is not None and is_video(file)


def first_settings(args: argparse.Namespace, quantity: str, value_range: tuple[float, float], *, is_video: bool):
    """The scene that the options ask for. Focal length and decimation follow when the picture is known."""
    from .viewer_scene import MESH, POINTS, Settings, default_range

    first = default_range(quantity, value_range)
    near, far = args.near or min(first.near, args.far / 2 if args.far else first.near), args.far or first.far
    if args.far is None and near >= far:
        far = 10 * near
    if near >= far:
        raise UserError(f"--near {near:g} --far {far:g}: expected near to be smaller than far")
    shape = {"mesh": MESH, "points": POINTS, None: POINTS if is_video else MESH}[args.shape]
    return Settings(
        shape=shape,
        colour_by=args.colour_by,
        depth_range=replace(first, near=near, far=far, scale=args.scale or 1.0, shift=args.shift or 0.0),
        edge=args.edge or Settings.edge,
        smoothing=args.smoothing,
        side_length=args.base_size_px,
        background=args.background,
        colour_map=args.colormap,
    )


def export_all(args: argparse.Namespace) -> int:
    """Write files, without a server; the exit code says whether pictures were skipped."""
    from .model import load_model
    from .pictures import find_pictures
    from .script import is_out_of_memory, out_of_memory_message
    from .viewer_export import check_targets, export_targets, write_exports
    from .viewer_inputs import choose_crop, read_still
    from .viewer_player import first_focal, first_step

    paths = input_paths(args) if args.use_webcam is None else []
    if args.use_webcam is not None or is_video_input(paths):
        raise UserError("--export, --screenshot and --turntable take pictures; a video plays in the browser (leave them out)")
    files = find_pictures(paths)
    outputs = {
        "export": args.export or [],
        "screenshot": [args.screenshot] if args.screenshot else [],
        "turntable": [args.turntable] if args.turntable else [],
    }
    relatives = [file.relative for file in files]
    plans = {kind: [export_targets(output, relatives) for output in some] for kind, some in outputs.items()}
    masks = [Path(args.mask_path)] if args.mask_path is not None else []
    check_targets([path for some in plans.values() for plan in some for path in plan], [*(file.path for file in files), *masks])
    if args.crop and len(files) > 1:
        raise UserError("--crop takes one picture, not several")
    region = choose_crop(read_still(files[0]).image_bgr, "Choose a region") if args.crop else None
    model = load_model(args)
    output = model.dpt_model.output
    first = first_settings(args, output.quantity, output.value_range, is_video=False)
    skipped = 0
    for number, file in enumerate(files):
        targets = {kind: [plan[number] for plan in some] for kind, some in plans.items()}
        try:
            still = read_still(file, mask_path=args.mask_path, region=region)
            shot = still.shot(model.predict([still.image_bgr])[0])
            size_wh = still.full_wh
            focal = first_focal(size_wh, still.focal, args.fov)
            step = first_step((still.image_bgr.shape[1], still.image_bgr.shape[0]), args.step, is_video=False)
            settings = replace(first, focal=focal, step=step)
            write_exports(shot, settings, targets, lambda path: print(f"Wrote {path}"))
        except UserError as error:
            if len(files) == 1:
                raise
            reason = str(error)
        except Exception as error:
            if len(files) == 1 or not is_out_of_memory(error):
                raise
            reason = f"{file.path}: {out_of_memory_message(error)}"
        else:
            continue
        skipped += 1
        print(f"Skipped: {reason}", file=sys.stderr)
    if len(files) > 1:
        print(f"{len(files) - skipped} done, {skipped} skipped")
    return 1 if skipped else 0


def serve_page(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from .model import load_model
    from .viewer_inputs import DepthService
    from .viewer_server import ViewerServer, describe, serve

    source = make_source(args)
    model = load_model(args)
    output = model.dpt_model.output
    settings = first_settings(args, output.quantity, output.value_range, is_video=source.facts.is_video)
    server = ViewerServer(
        DepthService(model), source, settings, host=args.host, port=args.port, title=f"Plain DPT: {model.name}"
    )
    print("\n".join(describe(server.url, args.host, args.port, server.port)), flush=True)
    serve(server, launch=args.launch)
    return 0


def make_source(args: argparse.Namespace):
    """What the browsers will look at, tried once: what cannot be opened is said before the weights are read."""
    from .frames import open_frames
    from .viewer_controls import SourceFacts
    from .viewer_inputs import choose_crop, names_of, read_mask, read_still
    from .viewer_live import SharedSource
    from .viewer_session import Source

    fixed = {"mask_path": args.mask_path, "view_degrees": args.fov, "step": args.step}
    paths = input_paths(args) if args.use_webcam is None else []
    if args.use_webcam is None and not is_video_input(paths):
        from .pictures import find_pictures

        files = tuple(find_pictures(paths))
        if args.crop and len(files) > 1:
            raise UserError("--crop takes one picture or video, not several pictures")
        still = read_still(files[0], mask_path=args.mask_path) if len(files) == 1 else None
        region = choose_crop(still.image_bgr, "Choose a region") if args.crop else None
        return Source(SourceFacts(names=tuple(names_of(files))), files, region=region, **fixed)

    region = None
    path = paths[0] if paths else None
    with open_frames(path, webcam=args.use_webcam) as frames:
        first = frames.read()
        if first is None:
            raise UserError(f"{frames.name}: there are no frames in it")
        facts = SourceFacts(is_video=True, is_live=frames.is_live, frame_count=frames.frame_count)
        if args.crop:
            region = choose_crop(first.image_bgr, "Choose a region")
    whole_hw = first.image_bgr.shape[:2]
    full_wh = (whole_hw[1], whole_hw[0])
    mask = read_mask(Path(args.mask_path), whole_hw) if args.mask_path is not None else None
    if mask is not None and region is not None:
        x, y, width, height = region
        mask = mask[y : y + height, x : x + width]

    def open_source():
        return open_frames(path, webcam=args.use_webcam, crop=region)

    opener = SharedSource(open_source).open if facts.is_live else open_source
    return Source(facts, open_frames=opener, mask=mask, full_wh=full_wh, region=region, **fixed)
