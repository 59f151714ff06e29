"""See where a model looks: attention of any block and head, for the patch under the pointer, over the picture.

    python experiments/attention_visualization.py -i photo.jpg                                  # a window
    python experiments/attention_visualization.py -i photo.jpg -o attention --point 320 200     # files, no window

A row of the attention is where a patch looks, a column is who looks at it. In the window, the pointer chooses the patch,
trackbars choose block and head, and keys (h lists them) switch between rows and columns; mean, maximum and rollout; one map
and all heads as tiles; the patch and the class token. With -o, every picture gets

    STEM_attention.png     picture and patch; rows and columns of the block: mean, maximum over heads, rollout to here
    STEM_heads_row.png, STEM_heads_column.png     each head of the block
    STEM_blocks.png        the row's mean over heads, in every block up to this one
    STEM_attention.npz     the numbers: row, column (heads x h x w), rollout_row, rollout_column, blocks_row_N (h x w)
    STEM_attention.json    which block, which patch, and each head's share for the class token

`experiments/attention_visualization.py` works with every family. Shapes: h w a token grid.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # the checkout, where `lib` is, instead of this folder, where `datasets` is no package
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from experiments.inspection import (
    add_inspection_options,
    block_number,
    find_files,
    names_of_blocks,
    network_input,
    refuse_engine,
    rounded,
    save_each,
    seen_picture,
    write_json,
    write_png,
)
from lib.demo.script import run_script
from lib.errors import PictureError, UserError

SUFFIXES = (
    "_attention.json", "_attention.png", "_heads_row.png", "_heads_column.png", "_blocks.png", "_attention.npz",
)  # fmt: skip
TITLES = {"row": "row: where it looks", "column": "column: who looks at it"}


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, by default from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_inspection_options(parser)
    group = parser.add_argument_group("attention")
    group.add_argument("--block", type=int, metavar="N", help="which block, from 0, or from the end: -1 (default: the last)")
    group.add_argument(
        "--point", type=int, nargs=2, metavar=("X", "Y"), help="the pixel whose patch asks (default: the middle)"
    )
    group.add_argument("--class_token", action="store_true", help="let the class token ask instead of a patch")
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> int:
    """The exit code: 0, or 1 if pictures had to be skipped. Raises UserError with one sentence for everything else."""
    refuse_engine(args)
    if args.class_token and args.point is not None:
        raise UserError("--class_token and --point: either the class token asks or a patch does; pass one of them")
    files = find_files(args, SUFFIXES)
    from lib.demo.model import load_model

    model = load_model(args)
    block = block_number(args.block, names_of_blocks(model.dpt_model))
    if args.class_token and not has_class_token(model.dpt_model):
        raise UserError("--class_token: this model's encoder has no class token; ask for a patch with --point X Y")
    if args.output_folder is None:
        from experiments.attention_window import AttentionWindow

        return AttentionWindow(files, model, args, block, save=save_attention).run()
    from experiments.attention_maps import record_attention

    def save(file, image_bgr, target: Path) -> None:
        place = place_of(args, model, image_bgr)
        attention = record_attention(model.dpt_model, network_input(model, image_bgr), block)
        facts = {"picture": file.relative.as_posix(), **model.facts(image_bgr)}
        save_attention(attention, seen_picture(model, image_bgr), place, target, facts=facts, colour_map=args.colormap)

    return 1 if save_each(args, files, model=model, suffixes=SUFFIXES, save=save) else 0


def has_class_token(dpt_model) -> bool:
    """Whether the encoder, or the hybrid's second half, has one."""
    return hasattr(getattr(dpt_model.imgencoder, "vit", dpt_model.imgencoder), "class_token")


def place_of(args: argparse.Namespace, model, image_bgr) -> tuple[float, float] | str:
    """Where the options ask, x and y from 0 to 1 of what the network sees. Raises PictureError outside of the picture."""
    from experiments.attention_maps import CLASS_TOKEN

    if args.class_token:
        return CLASS_TOKEN
    if args.point is None:
        return 0.5, 0.5
    height, width = image_bgr.shape[:2]
    x, y = args.point
    if not (0 <= x < width and 0 <= y < height):
        raise PictureError(f"--point {x} {y} is not in a picture of {width} x {height} pixels")
    seen_h, seen_w = seen_picture(model, image_bgr).shape[:2]  # larger, where the release pads
    return (x + (seen_w - width) // 2 + 0.5) / seen_w, (y + (seen_h - height) // 2 + 0.5) / seen_h


def save_attention(attention, image_bgr, place, target: Path, *, facts: dict, colour_map: str) -> None:
    """Writes the files of SUFFIXES. attention: with the means for the rollout; image_bgr: as `seen_picture` gives it."""
    import numpy as np

    from experiments.attention_maps import DIRECTIONS, head_maps, patch_at
    from experiments.attention_sheets import blocks_sheet, heads_sheet, overview_sheet
    from lib.demo.save import atomic_file

    name, record = attention.names[attention.block], attention.record
    maps, shares = {}, {}
    for direction in DIRECTIONS:
        heads, class_share = head_maps(record, place, direction=direction)
        maps[direction] = heads.numpy()
        maps[f"rollout_{direction}"] = attention.maps(place, direction, "rollout")
        shares[direction] = rounded(class_share) if class_share is not None else None
    facts = facts | {
        "block": attention.block,
        "block_name": name,
        "heads": record.heads,
        "asking": "class token" if place == "class" else {"x": place[0], "y": place[1]},
        "patch": None if place == "class" else list(patch_at(place, record.query_grid_hw)),
        "token_grid": list(record.query_grid_hw),
        "class_token_share": shares,
    }
    suffixed = {suffix: target.with_name(target.name + suffix) for suffix in SUFFIXES}
    write_json(suffixed["_attention.json"], "attention_visualization", facts)
    write_png(suffixed["_attention.png"], overview_sheet(attention, image_bgr, place, colour_map))
    for direction in DIRECTIONS:
        title = f"{name}, every head, {TITLES[direction]}"
        sheet = heads_sheet(record, image_bgr, place, direction, colour_map, heading=title)
        write_png(suffixed[f"_heads_{direction}.png"], sheet)
    sheet, blocks = blocks_sheet(attention, image_bgr, place, colour_map)
    write_png(suffixed["_blocks.png"], sheet)
    with atomic_file(suffixed["_attention.npz"]) as file:
        np.savez_compressed(file, **maps, **{f"blocks_row_{number}": values for number, values in enumerate(blocks)})


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
