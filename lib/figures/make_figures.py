"""Draws the figures of the pages, from real runs of our own code: run it again whenever the code or the built-in model changes.

    python lib/figures/make_figures.py                                # all, with the model that comes with the checkout
    python lib/figures/make_figures.py -m MODEL --only maps.jpg       # another model; some of the figures

How each is drawn: five_steps.py, steps.py (what lies between the steps), encoders.py (positions and attention) and meaning.py
(what the numbers mean). parts.py computes the table of parameters and operations on the encoders' page.
"""

import argparse
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(REPOSITORY)  # where `lib` and `experiments` are, instead of this folder
from lib.demo.script import run_script
from lib.demo.weights import BUILTIN_MODEL, MODEL_WEIGHTS
from lib.errors import UserError

FOLDER = Path(__file__).resolve().parent
PARTS_PAGE = REPOSITORY / "lib" / "encoders" / "README.md"
PARTS_MARKS = ("<!-- parts: written by lib/figures/make_figures.py -->\n", "<!-- end of parts -->")
NAMES = (
    *(f"{name}.svg" for name in ("five_steps", "two_kinds", "offset_table", "windows", "taps")),
    *(f"{name}.jpg" for name in ("tokens", "stages", "maps", "fusion", "head", "position_table")),
    *(f"{name}.png" for name in ("positions", "attention", "alignment", "floor_plans", "field_of_view")),
)


def figures(model_path: str | Path) -> dict[str, Callable[[], str | bytes]]:
    """{file name: what draws its content}. The model is loaded, run, and the room rendered, when first needed, once."""
    from lib.figures import encoders, five_steps, meaning, steps
    from lib.figures.drawing import picture_bytes

    @cache
    def model():
        from lib.make_dpt import make_dpt_from_state_dict

        _, dpt_model, dpt_imgproc = make_dpt_from_state_dict(model_path)
        if dpt_model.output.quantity != "inverse depth":
            raise UserError(f"{model_path} predicts {dpt_model.output.quantity}; the figures explain inverse depth")
        return dpt_model, dpt_imgproc

    @cache
    def steps_of_sample():
        return steps.steps_of_sample(*model())

    @cache
    def room():
        return meaning.render_room()

    @cache
    def prediction():
        return meaning.predict_room(*model(), room())

    return {
        "five_steps.svg": five_steps.five_steps_svg,
        "two_kinds.svg": five_steps.two_kinds_svg,
        "tokens.jpg": lambda: picture_bytes(steps.draw_tokens(steps_of_sample()), ".jpg"),
        "stages.jpg": lambda: picture_bytes(steps.draw_stages(steps_of_sample()), ".jpg"),
        "maps.jpg": lambda: picture_bytes(steps.draw_maps(steps_of_sample()), ".jpg"),
        "fusion.jpg": lambda: picture_bytes(steps.draw_fusion(steps_of_sample()), ".jpg"),
        "head.jpg": lambda: picture_bytes(steps.draw_head(steps_of_sample()), ".jpg"),
        "position_table.jpg": lambda: picture_bytes(encoders.draw_position_table(model()[0]), ".jpg"),
        "offset_table.svg": encoders.offset_table_svg,
        "windows.svg": encoders.windows_svg,
        "taps.svg": encoders.taps_svg,
        "positions.png": lambda: picture_bytes(encoders.draw_positions(), ".png"),
        "attention.png": lambda: picture_bytes(encoders.draw_attention(), ".png"),
        "alignment.png": lambda: picture_bytes(meaning.draw_alignment(room(), prediction()), ".png"),
        "floor_plans.png": lambda: picture_bytes(meaning.draw_floor_plans(room(), prediction()), ".png"),
        "field_of_view.png": lambda: picture_bytes(meaning.draw_field_of_view(room()), ".png"),
    }


def write_parts() -> None:
    """Puts the table of parameters and operations into the encoders' page."""
    from lib.figures.parts import parts_table

    text = PARTS_PAGE.read_text(encoding="utf-8")
    before, rest = text.split(PARTS_MARKS[0])
    after = rest.partition(PARTS_MARKS[1])[2]
    PARTS_PAGE.write_text(f"{before}{PARTS_MARKS[0]}\n{parts_table()}\n\n{PARTS_MARKS[1]}{after}", encoding="utf-8")


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "-m",
        "--model",
        default=MODEL_WEIGHTS / BUILTIN_MODEL,
        metavar="FILE",
        help="a relative model (default: the built-in one)",
    )
    names = [*NAMES, "parts"]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"some of {', '.join(names)}")
    return parser.parse_args()


def main(args: argparse.Namespace) -> int:
    """Writes the figures that were asked for into this folder, and the table into its page."""
    for name, draw in figures(args.model).items():
        if args.only is None or name in args.only:
            content = draw()
            (FOLDER / name).write_bytes(content.encode() if isinstance(content, str) else content)
            print(f"wrote {FOLDER / name} ({len(content) // 1000} kB)")
    if args.only is None or "parts" in args.only:
        write_parts()
        print(f"wrote the table in {PARTS_PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
