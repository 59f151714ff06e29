"""Evaluate a model, or a baseline, on a data set with measured depth, by a protocol that is printed and saved.

    python experiments/evaluate_depth.py --dataset rgbd --data FOLDER -m depth-anything-v2-small
    python experiments/evaluate_depth.py --dataset nyu --data nyu_data -m depth-anything-v2-metric-hypersim-small --flip
    python experiments/evaluate_depth.py --dataset rgbd --data FOLDER --baseline ramp

Written are a JSON file (settings, every picture, mean), a Markdown page with the tables, and a picture of the worst
five. Which files make a data set is said in experiments/dataset_layouts.py; what the metrics are, in the results.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # the checkout, where `lib` is, instead of this folder, where `datasets` is no package
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from experiments.evaluation_options import (
    add_dataset_options,
    add_protocol_options,
    dataset_facts,
    open_data,
    protocol_of,
    report_problems,
)
from experiments.protocols import Protocol
from lib.demo.options import add_model_options
from lib.demo.script import run_script
from lib.errors import UserError

BASELINES = ("ramp", "constant")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_dataset_options(parser)
    add_protocol_options(parser)
    parser.add_argument("--baseline", choices=BASELINES, help="no model: lower in the picture is nearer; all the same")
    parser.add_argument("-o", "--output_folder", default="results/evaluation", metavar="FOLDER", help="(%(default)s)")
    parser.add_argument("--name", help="name of the result files (default: from data set, model and alignment)")
    add_model_options(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> int:
    """The exit code: 0, or 1 if pictures had to be skipped. Raises UserError with one sentence for everything else."""
    protocol = protocol_of(args)
    # numpy, OpenCV and PyTorch are imported from here on, so that --help and simple mistakes are answered at once.
    from tqdm import tqdm

    from experiments.evaluation import evaluate
    from experiments.evaluation_files import mean_table, safe_stem, save_evaluation

    dataset = open_data(args, split=args.split)
    report_problems(dataset)
    predict, protocol, model = choose_predictor(args, protocol)
    for name, value in protocol.describe().items():
        print(f"{name}: {value}")
    evaluation = evaluate(
        predict,
        dataset,
        protocol,
        limit=args.limit,
        report=lambda text: tqdm.write(text, file=sys.stderr),
        progress=lambda indices: tqdm(indices, unit="picture"),
    )
    evaluation.skipped[:0] = dataset.problems
    stem = args.name or safe_stem(dataset.kind, model["name"], protocol.alignment)
    facts = {"model": model, "dataset": dataset_facts(dataset, args.split)}
    paths = save_evaluation(evaluation, protocol, facts=facts, folder=Path(args.output_folder), stem=stem)
    print("\n".join(mean_table(evaluation)))
    skipped = f", {len(evaluation.skipped)} skipped" if evaluation.skipped else ""
    print(f"{len(evaluation.rows)} pictures{skipped}; results: {', '.join(str(path) for path in paths.values())}")
    return 1 if evaluation.skipped else 0


def choose_predictor(args: argparse.Namespace, protocol: Protocol) -> tuple:
    """(predictor, protocol with its alignment chosen, facts about the model for the results)."""
    from dataclasses import replace

    from experiments.evaluation import baseline

    needs_alignment = args.dataset != "da2k"
    if args.baseline is not None:
        if needs_alignment and protocol.alignment is None:
            protocol = replace(protocol, alignment="inverse_depth")
        facts = {"name": args.baseline, "quantity": "none: a baseline without a model"}
        return baseline(args.baseline, protocol), protocol, facts
    from experiments.unet import make_dpt_or_unet
    from lib.demo.model import load_model

    model = load_model(args, make=make_dpt_or_unet)
    quantity = model.dpt_model.output.quantity
    if needs_alignment:
        protocol = replace(protocol, alignment=choose_alignment(quantity, protocol.alignment))
    size = "the release's" if args.base_size_px is None else f"longer side at most {args.base_size_px}"
    facts = {
        "name": model.name,
        "weights": model.weights,
        "quantity": quantity,
        "network input": size + (", square" if args.square else ""),
        "dtype": str(next(model.dpt_model.parameters()).dtype).removeprefix("torch."),
        **model.zoedepth_facts(),
    }
    low, high = model.dpt_model.output.value_range
    if high < float("inf"):
        facts["range"] = f"{low:g} to {high:g}"
    return lambda image_bgr: model.predict([image_bgr])[0], protocol, facts


def choose_alignment(quantity: str, alignment: str | None) -> str:
    """The alignment that was asked for, or the usual one. Raises UserError if it makes no sense for this quantity."""
    possible = {
        "metres": ("none", "inverse_depth", "depth"),
        "depth": ("depth", "inverse_depth"),
        "inverse depth": ("inverse_depth",),  # its shift is unknown, so that 1 / value is no depth to fit to
    }[quantity]
    if alignment is not None and alignment not in possible:
        raise UserError(f"this model predicts {quantity}: pass --alignment {' or '.join(possible)}, not {alignment}")
    return alignment or possible[0]


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
