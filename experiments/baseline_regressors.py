"""Baselines that see one pixel at a time: scikit-learn regressors from its colour to its depth.

    python experiments/baseline_regressors.py --dataset nyu --data nyu_data --slice 200000
    python experiments/baseline_regressors.py --dataset rgbd --data FOLDER --position

A random forest, gradient boosting and k nearest neighbours, each with the best settings of a small grid by
cross-validation on the training pictures (whole pictures are held out, never pixels of one that was trained on).
They predict metres and are evaluated by the code of experiments/evaluate_depth.py, without alignment unless one is
asked for. Where the data set has no training part (--train_data names one), every fourth picture is kept for the test
and the others train.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
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
from lib.demo.options import positive_int
from lib.demo.script import run_script
from lib.errors import UserError

# name: (class in scikit-learn, fixed settings, grid)
REGRESSORS = {
    "forest": (
        "sklearn.ensemble.RandomForestRegressor",
        {"n_estimators": 50, "random_state": 0},
        {"max_depth": [8, 16], "min_samples_leaf": [5, 50]},
    ),
    "boosting": (
        "sklearn.ensemble.HistGradientBoostingRegressor",
        {"random_state": 0},
        {"learning_rate": [0.05, 0.2], "max_leaf_nodes": [15, 63]},
    ),
    "neighbours": (
        "sklearn.neighbors.KNeighborsRegressor",
        {},
        {"n_neighbors": [5, 50, 200], "weights": ["uniform", "distance"]},
    ),
}
FOLDS = 3
TEST_EVERY = 4  # one of so many pictures, where there is no training part
SCORING = "neg_mean_absolute_percentage_error"  # AbsRel


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("regressors", nargs="*", help=f"which: {', '.join(REGRESSORS)} (default: all)")
    add_dataset_options(parser, with_split=False)
    add_protocol_options(parser)
    parser.add_argument("--train_data", metavar="PATH", help="where the training part is, if not in --data")
    parser.add_argument("--train_limit", type=positive_int, metavar="N", default=500, help="pictures (%(default)s)")
    parser.add_argument(
        "--slice",
        type=positive_int,
        metavar="PIXELS",
        default=50_000,
        help="train on so many pixels, predict so many at once: bounds the memory (%(default)s)",
    )
    parser.add_argument("--side", type=positive_int, default=160, help="longer side of predictions (%(default)s)")
    parser.add_argument("--position", action="store_true", help="also give them the pixel's row and column")
    parser.add_argument("--jobs", type=int, default=1, help="processes of the grid search; -1: all cores (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which pixels are drawn (%(default)s)")
    parser.add_argument("-o", "--output_folder", default="results/evaluation", metavar="FOLDER", help="(%(default)s)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> int:
    """The exit code: 0, or 1 if pictures had to be skipped. Raises UserError with one sentence for everything else."""
    unknown = [name for name in args.regressors if name not in REGRESSORS]
    if unknown:
        raise UserError(f"{', '.join(unknown)}: no such regressor; there are {', '.join(REGRESSORS)}")
    if args.dataset == "da2k":
        raise UserError("--dataset da2k: it has pairs of points, and no depth to train on")
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise UserError("these baselines need scikit-learn: pip install -r experiments/requirements.txt") from None
    import numpy as np

    from experiments.evaluation import evaluate
    from experiments.evaluation_files import safe_stem, save_evaluation, table
    from lib.demo.save import atomic_file

    protocol = replace(protocol_of(args), alignment=args.alignment or "none")
    train, test = open_parts(args)
    rng = np.random.default_rng(args.seed)
    features, targets, groups, skipped = collect_pixels(train, protocol, args, rng)
    print(f"training on {len(targets)} pixels of {len(np.unique(groups))} pictures, testing on {len(test)} pictures")
    folder, rows, metrics = Path(args.output_folder), [], {}
    for name in args.regressors or REGRESSORS:
        search = fit(name, features, targets, groups, jobs=args.jobs)
        settings = ", ".join(f"{key}={value}" for key, value in search.best_params_.items())
        print(f"{name}: {settings}; AbsRel of the cross-validation {-search.best_score_:.4f}")
        predict = pixel_predictor(search.best_estimator_, args)
        evaluation = evaluate(predict, test, protocol, limit=args.limit)
        model = {"name": name, "settings": settings, "features": feature_names(args), "pixels": len(targets)}
        facts = {"model": model, "dataset": dataset_facts(test, "test")}
        save_evaluation(evaluation, protocol, facts=facts, folder=folder, stem=safe_stem(args.dataset, name))
        rows.append({"name": f"{name} ({settings})", **evaluation.mean})
        metrics = evaluation.metrics
        skipped = skipped | set(evaluation.skipped)
    lines = table(rows, metrics, first="Regressor")
    with atomic_file(folder / f"{safe_stem(args.dataset, 'regressors')}.md") as file:
        file.write(("\n".join([f"# Colour regressors on {args.dataset}", "", *lines]) + "\n").encode())
    print("\n".join(lines))
    return 1 if skipped or test.problems else 0


class Part(Sequence):
    """Some of a data set's samples, as a data set."""

    def __init__(self, dataset, indices: Sequence[int]):
        self.kind, self.path, self.problems = dataset.kind, dataset.path, dataset.problems
        self.names = [dataset.names[index] for index in indices]
        self._dataset, self._indices = dataset, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int):
        return self._dataset[self._indices[index]]


def open_parts(args: argparse.Namespace) -> tuple[Sequence, Sequence]:
    """The pictures to train on and those to test on, which are never the same."""
    test, train = open_data(args, split="test"), open_data(args, path=args.train_data, split="train")
    report_problems(test)
    are_two_folders = train.path.resolve() != test.path.resolve()  # whose files may have the same names
    if are_two_folders or not set(train.names) & set(test.names):
        report_problems(train)
        return train, test
    held_out = range(0, len(test), TEST_EVERY)
    if len(test) - len(held_out) < 2:
        raise UserError(f"{test.path}: {len(test)} pictures are too few to train on some and test on others")
    return Part(test, [index for index in range(len(test)) if index not in held_out]), Part(test, held_out)


def feature_names(args: argparse.Namespace) -> str:
    return "blue, green, red" + (", row, column" if args.position else "")


def pixel_features(image_bgr, *, with_position: bool):
    """H x W x 3 uint8 -> H x W x F float32 between 0 and 1; F: blue, green, red, and with position row and column."""
    import numpy as np

    height, width = image_bgr.shape[:2]
    features = image_bgr.astype(np.float32) / 255
    if not with_position:
        return features
    rows, columns = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    return np.concatenate([features, np.stack([rows, columns], axis=-1)], axis=-1, dtype=np.float32)  # H W 5


def collect_pixels(dataset: Sequence, protocol: Protocol, args: argparse.Namespace, rng) -> tuple:
    """Random pixels with truth, equally many of each picture: features N x F, metres N, picture numbers N, skipped."""
    import cv2
    import numpy as np

    from experiments.evaluation import cut

    count = min(len(dataset), args.train_limit, args.slice)
    features, targets, groups, skipped = [], [], [], set()
    for number in range(count):
        try:
            image_bgr, truth = cut(dataset[number], protocol)
        except UserError as error:
            print(f"Skipped: {error}", file=sys.stderr)
            skipped.add(str(error))
            continue
        with_truth = np.flatnonzero(np.isfinite(truth))
        chosen = rng.choice(with_truth, min(args.slice // count, with_truth.size), replace=False)
        if image_bgr.shape[:2] != truth.shape:
            image_bgr = cv2.resize(image_bgr, truth.shape[::-1], interpolation=cv2.INTER_AREA)
        pixels = pixel_features(image_bgr, with_position=args.position)
        features.append(pixels.reshape(-1, pixels.shape[-1])[chosen])  # H W F -> n F
        targets.append(truth.ravel()[chosen])
        groups.append(np.full(chosen.size, number))
    if len(features) < 2:
        raise UserError(f"{dataset.path}: fewer than two pictures to train on")
    return np.concatenate(features), np.concatenate(targets), np.concatenate(groups), skipped


def fit(name: str, features, targets, groups, *, jobs: int):
    """The fitted grid search of one of REGRESSORS. Its folds are made of whole pictures (groups)."""
    import importlib

    import numpy as np
    from sklearn.model_selection import GridSearchCV, GroupKFold

    path, fixed, grid = REGRESSORS[name]
    module, _, class_name = path.rpartition(".")
    regressor = getattr(importlib.import_module(module), class_name)(**fixed)
    folds = GroupKFold(min(FOLDS, np.unique(groups).size))
    smallest = min(len(train) for train, _ in folds.split(features, groups=groups))
    if "n_neighbors" in grid:  # there cannot be more neighbours than pixels
        grid = grid | {"n_neighbors": sorted({min(count, smallest) for count in grid["n_neighbors"]})}
    search = GridSearchCV(regressor, grid, scoring=SCORING, cv=folds, n_jobs=jobs)
    return search.fit(features, targets, groups=groups)


def pixel_predictor(regressor, args: argparse.Namespace):
    """What `evaluate` asks: picture -> metres at its size, from at most args.side pixels in width and height."""
    import cv2
    import numpy as np

    from lib.predict import DepthMap

    def predict(image_bgr) -> DepthMap:
        height, width = image_bgr.shape[:2]
        scale = min(1, args.side / max(height, width))
        small_wh = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(image_bgr, small_wh, interpolation=cv2.INTER_AREA)
        pixels = pixel_features(small, with_position=args.position)
        pixels = pixels.reshape(-1, pixels.shape[-1])  # h w F -> N F
        slices = [regressor.predict(pixels[start : start + args.slice]) for start in range(0, len(pixels), args.slice)]
        depth = np.concatenate(slices).astype(np.float32).reshape(small.shape[:2])  # N -> h w
        depth = cv2.resize(depth, (width, height), interpolation=cv2.INTER_LINEAR)
        return DepthMap(depth, "metres", nearest_is_largest=False, value_range=(0.0, float("inf")))

    return predict


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
