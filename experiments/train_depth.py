"""Train a depth model, or fine-tune one: relative (inverse depth) or metric (metres).

    python experiments/train_depth.py --config experiments/configs/tiny_procedural.json -o runs/tiny python
    experiments/train_depth.py -m depth-anything-v2-small --data nyu:nyu_data --loss silog --max_depth 10 -o runs/nyu
    torchrun --nproc_per_node 2 experiments/train_depth.py --new unet --data folder:pairs -o runs/unet

The folder after -o gets the best model (best.safetensors, for run_image.py -m), the curve, pictures, TensorBoard's
events, and the state from which --resume goes on after a kill; see experiments/training/records.py.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # the checkout, where `lib` is, instead of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from experiments.training.options import make_parser, parse
from lib.demo.script import run_script
from lib.errors import UserError


def parse_args() -> argparse.Namespace:
    return parse(make_parser(__doc__.split("\n\n")[0]), sys.argv[1:])


def main(args: argparse.Namespace) -> int:
    """The exit code. Raises UserError with one sentence for everything that the options or the data make impossible."""
    from experiments.training.loop import train  # PyTorch is imported from here on, so that --help is answered at once

    try:
        return train(args)
    except OSError as error:  # a folder that cannot be made, a full disk; others are no fault of -o
        folder, path = Path(args.output_folder).absolute(), Path(str(error.filename)).absolute()
        if error.filename is None or not (path.is_relative_to(folder) or folder.is_relative_to(path)):
            raise
        raise UserError(f"{error.filename}: the run cannot be kept there ({error.strerror}); see -o") from error


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
