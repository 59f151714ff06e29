"""Numbers about a model's tokens: norms, outliers, single channels, principal components.

`experiments/block_norms.py` computes what experiments/block_norm_visualization.py draws. The norm of a token is the length of
its vector, and says how strongly the blocks behind it see it.

Shapes: h w a token grid, N patch tokens, C features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from experiments.recorder import Recorder, TokenRecord, find_blocks
from lib.dpt_model import DPTModel
from lib.errors import UserError

OUTLIER_FACTOR = 3.0
FITTED_TOKENS = 50_000  # an evenly spaced part of more tokens than these is enough to find the components
COLOUR_PERCENTS = (1, 99)


@dataclass(frozen=True)
class Outlier:
    """A patch whose token is much longer than the others. ratio: its norm over the median."""

    row: int
    column: int
    norm: float
    ratio: float


def record_tokens(dpt_model: DPTModel, image_tensor: Tensor) -> list[TokenRecord]:
    """What every block gives to the next one, for one picture (1 x 3 x H x W)."""
    with Recorder(dpt_model, tokens=range(len(find_blocks(dpt_model)))) as recorder:
        dpt_model.inference(image_tensor)
    return [recorder.tokens[number] for number in sorted(recorder.tokens)]


def patch_norms(record: TokenRecord) -> np.ndarray:
    """The norm of each patch's token: h x w."""
    return record.patches()[0].norm(dim=-1).numpy()  # 1 h w C -> h w


def class_norm(record: TokenRecord) -> float | None:
    """The norm of the class token, where there is one."""
    return float(record.features[0, 0].norm()) if record.has_class_token else None


def find_outliers(norms: np.ndarray, factor: float = OUTLIER_FACTOR) -> list[Outlier]:
    """The patches whose norm is more than `factor` times the median, the longest first.

    "Vision transformers need registers" (Darcet et al.), section 2: large models keep notes about the whole picture in a few
    patches of little content, whose norms are many times those of the others.
    """
    median = float(np.median(norms))
    places = np.argwhere(norms > factor * median) if median > 0 else []
    found = [
        Outlier(int(row), int(column), float(norms[row, column]), float(norms[row, column]) / median) for row, column in places
    ]
    return sorted(found, key=lambda outlier: -outlier.norm)


def norm_curves(records: Sequence[TokenRecord], factor: float = OUTLIER_FACTOR) -> dict[str, list]:
    """Per block: min, 5th percentile, median, mean, 95th percentile, max of the norms, class token's, how many outliers."""
    all_norms = [patch_norms(record) for record in records]
    curves = {
        "min": [norms.min() for norms in all_norms],
        "low": [np.percentile(norms, 5) for norms in all_norms],
        "median": [np.median(norms) for norms in all_norms],
        "mean": [norms.mean() for norms in all_norms],
        "high": [np.percentile(norms, 95) for norms in all_norms],
        "max": [norms.max() for norms in all_norms],
    }
    curves = {name: [float(value) for value in values] for name, values in curves.items()}
    curves["class_token"] = [class_norm(record) for record in records]
    curves["outliers"] = [len(find_outliers(norms, factor)) for norms in all_norms]
    return curves


def busiest_channels(record: TokenRecord, count: int) -> list[int]:
    """The channels that differ most from patch to patch, the first of them most."""
    spread = record.patches()[0].flatten(0, 1).std(dim=0)  # h w C -> N C -> C
    return spread.argsort(descending=True, stable=True)[:count].tolist()


@dataclass(frozen=True)
class Components:
    """The three directions in which tokens differ most, and how numbers along them become colours.

    axes: 3 x C; mean: C; ends: 3 x 2, the numbers that become dark and bright; explained: each one's share of the variance.
    """

    mean: np.ndarray
    axes: np.ndarray
    ends: np.ndarray
    explained: np.ndarray

    def project(self, tokens: np.ndarray) -> np.ndarray:
        """... x C -> ... x 3."""
        return (tokens.astype(np.float32) - self.mean) @ self.axes.T

    def paint(self, tokens: np.ndarray) -> np.ndarray:
        """h x w x C -> h x w x 3 uint8 BGR: the first component is red, the second green, the third blue."""
        low, high = self.ends.T
        shares = (self.project(tokens) - low) / np.maximum(high - low, 1e-12)
        return np.rint(shares.clip(0, 1) * 255).astype(np.uint8)[..., ::-1]


def compact(tokens: np.ndarray) -> np.ndarray:
    """In half precision, where that can hold the numbers: for many pictures' tokens that have to wait for each other."""
    return tokens.astype(np.float16) if np.abs(tokens).max() < np.finfo(np.float16).max else tokens


def find_pca() -> type:
    """scikit-learn's principal components. Raises UserError where it is missing."""
    try:
        from sklearn.decomposition import PCA
    except ImportError:
        raise UserError("principal components need scikit-learn: pip install -r experiments/requirements.txt") from None
    return PCA


def fit_components(token_sets: Sequence[np.ndarray], factor: float = OUTLIER_FACTOR) -> Components:
    """Principal components of the tokens of several pictures together, so that a colour means the same in all of them.

    token_sets: N x C each. Outliers are left out of the fit, which they would otherwise rule.
    """
    pca_class = find_pca()
    kept = []
    for tokens in token_sets:
        norms = np.linalg.norm(tokens.astype(np.float32), axis=1)
        kept.append(tokens[norms <= factor * np.median(norms)])  # none, if there is a NaN
    joint = np.concatenate(kept)
    if not len(joint):
        raise UserError("this block's tokens are not finite: there are no principal components")
    joint = joint[:: 1 + (len(joint) - 1) // FITTED_TOKENS].astype(np.float32)
    mean, axes, explained = joint.mean(axis=0), np.zeros((3, joint.shape[1]), np.float32), np.zeros(3)
    count = min(3, len(joint) - 1, joint.shape[1])  # a picture of one or two tokens has fewer components
    if count:
        pca = pca_class(n_components=count, random_state=0).fit(joint)
        axes[:count], explained[:count] = pca.components_, np.nan_to_num(pca.explained_variance_ratio_)
    ends = np.percentile((joint - mean) @ axes.T, COLOUR_PERCENTS, axis=0).T
    return Components(mean, axes, ends.astype(np.float32), explained)
