"""How fast our models are beside `transformers`: same weights, same pictures, same process, in turn.

    python experiments/benchmark_speed.py                      # the models of MODELS that need no large memory
    python experiments/benchmark_speed.py beit-base-384 --pairs 9 --threads 2

Each model is built once with random weights in `transformers`, saved, and loaded with our own loader, so that both compute
the same map (checked first). Then the contestants run in turn, A B C A B C ..., because a shared machine drifts; what is
printed is the median of the ratios within each turn, not the ratio of two medians:

    cached      our time, position encodings remembered, over the time of transformers
    uncached    our time with enable_cache=False, over the time of transformers
    gain        our cached time over our uncached time
    cache       memory that the remembered position encodings hold: full, and small (`set_cache(True, small=True)`)
"""

import argparse
import platform
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

# The checkout, where `lib` is, instead of this folder, whose datasets.py would hide the Hugging Face package of that name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

# name: (kind, picture side, arguments of the kind's config builder below)
MODELS = {
    "swin2-tiny-256": (
        "swinv2",
        256,
        {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 16},
    ),
    "beit-base-384": ("beit", 384, {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}),
    "beit-large-512": ("beit", 512, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}),
    "vit-large-384": ("vit", 384, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}),
    "depth-anything-small": ("dinov2", 518, {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}),
    "depth-anything-base": ("dinov2", 518, {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}),
}
DEFAULT_MODELS = ["swin2-tiny-256", "beit-base-384", "vit-large-384", "depth-anything-small"]
LARGEST_DIFFERENCE = 1e-3  # of the map's standard deviation; random weights are less well conditioned than trained ones


def build_reference(kind: str, side: int, sizes: dict):
    """The model in `transformers`, with random weights that give a map of some contrast."""
    import torch
    import transformers

    if kind == "dinov2":
        width, fusion = sizes["hidden_size"], {384: 64, 768: 128, 1024: 256}[sizes["hidden_size"]]
        neck = {384: [48, 96, 192, 384], 768: [96, 192, 384, 768], 1024: [256, 512, 1024, 1024]}[width]
        backbone = transformers.Dinov2Config(
            image_size=side, patch_size=14, out_indices=[3, 6, 9, 12], reshape_hidden_states=False, **sizes
        )
        config = transformers.DepthAnythingConfig(
            backbone_config=backbone, reassemble_hidden_size=width, neck_hidden_sizes=neck, fusion_hidden_size=fusion
        )
        model = transformers.DepthAnythingForDepthEstimation(config)
    else:
        config = dpt_config(kind, side, sizes)
        model = transformers.DPTForDepthEstimation(config)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5, generator=generator)
    torch.nn.init.ones_([weight for name, weight in model.named_parameters() if name.startswith("head.")][-1])
    return model.eval()


def dpt_config(kind: str, side: int, sizes: dict):
    """A DPTConfig as the published Hugging Face folder of this size has it."""
    import transformers

    blocks = sizes.get("num_hidden_layers", 12)
    taps = [blocks // 4 * quarter - 1 for quarter in (1, 2, 3, 4)]
    neck = {768: [96, 192, 384, 768], 1024: [256, 512, 1024, 1024]}.get(sizes.get("hidden_size"))
    if kind == "vit":
        return transformers.DPTConfig(
            image_size=side, patch_size=16, intermediate_size=4 * sizes["hidden_size"], backbone_out_indices=taps,
            readout_type="project", neck_hidden_sizes=neck, fusion_hidden_size=256, **sizes,
        )  # fmt: skip
    if kind == "beit":
        backbone = transformers.BeitConfig(
            image_size=side, patch_size=16, intermediate_size=4 * sizes["hidden_size"], use_relative_position_bias=True,
            out_features=[f"stage{tap + 1}" for tap in taps], reshape_hidden_states=False, use_mask_token=False, **sizes,
        )  # fmt: skip
        return transformers.DPTConfig(
            backbone_config=backbone, readout_type="project", neck_hidden_sizes=neck, fusion_hidden_size=256,
            hidden_size=sizes["hidden_size"], image_size=side, patch_size=16,
        )  # fmt: skip
    backbone = transformers.Swinv2Config(image_size=side, out_features=["stage1", "stage2", "stage3", "stage4"], **sizes)
    widths = [sizes["embed_dim"] * 2**stage for stage in range(4)]
    return transformers.DPTConfig(
        backbone_config=backbone, readout_type="ignore", neck_hidden_sizes=widths, fusion_hidden_size=256, patch_size=4
    )


def load_pair(name: str):
    """(transformers' model, ours) with the same weights."""
    from lib.make_dpt import make_dpt_from_state_dict

    kind, side, sizes = MODELS[name]
    reference = build_reference(kind, side, sizes)
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        _, ours, _ = make_dpt_from_state_dict(folder)
    return reference, ours, side


def time_in_turn(contestants: dict, *, pairs: int, synchronize) -> dict[str, list[float]]:
    """Run every contestant once to warm up and then `pairs` times in turn; seconds of each run."""
    seconds = {name: [] for name in contestants}
    for turn in range(pairs + 1):
        for name, run in contestants.items():
            synchronize()
            start = time.perf_counter()
            run()
            synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def benchmark(name: str, args: argparse.Namespace) -> str:
    """Check that both models agree, time them, and return one row of the table."""
    import copy

    import torch

    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    reference, ours, side = load_pair(name)
    image = torch.randn(args.batch_size, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = reference(image).predicted_depth
    difference = ((ours.inference(image) - expected).abs().max() / expected.std()).item()
    if not difference <= LARGEST_DIFFERENCE:
        sys.exit(f"{name}: our map differs by {difference:.1e} standard deviations; timing it would mean nothing")

    reference, ours, image = reference.to(device, dtype), ours.to(device, dtype), image.to(device, dtype)
    uncached = copy.deepcopy(ours)
    uncached.set_cache(False)

    def run_reference():
        with torch.no_grad():
            reference(image)

    contestants = {
        "transformers": run_reference,
        "cached": lambda: ours.inference(image),
        "uncached": lambda: uncached.inference(image),
    }
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    seconds = time_in_turn(contestants, pairs=args.pairs, synchronize=synchronize)
    full = ours.cache_bytes()
    ours.set_cache(True, small=True)
    ours.inference(image)
    milliseconds = [f"{1000 * statistics.median(seconds[contestant]):.0f}" for contestant in contestants]
    ratios = [
        f"{median_ratio(seconds['cached'], seconds['transformers']):.2f}",
        f"{median_ratio(seconds['uncached'], seconds['transformers']):.2f}",
        f"{median_ratio(seconds['cached'], seconds['uncached']):.2f}",
    ]
    memory = [f"{full / 1e6:.1f}", f"{ours.cache_bytes() / 1e6:.1f}"]
    return "| " + " | ".join([name, f"{side}", *milliseconds, *ratios, *memory]) + " |"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="*", help=f"which to time: {', '.join(MODELS)} (default: {', '.join(DEFAULT_MODELS)})")
    parser.add_argument("--pairs", type=int, default=7, help="counted turns (default %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads for both sides (default: PyTorch's choice)")
    parser.add_argument("--batch_size", type=int, default=1, help="pictures at once (default %(default)s)")
    parser.add_argument("-d", "--device", default="cpu", help="cpu, cuda or mps (default %(default)s)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    args = parser.parse_args()
    unknown = [name for name in args.models if name not in MODELS]
    if unknown:
        parser.error(f"unknown model {', '.join(unknown)}; expected some of {', '.join(MODELS)}")
    if args.pairs < 1 or args.batch_size < 1:
        parser.error("--pairs and --batch_size must be at least 1")
    return args


def main(args: argparse.Namespace) -> None:
    import torch

    try:
        import transformers
    except ImportError:
        sys.exit("the comparison needs the package transformers: pip install transformers")
    transformers.utils.logging.disable_progress_bar()
    if args.threads:
        torch.set_num_threads(args.threads)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {torch.get_num_threads()} threads, {args.device}, {args.dtype}, batch {args.batch_size}, ", end="")
    print(f"{args.pairs} turns, torch {torch.__version__}, transformers {transformers.__version__}, {date.today()}")
    rows = [benchmark(name, args) for name in args.models or DEFAULT_MODELS]
    print("| model | side | transformers ms | cached ms | uncached ms ", end="")
    print("| cached / transformers | uncached / transformers | cached / uncached | cache MB | small cache MB |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main(parse_args())
