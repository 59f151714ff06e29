"""The model cut in two before the fusion, and what each fusion stage contributes to a map, by spatial frequency.

`experiments/fusion_parts.py` serves fusion_scaling.py. Shapes: B batch (of one), M width of the fusion, H W the network's
input, H0 W0 the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.inspection import write_png
from experiments.inspection_drawing import figure_picture, new_figure, tile_sheet
from experiments.result_tables import markdown_table, write_csv, write_text
from lib.demo.colour import Look, paint_depth
from lib.demo.model import LoadedModel
from lib.zoedepth import ZoeDepth

LONGEST_WAVE, SHORTEST_WAVE = 256, 4  # pixels of the network's input: the bands' bounds are powers of two between them


@dataclass(frozen=True, eq=False)
class Encoded:
    """A picture behind the reassemble step. maps: finest first, each B x M x its size."""

    maps: list[Tensor]
    input_hw: tuple[int, int]
    image_hw: tuple[int, int]
    nearest_is_largest: bool


@torch.no_grad()
def encode(model: LoadedModel, image_tensor: Tensor, image_hw: tuple[int, int]) -> Encoded:
    """Patch embedding, image encoder and reassemble: all that comes before the fusion. image_tensor: 1 x 3 x H x W."""
    dpt_model = model.dpt_model
    weight = next(dpt_model.parameters())
    tokens, grid_hw = dpt_model.patch_embed(image_tensor.to(weight.device, weight.dtype))  # B 3 H W -> B N C
    maps = dpt_model.reassemble(dpt_model.imgencoder(tokens, grid_hw), grid_hw)
    # ZoeDepth's metric head reads more than the last map; its core alone is a relative model like the others
    nearest_is_largest = isinstance(dpt_model, ZoeDepth) or dpt_model.output.nearest_is_largest
    return Encoded(maps, tuple(image_tensor.shape[-2:]), image_hw, nearest_is_largest)


@torch.no_grad()
def decode(model: LoadedModel, encoded: Encoded, scales: Sequence[float] | None = None) -> np.ndarray:
    """Fusion and head: the map H x W, float32. scales: a factor for each stage, finest first; None for the model as it is."""
    fused = model.dpt_model.fusion(encoded.maps, scales)  # -> B M 8h 8w
    return model.dpt_model.head(fused, encoded.input_hw)[0].float().cpu().numpy()


def restore(model: LoadedModel, encoded: Encoded, prediction: np.ndarray) -> np.ndarray:
    """A map, H x W -> at the picture's size, H0 x W0."""
    return model.dpt_imgproc.scale_prediction(torch.from_numpy(prediction), encoded.image_hw).numpy()


def one_scaled(num_stages: int, stage: int, scale: float) -> list[float]:
    """Scales that are all 1 but one.

    >>> one_scaled(4, 2, -0.5)
    [1.0, 1.0, -0.5, 1.0]
    """
    return [scale if number == stage else 1.0 for number in range(num_stages)]


def stage_name(stage: int, num_stages: int) -> str:
    """What a stage is called: 1 is the finest."""
    hint = {0: ", finest", num_stages - 1: ", coarsest"}.get(stage, "")
    return f"stage {stage + 1}{hint}"


def sweep(
    model: LoadedModel, encoded: Encoded, scales: Sequence[float], colour_map: str, *, heading: str
) -> tuple[np.ndarray, list[dict]]:
    """The grid of maps (a row for each stage, a column for each scale) as a picture, and `contributions` of every stage."""
    num_stages = len(encoded.maps)
    whole = decode(model, encoded)
    tiles, titles, rows = [], [], []
    for stage in range(num_stages):
        for scale in scales:
            prediction = whole if scale == 1 else decode(model, encoded, one_scaled(num_stages, stage, scale))
            depth, look = restore(model, encoded, prediction), Look(colour_map=colour_map)
            tiles.append(paint_depth(depth, look, nearest_is_largest=encoded.nearest_is_largest)[0])
            titles.append(f"{stage_name(stage, num_stages)}: x {scale:g}")
        without = decode(model, encoded, one_scaled(num_stages, stage, 0.0))
        rows += contributions(whole, without, stage)
    return tile_sheet(tiles, titles, heading=heading, columns=len(scales)), rows


def contributions(whole: np.ndarray, without: np.ndarray, stage: int) -> list[dict]:
    """How much the map changes without a stage, for each band of wavelengths: rows for a table, numbers in the map's unit."""
    rows = []
    spectra = [spectrum(values) for values in (whole - without, whole)]
    for longest, shortest in wave_bands(whole.shape):
        change, present = (band_rms(each, longest, shortest) for each in spectra)
        share = change / present if present > 0 else float("nan")
        rows.append({"stage": stage + 1, "longest_px": longest, "shortest_px": shortest,
                     "rms_change": change, "rms_of_map": present, "share": share})  # fmt: skip
    return rows


def wave_bands(map_hw: tuple[int, int]) -> list[tuple[float, float]]:
    """Bands of wavelengths in pixels, (longest, shortest), the coarsest first: octaves, and both ends left open.

    >>> wave_bands((168, 224))
    [(inf, 128), (128, 64), (64, 32), (32, 16), (16, 8), (8, 4), (4, 0)]
    """
    bounds, wave = [], SHORTEST_WAVE
    while wave <= min(LONGEST_WAVE, min(map_hw)):
        bounds.append(wave)
        wave *= 2
    return list(zip([float("inf"), *bounds[::-1]], [*bounds[::-1], 0], strict=True))


def spectrum(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths in pixels and powers of a map's waves; the powers of all but the constant add up to its variance.

    The map is mirrored first: a cosine transform, in which no step appears where the borders of the map do not fit together.
    """
    height, width = values.shape
    mirrored = np.pad(values.astype(np.float64), ((0, height), (0, width)), mode="symmetric")
    powers = np.abs(np.fft.fft2(mirrored) / mirrored.size) ** 2
    frequencies = np.hypot(np.fft.fftfreq(2 * height)[:, None], np.fft.fftfreq(2 * width)[None, :])
    with np.errstate(divide="ignore"):
        return 1 / frequencies, powers


def band_rms(waves_and_powers: tuple[np.ndarray, np.ndarray], longest: float, shortest: float) -> float:
    """Root mean square of what a map has between two wavelengths, without its mean."""
    waves, powers = waves_and_powers
    inside = np.isfinite(waves) & (waves <= longest) & (waves > shortest)
    return float(np.sqrt(powers[inside].sum()))


def mean_contributions(rows: Sequence[dict]) -> list[dict]:
    """The mean share of each stage and band over the pictures, with the number of pictures that have the band."""
    grouped: dict[tuple, list[float]] = {}
    for row in rows:
        grouped.setdefault((row["stage"], row["longest_px"], row["shortest_px"]), []).append(row["share"])
    keys = sorted(grouped, key=lambda key: (key[0], -key[1], -key[2]))
    return [
        {"stage": stage, "longest_px": longest, "shortest_px": shortest,
         "share": float(np.nanmean(grouped[stage, longest, shortest])), "pictures": len(grouped[stage, longest, shortest])}
        for stage, longest, shortest in keys
    ]  # fmt: skip


def band_title(longest: float, shortest: float) -> str:
    """What a band is called.

    >>> band_title(float("inf"), 128), band_title(32, 16), band_title(4, 0)
    ('over 128', '16 to 32', 'under 4')
    """
    if longest == float("inf"):
        return f"over {shortest:g}"
    return f"{shortest:g} to {longest:g}" if shortest else f"under {longest:g}"


def save_contributions(rows: Sequence[dict], num_stages: int, folder: Path, model_name: str) -> None:
    """fusion_bands.csv, .md and .png in a folder."""
    bands = sorted({(row["longest_px"], row["shortest_px"]) for row in rows}, reverse=True)
    shares = {(row["stage"], row["longest_px"], row["shortest_px"]): row["share"] for row in rows}
    names = [stage_name(stage, num_stages) for stage in range(num_stages)]
    table = [[shares.get((stage + 1, *band), float("nan")) for band in bands] for stage in range(num_stages)]
    write_csv(folder / "fusion_bands.csv", rows)
    header = ["wavelength in pixels", *(band_title(*band) for band in bands)]
    lines = [f"# What each fusion stage contributes: {model_name}", ""]
    lines += ["Change of the map without the stage, as a share of what the map has of these wavelengths.", ""]
    lines += markdown_table(header, [[name, *values] for name, values in zip(names, table, strict=True)])
    write_text(folder / "fusion_bands.md", lines)

    figure, axis = new_figure(7.5, 3.6)
    for name, values in zip(names, table, strict=True):
        axis.plot(range(len(bands)), values, marker="o", label=name)
    axis.set_xticks(range(len(bands)), header[1:])
    axis.set_xlabel("wavelength, pixels of the network's input")
    axis.set_ylabel("change without the stage / map")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8, facecolor="none", labelcolor="white")
    write_png(folder / "fusion_bands.png", figure_picture(figure))
