"""Several models on one picture or a folder: maps side by side, where and by how much they differ, and how they rank points.

    python experiments/compare_models.py -m MODEL_A MODEL_B -i photo.jpg                 # a window
    python experiments/compare_models.py -m MODEL_A MODEL_B MODEL_C -i photos/ -o compare    # pictures and tables, no window

Relative models know depth up to a scale and a shift, metric ones in metres: all maps are turned into inverse depth, and
compared after the best scale and shift. With -o, every picture gets

    STEM_compare.png       the maps in the same colours, and below each where it differs from the median of all
    STEM_compare.json      the numbers of each two models

and the folder compare.csv (each picture, each two models), compare.md and compare.png (means over all pictures):

    aligned error    mean difference after the best scale and shift, as a share of the reference's range
    correlation      Pearson's
    ranking          share of pairs of points, clearly apart in the reference, that both put in the same order

`experiments/compare_models.py` works with every family, also mixed.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # the checkout, where `lib` is, instead of this folder, where `datasets` is no package
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from experiments.inspection import add_inspection_options, find_files, save_each, write_json, write_png
from lib.demo.script import run_script
from lib.errors import UserError

SUFFIXES = ("_compare.json", "_compare.png")


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, by default from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_inspection_options(parser, several_models=True)
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> int:
    """The exit code: 0, or 1 if pictures had to be skipped. Raises UserError with one sentence for everything else."""
    if len(args.model_path or ()) < 2:
        raise UserError("name at least two models with -m, for example -m MODEL_A MODEL_B")
    files = find_files(args, SUFFIXES)
    models = load_models(args)
    if args.output_folder is None:
        from experiments.compare_window import CompareWindow

        return CompareWindow(files, models, args).run()
    return compare_all(args, files, models)


def load_models(args: argparse.Namespace) -> dict:
    """Every model of -m, with the other options applied to each, by names that tell them apart."""
    from lib.demo.model import load_model

    models = [load_model(argparse.Namespace(**vars(args) | {"model_path": path})) for path in args.model_path]
    plain = [model.name for model in models]
    named = {}
    for number, model in enumerate(models, start=1):
        name = model.name if plain.count(model.name) == 1 else f"{model.name}, {Path(model.weights).stem}"
        named[name if name not in named else f"{name} ({number})"] = model  # two files of one name
    return named


def compare_all(args: argparse.Namespace, files: list, models: dict) -> int:
    """Writes the files of every picture and the means over all; the exit code."""
    from experiments.compare_parts import compare_pairs, compare_sheet, predict_all, save_means

    rows: list[dict] = []

    def save(file, image_bgr, target: Path) -> None:
        maps = predict_all(models, image_bgr)
        pairs = compare_pairs(maps)
        facts = {
            "picture": file.relative.as_posix(),
            "models": {name: model.facts(image_bgr) for name, model in models.items()},
        }
        sheet = compare_sheet(image_bgr, maps, args.colormap, heading=file.relative.name)
        write_json(target.with_name(target.name + SUFFIXES[0]), "compare_models", facts | {"pairs": pairs})
        write_png(target.with_name(target.name + SUFFIXES[1]), sheet)
        rows.extend({"picture": file.relative.as_posix(), **pair} for pair in pairs)

    skipped = save_each(args, files, model=next(iter(models.values())), suffixes=SUFFIXES, save=save)
    if rows:
        save_means(rows, list(models), Path(args.output_folder))
    return 1 if skipped else 0


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
