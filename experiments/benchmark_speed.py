"""How fast our models are beside `transformers`: same weights, same pictures, same process, in turn.

    python experiments/benchmark_speed.py                      # the table `speed`, for models that need no large memory
    python experiments/benchmark_speed.py beit-base-384 --pairs 9 --threads 2
    python experiments/benchmark_speed.py --tables all --write # everything, into experiments/BENCHMARKS.md

Each model is built once with random weights in `transformers`, saved, and loaded with our own loader, so that both compute
the same map (checked first). Then the contestants run in turn, A B C A B C ..., because a shared machine drifts; what is
printed is the median of the ratios within each turn, not the ratio of two medians. In the table `speed`:

    cached      our time, position encodings remembered; uncached: with enable_cache=False
    cache MB    memory that the remembered position encodings hold: full, and small (`set_cache(True, small=True)`)
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# The checkout, where `lib` is, instead of this folder, whose datasets.py would hide the Hugging Face package of that name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from experiments.benchmark_models import DEFAULT_MODELS, MODELS
from lib.demo.options import positive_int
from lib.demo.script import run_script
from lib.errors import UserError

# table: (title, models unless the command line names others)
SMALL = ["depth-anything-small"]
TABLES = {
    "speed": ("Beside transformers", DEFAULT_MODELS),
    "engines": ("Precisions and engines", [*SMALL, "depth-anything-base"]),
    "sizes": ("Cost against size", SMALL),
    "batches": ("Batches", [*SMALL, "beit-base-384"]),
    "pictures": ("Before and after the network, for a picture of 12 megapixels", SMALL),
    "start": ("Starting", ["depth-anything-large"]),
    "gpu-errors": (
        "On a GPU: errors against float64",
        ["depth-anything-small", "beit-base-384", "swin2-tiny-256", "vit-large-384"],
    ),
    "gpu": (
        "On a GPU: speed",
        ["depth-anything-small", "depth-anything-base", "depth-anything-large", "beit-large-512", "swin2-large-384"],
    ),
}
SIDES = (252, 518, 1036, 1554)  # whole patches of 14


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, by default from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)} (default: each table has its own)")
    parser.add_argument(
        "--tables", nargs="+", choices=[*TABLES, "all"], default=["speed"], help="what to measure (default: speed)"
    )
    parser.add_argument(
        "--write",
        nargs="?",
        const="",
        metavar="FILE",
        help="also write the tables into this file, in place of older ones (without FILE: experiments/BENCHMARKS.md)",
    )
    parser.add_argument("--pairs", type=positive_int, default=7, help="counted turns (default %(default)s)")
    parser.add_argument("--threads", type=positive_int, help="CPU threads for all (default: PyTorch's choice)")
    parser.add_argument("--batch_size", type=positive_int, default=1, help="speed: pictures at once (default %(default)s)")
    parser.add_argument("-d", "--device", default="cpu", help="speed: cpu, cuda or mps (default %(default)s)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"], help="speed: precision")
    parser.add_argument(
        "--sides", nargs="+", type=positive_int, default=list(SIDES), metavar="PIXELS", help="sizes: of the pictures"
    )
    parser.add_argument("--largest_batch", type=positive_int, default=8, help="batches: pictures at once (%(default)s)")
    args = parser.parse_args(arguments)
    unknown = [name for name in args.models if name not in MODELS]
    if unknown:
        parser.error(f"unknown model {', '.join(unknown)}; expected some of {', '.join(MODELS)}")
    return args


def main(args: argparse.Namespace) -> int:
    """Print the tables, and write them where --write says; the exit code."""
    import torch

    try:
        import transformers
    except ImportError as error:
        raise UserError("the comparison needs transformers: pip install -r experiments/requirements.txt") from error
    from experiments.benchmark_tables import RESULTS, conditions, write_section

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    if args.threads:
        torch.set_num_threads(args.threads)
    for name in TABLES if "all" in args.tables else args.tables:
        title, models = TABLES[name]
        result, more = measure(name, args.models or models, args)
        text = f"{conditions(*more, f'{args.pairs} turns')}\n\n{result}"
        print(f"{title}\n\n{text}\n", flush=True)
        if args.write is not None:
            write_section(Path(args.write) if args.write else RESULTS, name, title, text)
    return 0


def measure(name: str, models: Sequence[str], args: argparse.Namespace) -> tuple[str, list[str]]:
    """The table, and what its conditions are beyond machine, versions and date."""
    from experiments import benchmark_cpu, benchmark_gpu

    if name.startswith("gpu"):
        run = {"gpu": benchmark_gpu.measure_gpu, "gpu-errors": benchmark_gpu.measure_gpu_errors}[name]
        return benchmark_gpu.no_gpu() or run(models, args), []
    if name == "speed":
        more = [f"{args.device}", args.dtype, f"batch {args.batch_size}"]
        return benchmark_cpu.measure_speed(models, args), more
    run = {
        "engines": benchmark_cpu.measure_engines,
        "sizes": benchmark_cpu.measure_sizes,
        "batches": benchmark_cpu.measure_batches,
        "pictures": benchmark_cpu.measure_pictures,
        "start": benchmark_cpu.measure_start,
    }[name]
    return run(models, args), ["cpu", "float32"]


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
