"""An evaluation as files (`experiments/evaluation_files.py`): JSON with everything, Markdown, the worst pictures."""

import json
import math
import re
from dataclasses import asdict
from pathlib import Path

from experiments.evaluation import Evaluation
from experiments.metrics import Metric
from experiments.protocols import Protocol
from experiments.worst_pictures import stack
from lib.demo.save import atomic_file, encode_png, make_folder

DECIMALS = 4  # in tables; the JSON has all


def save_evaluation(
    evaluation: Evaluation, protocol: Protocol, *, facts: dict, folder: Path, stem: str
) -> dict[str, Path]:
    """Write STEM.json, STEM.md and STEM_worst.png; returns their paths by "json", "markdown" and "worst".

    facts: {"model": {...}, "dataset": {...}}, what was evaluated. Each file is complete or not there. Raises UserError
    where it cannot be written.
    """
    make_folder(folder)
    paths = {"json": folder / f"{stem}.json", "markdown": folder / f"{stem}.md", "worst": folder / f"{stem}_worst.png"}
    content = {
        **facts,
        "protocol": protocol.as_dict(),
        "metrics": {name: asdict(metric) for name, metric in evaluation.metrics.items()},
        "mean": evaluation.mean,
        "rows": evaluation.rows,
        "skipped": evaluation.skipped,
    }
    text = json.dumps(without_nan(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    page = markdown(evaluation, protocol, facts=facts, worst=paths["worst"].name)
    with atomic_file(paths["worst"]) as file:
        file.write(encode_png(stack(evaluation.worst), paths["worst"]))
    with atomic_file(paths["markdown"]) as file:
        file.write(page.encode(errors="backslashreplace"))  # names of files need not be Unicode
    with atomic_file(paths["json"]) as file:
        file.write(text.encode(errors="backslashreplace"))
    return paths


def markdown(evaluation: Evaluation, protocol: Protocol, *, facts: dict, worst: str) -> str:
    """The evaluation as a page: what was measured and how, the mean, each picture. worst: the picture's file name."""
    model, dataset = facts["model"]["name"], facts["dataset"]["kind"]
    lines = [f"# {model} on {dataset}", ""]
    lines += [f"- {name}: {value}" for part in facts.values() for name, value in part.items()]
    lines += ["", "Protocol:", ""]
    lines += [f"- {name}: {value}" for name, value in protocol.describe().items()]
    lines += ["", "Metrics (d: prediction, g: truth, e = ln d - ln g, E: mean over the pixels with truth):", ""]
    lines += [f"- {metric.title}: {metric.formula}" for metric in evaluation.metrics.values()]
    lines += ["", *mean_table(evaluation)]
    lines += ["", "Each picture:", "", *table(evaluation.rows, evaluation.metrics)]
    if evaluation.skipped:
        lines += ["", f"Skipped ({len(evaluation.skipped)}):", "", *(f"- {reason}" for reason in evaluation.skipped)]
    lines += ["", f"![The worst {len(evaluation.worst)} pictures, the worst first]({worst})", ""]
    return "\n".join(lines)


def mean_table(evaluation: Evaluation) -> list[str]:
    """The lines of a Markdown table with nothing but the mean."""
    return table([{"name": f"mean of {len(evaluation.rows)}", **evaluation.mean}], evaluation.metrics)


def table(rows: list[dict], metrics: dict[str, Metric], *, first: str = "Picture") -> list[str]:
    """The lines of a Markdown table: each row's name, and its metrics, with arrows that say which way is better."""
    titles = [f"{metric.title} {'↑' if metric.higher_is_better else '↓'}" for metric in metrics.values()]
    lines = [table_line([first, *titles]), "|---|" + "---:|" * len(titles)]
    for row in rows:
        name = re.sub(r"([|\\`*_\[\]<>])", r"\\\1", str(row["name"]))
        lines.append(table_line([name, *(format_number(row[key]) for key in metrics)]))
    return lines


def table_line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def format_number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.{DECIMALS}f}"


def without_nan(value: object) -> object:
    """The same nested dictionaries and lists with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def safe_stem(*parts: str | None) -> str:
    """Parts of a file name joined by underscores, of letters, digits, dots and hyphens only.

    >>> safe_stem("rgbd", "my model/v2", None, "depth")
    'rgbd_my-model-v2_depth'
    """
    return "_".join(re.sub(r"[^\w.-]+", "-", part) for part in parts if part)
