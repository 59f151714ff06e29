"""What benchmark_speed.py measures on a CUDA GPU: errors of each precision, and the speed of each way to run the networks."""

import argparse
import copy
import statistics
from collections.abc import Callable, Sequence

from .benchmark_cpu import count_operations, synchronizer, without_gradients
from .benchmark_models import load_pair
from .benchmark_tables import NOT_MEASURED, median_ratio, milliseconds, table, time_in_turn

BATCHES = (1, 16)
MATRIX_SIDE = 8192  # of the product that tells the machine's rate
TRANSFORMERS = "transformers (fused attention)"
PRECISIONS = {  # name: (dtype, whether float32 products may be computed in TF32)
    "float32": ("float32", False),
    "float32 with TF32": ("float32", True),
    "bfloat16": ("bfloat16", False),
    "float16": ("float16", False),
}


def no_gpu() -> str | None:
    """A sentence where there is no GPU to measure on."""
    import torch

    return None if torch.cuda.is_available() else f"{NOT_MEASURED}: no CUDA GPU was found where this was run."


def measure_gpu_errors(names: Sequence[str], args: argparse.Namespace, *, device: str = "cuda") -> str:
    """The largest and the mean error of each precision against float64 on the CPU, in standard deviations of the map."""
    import torch

    rows = []
    for name in names:
        pair = load_pair(name)
        exact = copy.deepcopy(pair.ours).double()
        exact.set_cache(False)
        expected = exact.inference(pair.image)
        cells = []
        for dtype, allows_tf32 in PRECISIONS.values():
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allows_tf32
            model = copy.deepcopy(pair.ours).to(device, getattr(torch, dtype))
            error = (model.inference(pair.image).double().cpu() - expected).abs() / expected.std()
            cells.append(f"{error.max():.1e} ({error.mean():.1e})")
        rows.append([name, f"{pair.image.shape[-1]}", *cells])
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return table(["model", "side", *(f"{name}: largest (mean)" for name in PRECISIONS)], rows)


def measure_gpu(names: Sequence[str], args: argparse.Namespace, *, device: str = "cuda", backend: str = "inductor") -> str:
    """Milliseconds, pictures a second, memory and share of the machine's matrix rate in bfloat16, for every way to run it."""
    import torch

    where = torch.device(device)
    rate = matrix_rate(where, side=MATRIX_SIDE if where.type == "cuda" else 256)
    rows = []
    for name in names:
        for batch in BATCHES:
            pair = load_pair(name)
            image = pair.image.repeat(batch, 1, 1, 1).to(where, torch.bfloat16)
            operations = batch * count_operations(pair.ours, *image.shape[-2:])
            contestants, remarks = ways_to_run(pair, image, where, backend)
            seconds = time_in_turn(contestants, pairs=args.pairs, synchronize=synchronizer(where))
            for way, run in contestants.items():
                median = statistics.median(seconds[way])
                ratio = median_ratio(seconds[way], seconds[TRANSFORMERS])
                share = operations / median / rate
                rows.append([name, f"{batch}", way + remarks.get(way, ""), milliseconds(seconds[way]), f"{ratio:.2f}",
                             f"{batch / median:.1f}", peak_memory(run, where), f"{share:.0%}"])  # fmt: skip
            del contestants, pair
            if where.type == "cuda":
                torch.cuda.empty_cache()
    head = ["model", "batch", "way", "ms", "/ transformers", "pictures/s", "peak MB", "share of matrix rate"]
    name = torch.cuda.get_device_name() if where.type == "cuda" else "the CPU"
    return f"{name}, bfloat16, matrix products measured at {rate / 1e12:.1f} TFLOP/s.\n\n" + table(head, rows)


def ways_to_run(pair, image, device, backend: str) -> tuple[dict[str, Callable], dict[str, str]]:
    """Contestants by name, and remarks on some: graph breaks are errors here, and compiling twice for one size is noted."""
    import torch

    reference = copy.deepcopy(pair.reference).to(device, image.dtype)
    cached = copy.deepcopy(pair.ours).to(device, image.dtype)
    uncached = copy.deepcopy(cached)
    uncached.set_cache(False)
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(cached), fullgraph=True, backend=backend)
    compiled_reference = torch.compile(copy.deepcopy(reference), backend=backend)
    contestants = {
        TRANSFORMERS: without_gradients(reference, image),
        "transformers, compiled": without_gradients(compiled_reference, image),
        "ours, uncached": lambda: uncached.inference(image),
        "ours, cached": lambda: cached.inference(image),
        "ours, compiled": without_gradients(compiled, image),
    }
    remarks = {}
    run = contestants["ours, compiled"]
    run()
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    run()
    if torch._dynamo.utils.counters["stats"]["unique_graphs"] != graphs:
        remarks["ours, compiled"] = " (RECOMPILED for the same size)"
    if device.type == "cuda":
        contestants["ours, CUDA graph"] = cuda_graph(lambda: cached.inference(image))
        both = torch.compile(copy.deepcopy(cached), fullgraph=True, mode="max-autotune")  # CUDA graphs included
        contestants["ours, compiled, CUDA graph"] = without_gradients(both, image)
    return contestants, remarks


def cuda_graph(run: Callable) -> Callable:
    """Records what `run` asks of the GPU, to be asked again at once and without Python in between."""
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # caches and libraries settle
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def matrix_rate(device, *, side: int) -> float:
    """Operations a second of a large bfloat16 matrix product: what the machine can do at best."""
    import torch

    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    runs = {"product": lambda: left @ right}
    seconds = time_in_turn(runs, pairs=10, synchronize=synchronizer(device))["product"]
    return 2 * side**3 / statistics.median(seconds)


def peak_memory(run: Callable, device) -> str:
    """Megabytes that one run needs beyond what is held before it (the weights of all contestants)."""
    if device.type != "cuda":
        return NOT_MEASURED
    import torch

    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return f"{(torch.cuda.max_memory_allocated() - before) / 1e6:.0f}"
