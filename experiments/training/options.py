"""What can be chosen: command-line options, and config files that hold them.

A config file is a JSON object with the options' names (without dashes) and values; what the command line says goes
before it. Nothing here imports torch, so that `--help` is instant.
"""

import argparse
import json
from collections.abc import Collection, Sequence
from pathlib import Path

from lib.demo.options import positive_int
from lib.errors import UserError

LOSSES = ("normalised", "ssi", "silog")
OPTIMIZERS = ("adamw", "muon")
NEW_MODELS = ("tiny", "tiny_hybrid", "small", "base", "unet")  # see experiments/training/models.py


def natural(text: str) -> int:
    """A whole number, zero or more, for argparse."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def share(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError
    return number


def positive(text: str) -> float:
    """A number above zero, for argparse."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


def far_weight(text: str) -> float:
    """A number from 0 to below 1, for argparse."""
    number = float(text)
    if not 0 <= number < 1:
        raise ValueError
    return number


def make_parser(description: str) -> argparse.ArgumentParser:
    """All options of train_depth.py."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument(
        "--config", metavar="FILE", help="JSON with any of the options below; the command line goes before it"
    )
    add_run_options(parser.add_argument_group("run"))
    add_model_options(parser.add_argument_group("model"))
    add_data_options(parser.add_argument_group("data"))
    add_loss_options(parser.add_argument_group("loss"))
    add_step_options(parser.add_argument_group("steps"))
    return parser


def add_run_options(group: argparse._ArgumentGroup) -> None:
    """Where the run is, what it writes and where it computes."""
    group.add_argument("-o", "--output_folder", metavar="FOLDER", help="everything that the run writes")
    group.add_argument("--resume", action="store_true", help="go on with the run in this folder, if it holds one")
    group.add_argument("--save_every", type=positive_int, default=1000, metavar="STEPS", help="(%(default)s)")
    group.add_argument("--val_every", type=positive_int, default=1000, metavar="STEPS", help="(%(default)s)")
    group.add_argument("--log_every", type=positive_int, default=10, metavar="STEPS", help="(%(default)s)")
    group.add_argument(
        "--tensorboard", action=argparse.BooleanOptionalAction, default=True, help="curves and pictures for it"
    )
    group.add_argument(
        "--file_dtype",
        choices=("float32", "float16"),
        default="float32",
        help="of best and last.safetensors (%(default)s)",
    )
    group.add_argument("-d", "--device", help="cpu, cuda, cuda:N or mps (default: the best there is)")
    group.add_argument(
        "--threads", type=positive_int, metavar="N", help="CPU threads of the training (default: PyTorch's choice)"
    )
    group.add_argument(
        "--workers", type=natural, default=1, metavar="N", help="processes that prepare batches (%(default)s)"
    )
    group.add_argument("--render_device", default="cpu", help="where procedural scenes are rendered (%(default)s)")
    group.add_argument(
        "--bf16",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="compute in bfloat16 where it is safe (autocast)",
    )
    group.add_argument(
        "--seed", type=natural, default=0, metavar="N", help="of first weights and of all samples (%(default)s)"
    )


def add_model_options(group: argparse._ArgumentGroup) -> None:
    """What is trained."""
    group.add_argument("--new", choices=NEW_MODELS, help="start from fresh weights")
    group.add_argument(
        "-m", "--model_path", metavar="MODEL", help="start from trained weights; the same as for run_image.py"
    )
    group.add_argument("--model_type", metavar="TYPE", help="what they are, where neither they nor their name tell")
    group.add_argument(
        "--freeze",
        nargs="+",
        default=[],
        metavar="PART",
        help="encoder, or beginnings of weights' names: these do not change",
    )
    group.add_argument(
        "--fused_attention",
        action=argparse.BooleanOptionalAction,
        help="PyTorch's fused attention, or the plain formula (default: the faster one: plain on a CPU with --bf16, "
        "else fused)",
    )


def add_data_options(group: argparse._ArgumentGroup) -> None:
    """What it is trained on."""
    group.add_argument(
        "--data",
        nargs="+",
        default=["procedural"],
        metavar="SPEC",
        help="procedural, or KIND:PATH as for evaluate_depth.py (nyu:nyu_data, folder:my_pictures, ...); of several, "
        "samples come in turn (%(default)s)",
    )
    group.add_argument(
        "--reuse",
        type=positive_int,
        default=1,
        metavar="N",
        help="see every procedural scene N times, cropped anew (%(default)s)",
    )
    group.add_argument(
        "--pool",
        type=positive_int,
        default=2048,
        metavar="N",
        help="--reuse: scenes between two looks at one (%(default)s)",
    )
    group.add_argument("--val_data", metavar="SPEC", help="to choose the best model by (default: the first of --data)")
    group.add_argument(
        "--val_count", type=positive_int, default=64, metavar="N", help="validation pictures (%(default)s)"
    )
    group.add_argument(
        "--scale", type=positive, help="folder: metres per unit of its depth files (default: scale.json)"
    )
    group.add_argument(
        "--size", type=positive_int, nargs="+", metavar="PX", help="side, or height and width, of training pictures"
    )
    group.add_argument(
        "--picture_side",
        type=positive_int,
        metavar="PX",
        help="shorter side at which the trained model will be used (default: that of --size)",
    )
    group.add_argument(
        "--crop_scale",
        type=share,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="area of random crops, as a share of the picture (default: 0.4 1; for metres, which zooming would "
        "falsify, 1 1)",
    )
    group.add_argument("--flip", action=argparse.BooleanOptionalAction, default=True, help="mirror every other picture")
    group.add_argument(
        "--colour", type=share, default=0.5, metavar="AMOUNT", help="change of colours, 0 to 1 (%(default)s)"
    )


def add_loss_options(group: argparse._ArgumentGroup) -> None:
    """What is minimised."""
    group.add_argument(
        "--loss",
        choices=LOSSES,
        default=LOSSES[0],
        help="normalised: inverse depth with percentiles at 0 and 1, also from fresh weights; ssi: scale- and "
        "shift-invariant, for trained weights; silog: metres (%(default)s)",
    )
    group.add_argument(
        "--gradient_weight", type=float, default=0.5, metavar="W", help="of gradient matching (%(default)s)"
    )
    group.add_argument(
        "--far_weight",
        type=far_weight,
        default=0.0,
        metavar="W",
        help="normalised: 0 to below 1, count far pixels more (%(default)s)",
    )
    group.add_argument(
        "--trim",
        type=share,
        default=0.2,
        metavar="SHARE",
        help="ssi: largest residuals that are left out (%(default)s)",
    )
    group.add_argument(
        "--max_depth", type=positive, metavar="METRES", help="silog: range of the model; farther truth is masked"
    )


def add_step_options(group: argparse._ArgumentGroup) -> None:
    """How it is minimised."""
    group.add_argument(
        "--steps", type=positive_int, default=10_000, metavar="N", help="changes of the weights (%(default)s)"
    )
    group.add_argument(
        "--batch_size", type=positive_int, default=16, metavar="N", help="per process, at once (%(default)s)"
    )
    group.add_argument(
        "--accumulate", type=positive_int, default=1, metavar="N", help="batches for one step (%(default)s)"
    )
    group.add_argument(
        "--optimizer",
        choices=OPTIMIZERS,
        default=OPTIMIZERS[0],
        help="muon: for the encoder's matrices, adamw for the rest (%(default)s)",
    )
    group.add_argument(
        "--rate", type=positive, metavar="RATE", help="largest learning rate (default: 1e-3 for new models, else 5e-5)"
    )
    group.add_argument(
        "--encoder_rate",
        type=positive,
        metavar="RATE",
        help="the encoder's (default: as --rate; with -m a tenth of it)",
    )
    group.add_argument(
        "--start_ratio", type=positive, default=25.0, help="largest rate over the first one (%(default)s)"
    )
    group.add_argument(
        "--warm_up", type=share, default=0.1, metavar="SHARE", help="of steps, to the largest rate (%(default)s)"
    )
    group.add_argument("--weight_decay", type=float, default=0.05, help="(%(default)s)")
    group.add_argument(
        "--clip", type=positive, default=1.0, metavar="NORM", help="largest norm of the gradient (%(default)s)"
    )
    group.add_argument(
        "--ema",
        type=share,
        default=0.0,
        metavar="DECAY",
        help="keep and save averaged weights, for example 0.999 (off)",
    )


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Options from the command line and, where it leaves them out, from the config file.

    Exits with one sentence, as argparse does, for options or a config file that cannot be used.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--config")
    early.add_argument("--new")
    early.add_argument("-m", "--model_path")
    given = early.parse_known_args(arguments)[0]
    ignored = {"new", "model_path"} if given.new or given.model_path else set()  # two ways to say one thing
    try:
        from_config = config_arguments(parser, Path(given.config), ignored) if given.config else []
    except UserError as error:
        parser.error(f"--config {given.config}: {error}")
    args = parser.parse_args([*from_config, *arguments])
    if (args.new is None) == (args.model_path is None):
        parser.error("say what to train: either --new with a size, or -m with trained weights")
    if args.output_folder is None:
        parser.error("say where the run should be kept: -o FOLDER")
    if args.size and len(args.size) > 2:
        parser.error("--size: expected one side, or height and width")
    return args


def config_arguments(parser: argparse.ArgumentParser, path: Path, ignored: Collection[str] = ()) -> list[str]:
    """A config file as a command line, so that argparse checks its values like any other. Raises UserError."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise UserError("expected a JSON object with options")
    actions = {action.dest: action for action in parser._actions if action.dest not in ("help", "config")}
    unknown = sorted(config.keys() - actions.keys())
    if unknown:
        raise UserError(f"no such option: {', '.join(unknown)}")
    arguments = []
    for name, value in config.items():
        is_switch = actions[name].nargs == 0
        if name in ignored or value is None or value == []:  # as if it were not there
            continue
        if is_switch and not isinstance(value, bool):
            raise UserError(f"{name} is {value!r}; expected true or false")
        if not is_switch:
            arguments += ["--" + name, *map(str, value if isinstance(value, list) else [value])]
        elif value or isinstance(actions[name], argparse.BooleanOptionalAction):
            arguments.append(("--" if value else "--no-") + name)
    return arguments
