"""Drop or shuffle one encoder block, or one attention head, and measure how far the depth map moves.

    python experiments/stage_ablation.py -i photo.jpg                       # a window: choose a block and a head with sliders
    python experiments/stage_ablation.py -i photos/ -o ablation             # every block: tables and plots, no window
    python experiments/stage_ablation.py -i photos/ -o ablation --parts blocks heads --modes drop

"drop": the part adds nothing. "shuffle": it adds the same to the wrong patches, so that only *where* is lost. The model itself
is never changed: the changed ones are others, which share its weights. With -o, every picture gets

    STEM_ablation.png      picture, map, and the maps that moved most, with where they did
    STEM_ablation.json     how far each map moved

and the folder ablation_blocks.csv, .md and .png (ablation_heads... likewise) with the means over all pictures:

    aligned error    mean difference from the model's own map after the best scale and shift, as a share of its range: the
                     importance that is plotted
    correlation      Pearson's, of the two maps
    raw error        the difference without scale and shift

`experiments/stage_ablation.py` works with every family.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # the checkout, where `lib` is, instead of this folder, where `datasets` is no package
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from experiments.inspection import add_inspection_options, find_files, refuse_engine, save_each, write_json, write_png
from lib.demo.script import run_script

SUFFIXES = ("_ablation.json", "_ablation.png")
KINDS = ("blocks", "heads")
MODES = ("drop", "shuffle")


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, by default from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_inspection_options(parser)
    group = parser.add_argument_group("ablation, with -o")
    group.add_argument("--parts", nargs="+", choices=KINDS, default=["blocks"], help="blocks, heads or both (%(default)s)")
    group.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="what is done to them (%(default)s)")
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> int:
    """The exit code: 0, or 1 if pictures had to be skipped. Raises UserError with one sentence for everything else."""
    refuse_engine(args)
    files = find_files(args, SUFFIXES)
    from lib.demo.model import load_model

    model = load_model(args)
    if args.output_folder is None:
        from experiments.ablation_window import AblationWindow

        return AblationWindow(files, model, args).run()
    return ablate_all(args, files, model)


def ablate_all(args: argparse.Namespace, files: list, model) -> int:
    """Writes the files of every picture and the means over all; the exit code."""
    from experiments.ablation import find_parts
    from experiments.ablation_results import ablation_sheet, measure_parts, save_means

    parts = {kind: find_parts(model.dpt_model, heads=kind == "heads") for kind in args.parts}
    rows: dict[str, list[dict]] = {kind: [] for kind in args.parts}

    def save(file, image_bgr, target: Path) -> None:
        measured, strongest = {}, []
        for kind in args.parts:
            own, measured[kind], moved = measure_parts(model, image_bgr, parts[kind], args.modes)
            strongest += moved
        sheet = ablation_sheet(image_bgr, own, strongest, args.colormap, heading=file.relative.name)
        facts = {"picture": file.relative.as_posix(), **model.facts(image_bgr)}
        write_json(target.with_name(target.name + SUFFIXES[0]), "stage_ablation", facts | measured)
        write_png(target.with_name(target.name + SUFFIXES[1]), sheet)
        for kind in args.parts:
            rows[kind] += [{"picture": file.relative.as_posix(), **row} for row in measured[kind]]

    skipped = save_each(args, files, model=model, suffixes=SUFFIXES, save=save)
    for kind in args.parts:
        if rows[kind]:
            save_means(rows[kind], kind, Path(args.output_folder), model.name)
    return 1 if skipped else 0


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
