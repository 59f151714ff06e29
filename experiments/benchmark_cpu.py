"""What benchmark_speed.py measures on any device, and on CPUs: one function for each table.

Each gets the names of models and the options, and returns the table in Markdown.
"""

import argparse
import contextlib
import copy
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lib.demo.options import ENGINES
from lib.errors import UserError

from .benchmark_models import MODELS, load_pair
from .benchmark_tables import NOT_MEASURED, median_ratio, milliseconds, table, time_in_turn

REPOSITORY = Path(__file__).resolve().parent.parent
LARGE_PICTURE = (3000, 4000)  # height and width: 12 megapixels
SCRIPTS = ("run_image.py", "run_video.py", "run_3dviewer.py")


def without_gradients(model, image):
    """A contestant: the model's forward pass."""
    import torch

    def run():
        with torch.no_grad():
            model(image)

    return run


def synchronizer(device):
    """Waits until the device is done."""
    import torch

    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def measure_speed(names: Sequence[str], args: argparse.Namespace) -> str:
    """Ours, with and without remembered position encodings, beside transformers."""
    import torch

    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    rows = []
    for name in names:
        pair = load_pair(name, batch_size=args.batch_size)
        reference, ours, image = (x.to(device, dtype) for x in (pair.reference, pair.ours, pair.image))
        uncached = copy.deepcopy(ours)
        uncached.set_cache(False)
        contestants = {
            "transformers": without_gradients(reference, image),
            "cached": lambda ours=ours, image=image: ours.inference(image),
            "uncached": lambda uncached=uncached, image=image: uncached.inference(image),
        }
        if dtype == torch.float32:
            half = copy.deepcopy(ours).bfloat16()
            contestants["bfloat16"] = lambda half=half, image=image: half.inference(image)
        seconds = time_in_turn(contestants, pairs=args.pairs, synchronize=synchronizer(device))
        full = ours.cache_bytes()
        ours.set_cache(True, small=True)
        ours.inference(image)
        ratios = [("cached", "transformers"), ("uncached", "transformers"), ("cached", "uncached")]
        in_half = f"{median_ratio(seconds['bfloat16'], seconds['transformers']):.2f}" if "bfloat16" in seconds else ""
        rows.append([
            name,
            f"{image.shape[-1]}",
            *(milliseconds(seconds[contestant]) for contestant in ("transformers", "cached", "uncached")),
            *(f"{median_ratio(seconds[a], seconds[b]):.2f}" for a, b in ratios),
            in_half,
            f"{full / 1e6:.1f}",
            f"{ours.cache_bytes() / 1e6:.1f}",
        ])  # fmt: skip
    return table(
        ["model", "side", "transformers ms", "cached ms", "uncached ms", "cached / transformers", "uncached / transformers",
         "cached / uncached", "bfloat16 / transformers in float32", "cache MB", "small cache MB"],
        rows,
    )  # fmt: skip


def measure_engines(names: Sequence[str], args: argparse.Namespace) -> str:
    """PyTorch in float32 and bfloat16, and both engines, beside transformers in float32; then the whole way of a picture."""
    rows = []
    for name in names:
        pair = load_pair(name)
        contestants, errors = engine_contestants(pair)
        for library in ("PyTorch", *ENGINES):  # one after the other: threads that still spin would slow the next one down
            entrants = [contestant for contestant in contestants if contestant.startswith(("transformers", library))]
            seconds = time_in_turn({entrant: contestants[entrant] for entrant in entrants}, pairs=args.pairs)
            for entrant in entrants if library == "PyTorch" else entrants[2:]:
                ratio = median_ratio(seconds[entrant], seconds["transformers, float32"])
                rows.append([name, entrant, milliseconds(seconds[entrant]), f"{ratio:.2f}", errors.get(entrant, "")])
    head = ["model", "way", "ms", "/ transformers, float32", "largest error (standard deviations)"]
    note = (
        "Each library ran in turn with transformers, to which its ratios are; transformers' own rows are from beside PyTorch. "
        "Whole way: resizing a picture of twice the network's side, the network, and the map back at the picture's size; its "
        "ratio is to the network of transformers alone."
    )
    return f"{table(head, rows)}\n\n{note}"


def engine_contestants(pair) -> tuple[dict, dict[str, str]]:
    """What to run, by name, and how far the maps are from transformers' in float32. Engines that are not there are left out."""
    import numpy as np
    import torch

    from lib.demo.engines import EngineModel, processor_of
    from lib.demo.onnx_export import export_network, facts_of
    from lib.predict import predict_depth

    half, reference_half = copy.deepcopy(pair.ours).bfloat16(), copy.deepcopy(pair.reference).bfloat16()
    half_image = pair.image.bfloat16()
    side = 2 * pair.image.shape[-1]
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    contestants = {
        "transformers, float32": without_gradients(pair.reference, pair.image),
        "transformers, bfloat16": without_gradients(reference_half, half_image),
        "PyTorch, float32": lambda: pair.ours.inference(pair.image),
        "PyTorch, bfloat16": lambda: half.inference(half_image),
        "PyTorch, float32, whole way": lambda: predict_depth(pair.ours, pair.dpt_imgproc, picture),
    }
    errors = {"PyTorch, float32": pair.error(pair.ours.inference(pair.image)),
              "PyTorch, bfloat16": pair.error(half.inference(half_image))}  # fmt: skip
    with torch.no_grad():
        errors["transformers, bfloat16"] = pair.error(reference_half(half_image).predicted_depth)
    with tempfile.TemporaryDirectory() as folder:
        facts = facts_of(pair.ours, pair.config, pair.dpt_imgproc.rule, weights=pair.name, summary=pair.name)
        path = export_network(pair.ours, Path(folder) / "network.onnx", facts)
        for engine, dtype in (("onnxruntime", "float32"), ("openvino", "float32"), ("openvino", "bfloat16")):
            try:
                model = EngineModel(path, engine=engine, dtype=dtype)
            except UserError as error:
                print(f"left out: {error}", file=sys.stderr)
                continue
            way = f"{engine}, {dtype}"
            imgproc = processor_of(model.facts, model.facts.rule)
            errors[way] = pair.error(model.inference(pair.image))
            contestants[way] = lambda model=model: model.inference(pair.image)
            contestants[f"{way}, whole way"] = lambda model=model, imgproc=imgproc: predict_depth(model, imgproc, picture)
    return contestants, {way: f"{error:.0e}" for way, error in errors.items()}


def count_operations(model, height: int, width: int) -> int:
    """Multiplications and additions of one picture, counted on tensors without memory."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    shadow = copy.deepcopy(model).to("meta")
    shadow.set_cache(False)
    shadow.set_fused_attention(False)  # the counter does not know every fused kernel
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow(torch.zeros(1, 3, height, width, device="meta"))
    return counter.get_total_flops()


def measure_sizes(names: Sequence[str], args: argparse.Namespace) -> str:
    """Time, memory and operations for pictures of several sizes."""
    import torch

    rows = []
    for name in names:
        pair, multiple = load_pair(name), 14 if MODELS[name][0] == "dinov2" else 32
        for side in args.sides:
            side = side // multiple * multiple
            image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
            contestants = {
                "transformers": without_gradients(pair.reference, image),
                "ours": lambda ours=pair.ours, image=image: ours.inference(image),
            }
            seconds = time_in_turn(contestants, pairs=args.pairs)
            operations = count_operations(pair.ours, side, side)
            rate = operations / statistics.median(seconds["ours"])
            rows.append([
                name,
                f"{side}",
                *(milliseconds(seconds[contestant]) for contestant in contestants),
                f"{median_ratio(seconds['ours'], seconds['transformers']):.2f}",
                *(peak_memory(name, side, contestant) for contestant in contestants),
                f"{operations / 1e9:.3g}",
                f"{rate / 1e9:.0f}",
            ])  # fmt: skip
    head = ["model", "side", "transformers ms", "ours ms", "ours / transformers", "transformers peak MB", "ours peak MB",
            "GFLOP", "ours GFLOP/s"]  # fmt: skip
    return table(head, rows) + "\n\nPeak: what one run needs beyond the loaded model, in a process of its own."


def peak_memory(name: str, side: int, contestant: str) -> str:
    """Megabytes that one run of a contestant needs beyond the model, in a process of its own."""
    if not Path("/proc/self/clear_refs").exists():
        return NOT_MEASURED
    import torch

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        size = pool.apply(_peak_bytes, (MODELS[name], side, contestant, torch.get_num_threads()))
    return f"{size / 1e6:.0f}"


def _peak_bytes(model: tuple, side: int, contestant: str, threads: int) -> int:
    """In the new process: resident memory at its highest during one run, less what it was before."""
    import torch

    torch.set_num_threads(threads)
    MODELS["this one"] = model
    with contextlib.redirect_stdout(None):
        reference, ours = models_only("this one")
    image = torch.zeros(1, 3, side, side)
    run = without_gradients(reference if contestant == "transformers" else ours, image)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _status_bytes("VmRSS")
    run()
    return _status_bytes("VmHWM") - before


def models_only(name: str):
    """(transformers' model, ours) without a run of either, which would leave memory behind to be used again."""
    from lib.make_dpt import make_dpt_from_state_dict

    from .benchmark_models import build_reference

    reference = build_reference(*MODELS[name])
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        return reference, make_dpt_from_state_dict(folder)[1]


def _status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def measure_batches(names: Sequence[str], args: argparse.Namespace) -> str:
    """Pictures a second, one at a time and several at once."""
    rows = []
    for name in names:
        pair = load_pair(name)
        many = pair.image.repeat(args.largest_batch, 1, 1, 1)
        contestants = {
            "transformers": without_gradients(pair.reference, many),
            "one": lambda pair=pair: pair.ours.inference(pair.image),
            "many": lambda pair=pair, many=many: pair.ours.inference(many),
        }
        seconds = time_in_turn(contestants, pairs=args.pairs)
        rates = {
            "one": 1 / statistics.median(seconds["one"]),
            "many": len(many) / statistics.median(seconds["many"]),
            "transformers": len(many) / statistics.median(seconds["transformers"]),
        }
        gain = len(many) * median_ratio(seconds["one"], seconds["many"])
        rows.append([name, f"{pair.image.shape[-1]}", *(f"{rate:.2f}" for rate in rates.values()), f"{gain:.2f}"])
    batch = f"batch {args.largest_batch}"
    head = ["model", "side", "batch 1, pictures/s", f"{batch}, pictures/s", f"transformers, {batch}", f"{batch} / batch 1"]
    return table(head, rows)


def measure_pictures(names: Sequence[str], args: argparse.Namespace) -> str:
    """Preparing a large picture and bringing the map back, beside the network."""
    import numpy as np

    picture = np.random.default_rng(0).integers(0, 256, (*LARGE_PICTURE, 3), dtype=np.uint8)
    rows = []
    for name in names:
        pair = load_pair(name)
        image = pair.dpt_imgproc.prepare_image_bgr(picture)
        prediction = pair.ours.inference(image)[0]
        contestants = {
            "prepare": lambda pair=pair: pair.dpt_imgproc.prepare_image_bgr(picture),
            "network": lambda pair=pair, image=image: pair.ours.inference(image),
            "back": lambda pair=pair, map_=prediction: pair.dpt_imgproc.scale_prediction(map_, LARGE_PICTURE),
        }
        seconds = time_in_turn(contestants, pairs=args.pairs)
        medians = {step: statistics.median(times) for step, times in seconds.items()}
        around = medians["prepare"] + medians["back"]
        whole = whole_run(name, picture)
        shares = (around / (around + medians["network"]), around / whole)
        rows.append([name, *map(milliseconds, seconds.values()), f"{whole:.2f}", *(f"{share:.1%}" for share in shares)])
    head = ["model", "picture to input, ms", "network, ms", "map to picture, ms", "run_image.py -o, s",
            "first and last of the three", "of run_image.py"]  # fmt: skip
    return table(head, rows)


def whole_run(name: str, picture) -> float:
    """Seconds that run_image.py takes from its start to its end for this picture as a file, the second time that it runs."""
    import cv2

    from .benchmark_models import build_reference

    with tempfile.TemporaryDirectory() as folder:
        build_reference(*MODELS[name]).save_pretrained(f"{folder}/weights")
        cv2.imwrite(f"{folder}/picture.jpg", cv2.GaussianBlur(picture, (0, 0), 5))  # noise alone is no picture
        paths = ("-m", f"{folder}/weights", "-i", f"{folder}/picture.jpg", "-o", f"{folder}/results")
        command = ["run_image.py", *paths, "-d", "cpu"]
        for _ in range(2):
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - start
    return seconds


def measure_start(names: Sequence[str], args: argparse.Namespace) -> str:
    """Importing, loading, and --help. Each in a process of its own; the least of several runs."""

    def least(*command: str) -> float:
        times = []
        for _ in range(args.pairs):
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - start)
        return min(times)

    rows = [["import torch", f"{(torch_time := least('-c', 'import torch')):.2f} s"]]
    ours = least("-c", "import torch, lib.make_dpt")
    rows.append(["import lib.make_dpt, beyond torch's own", f"{ours - torch_time:.2f} s"])
    rows += [[f"{script} --help", f"{least(script, '--help'):.2f} s"] for script in SCRIPTS if (REPOSITORY / script).exists()]
    for name in names:
        rows.append([f"load {name} from disk (warm)", f"{loading_time(name, args.pairs):.2f} s"])
    return table(["what", "time"], rows)


def loading_time(name: str, times: int) -> float:
    """Seconds that make_dpt_from_state_dict takes, at least, for a folder that was just written."""
    from lib.make_dpt import make_dpt_from_state_dict

    from .benchmark_models import build_reference

    seconds = []
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
        build_reference(*MODELS[name]).save_pretrained(folder)
        for _ in range(times):
            start = time.perf_counter()
            make_dpt_from_state_dict(folder)
            seconds.append(time.perf_counter() - start)
    return min(seconds)
