"""ZoeDepth's metric head: from the features of a relative depth model to metres (ZoeDepth paper, section 3.2).

Every pixel has K bin centres on the axis of depth and K probabilities, and its depth is the expected centre,

    depth = sum over k of p_k c_k

The centres start on the decoder's coarsest map (`SeedBins`) and are moved on every finer map (`Attractors`); the
probabilities are made at full resolution (`LogBinomial`). A model trained indoors and outdoors has one set of these for each
domain, and a `Router` that says which one a picture needs.

Shapes: B batch, H W network input, M width of the fusion, E features of an embedding, K bins, A attractors, D domains,
h w the map at hand, N = h * w, V values handed over at full resolution. All arithmetic on bins is float32, whatever the
weights are: the bins are sharp, and three digits are not enough.

Paper: "ZoeDepth: zero-shot transfer by combining relative and metric depth".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..quick_cpu import is_in_graph
from .router import Router

ATTRACTION = 300.0  # alpha. The releases' configs say 1000, but it never reaches their formula, and the weights expect 300
LEAST_WIDTH = 1e-3  # of a bounded bin, and of the distance of an attractor from the near end of the range
LEAST_SHARE = 1e-4  # keeps probability and temperature from 0 and 1
STIRLING_EPS = 1e-7
CACHED_NUMBERS = 1 << 17


@dataclass(frozen=True)
class MetricDepth:
    """What the metric head says of a batch.

    depth: B x H x W metres, float32. domains: for each picture the name of the domain whose bins were used; () in a graph.
    domain_logits: B x D, the router's opinion; None where there is one domain.
    """

    depth: Tensor
    domains: tuple[str, ...]
    domain_logits: Tensor | None


def enlarge(feature_map: Tensor, size: Sequence[int]) -> Tensor:
    """B x . x h x w -> B x . x size, bilinear, corners on corners."""
    return F.interpolate(feature_map, size=tuple(size), mode="bilinear", align_corners=True)


class PixelMLP(nn.Module):
    """Two linear layers with a ReLU between them, applied to each pixel alone."""

    def __init__(self, features_in: int, hidden: int, features_out: int):
        super().__init__()
        self.expand = nn.Conv2d(features_in, hidden, kernel_size=1)
        self.contract = nn.Conv2d(hidden, features_out, kernel_size=1)

    def forward(self, feature_map: Tensor) -> Tensor:
        """B x features_in x h x w -> B x features_out x h x w."""
        return self.contract(F.relu(self.expand(feature_map)))


class SeedBins(nn.Module):
    """The first bin centres of every pixel.

    Unbounded: c_k = softplus(x_k), in metres. Bounded: widths w_k = (relu(x_k) + 1e-3) / (their sum), laid end to end, and
    c_k the middle of bin k, c_k = w_1 + ... + w_k - w_k / 2, as a share of the range (equation 2 of "AdaBins").
    """

    def __init__(self, *, features: int, hidden: int, bins: int, bounded: bool):
        super().__init__()
        self.bounded = bounded
        self.net = PixelMLP(features, hidden, bins)

    def forward(self, bottleneck: Tensor) -> Tensor:
        """B x M x h x w -> centres, B x K x h x w."""
        raw = self.net(bottleneck).float()
        if not self.bounded:
            return F.softplus(raw)
        widths = F.relu(raw) + LEAST_WIDTH
        widths = widths / widths.sum(dim=1, keepdim=True)
        return widths.cumsum(dim=1) - widths / 2


def attract(centres: Tensor, points: Tensor) -> Tensor:
    """Centres moved towards attractor points: c + mean over the points a of d / (1 + 300 d^2), with d = a - c.

    A point pulls centres nearby, most of all those 1 / sqrt(300) = 0.06 away, and hardly reaches those far off. With the one
    point 1.0 ("inverse attractor", gamma = 2 in the paper):

    >>> attract(torch.tensor([0.5, 0.9, 1.0, 1.1]).reshape(1, 4, 1, 1), torch.ones(1, 1, 1, 1)).flatten()
    tensor([0.5066, 0.9250, 1.0000, 1.0750])

    centres: B x K x h x w; points: B x A x h x w. Returns B x K x h x w.
    """
    if centres.device.type != "cpu" or is_in_graph():
        return centres + mean_pull(centres, points)
    rows = max(1, CACHED_NUMBERS // (centres.shape[0] * centres.shape[1] * centres.shape[3]))  # that stay in the cache
    parts = zip(centres.split(rows, dim=2), points.split(rows, dim=2), strict=True)
    return torch.cat([some + mean_pull(some.contiguous(), some_points) for some, some_points in parts], dim=2)


def mean_pull(centres: Tensor, points: Tensor) -> Tensor:
    """The shifts that `attract` adds: B x K x h x w and B x A x h x w -> B x K x h x w."""
    one = torch.ones((), dtype=centres.dtype, device=centres.device)
    shift = torch.zeros_like(centres)
    for point in points.split(1, dim=1):  # one after the other: all at once would take A times the memory
        distance = point - centres  # B 1 h w, B K h w -> B K h w
        shift = shift.addcdiv_(distance, torch.addcmul(one, distance, distance, value=ATTRACTION))
    return shift / points.shape[1]


class Attractors(nn.Module):
    """Predicts attractor points for every pixel of one map of the decoder, and moves the bin centres towards them.

    Bounded heads predict pairs of numbers, meant to be divided by their sum. The release forgot the division, so the first of
    each pair is used as it is, and the second not at all.
    """

    def __init__(self, *, embedding: int, points: int, bounded: bool):
        super().__init__()
        self.bounded = bounded
        self.net = PixelMLP(embedding, embedding, 2 * points if bounded else points)

    def forward(self, embedding: Tensor, centres: Tensor) -> Tensor:
        """B x E x h x w, and the coarser map's centres (B x K x . x .) -> centres, B x K x h x w."""
        raw = self.net(embedding).float()  # B E h w -> B A h w, or B 2A h w
        points = F.relu(raw[:, ::2]) + LEAST_WIDTH if self.bounded else F.softplus(raw)  # -> B A h w
        return attract(enlarge(centres, raw.shape[-2:]), points)


class LogBinomial(nn.Module):
    """The probability of each bin: a binomial distribution with two numbers for every pixel, its mean and its temperature.

    Neighbouring bins lie near each other, so their probabilities should be alike, which a free softmax does not know:

        p_k = softmax over k of log( C(n, k) p^k (1 - p)^(n - k) ) / t,      n = K - 1

    The logarithm is log C(n, k) + k log(p / (1 - p)) + n log(1 - p). Its last term is the same for every bin, and a softmax
    does not see it, so it is left out. p = c_0 / (c_0 + c_1) and t between two limits likewise from c_2 and c_3, where c are
    four positive outputs of a small network.
    """

    def __init__(self, *, values: int, embedding: int, hidden: int, bins: int, temperatures: Sequence[float]):
        super().__init__()
        self.bins = bins
        self.lowest, self.highest = temperatures
        if not 0 < self.lowest <= self.highest < float("inf"):
            raise ValueError(f"no temperature lies between {self.lowest} and {self.highest}")
        self.values = values
        self.expand = nn.Conv2d(values + embedding, hidden, kernel_size=1)
        self.contract = nn.Conv2d(hidden, 4, kernel_size=1)

    def forward(self, values: Tensor, embedding: Tensor) -> Tensor:
        """values B x V x H x W, embedding B x E x h x w -> probabilities, B x K x H x W."""
        size = values.shape[-2:]
        for_values, for_embedding = self.expand.weight.split([self.values, embedding.shape[1]], dim=1)
        # The release enlarges the embedding first. The layer is linear, so that enlarging its result is the same, and less.
        hidden = F.conv2d(values, for_values, self.expand.bias) + enlarge(F.conv2d(embedding, for_embedding), size)
        raw = F.softplus(self.contract(F.gelu(hidden)).float()) + LEAST_SHARE  # B . H W -> B 4 H W
        share, temperature = (pair[:, :1] / pair.sum(dim=1, keepdim=True) for pair in raw.split(2, dim=1))  # B 1 H W
        sharpness = 1 / (self.lowest + (self.highest - self.lowest) * temperature)
        log_odds = share.clamp(min=LEAST_SHARE).log() - (1 - share).clamp(min=LEAST_SHARE).log()
        number = torch.arange(self.bins, device=raw.device, dtype=raw.dtype).reshape(1, -1, 1, 1)  # 1 K 1 1
        logits = torch.addcmul(log_choose(self.bins - 1, number) * sharpness, number, log_odds * sharpness)
        return logits.softmax(dim=1)


def log_choose(n: int, k: Tensor) -> Tensor:
    """log of "n choose k" by Stirling's formula, x! ~ (x / e)^x, with the small numbers that the release adds to it."""
    n_eps, k_eps = k.new_tensor(n) + STIRLING_EPS, k + STIRLING_EPS
    rest = n_eps - k_eps
    return n_eps * n_eps.log() - k_eps * k_eps.log() - rest * (rest + STIRLING_EPS).log()


class DomainBins(nn.Module):
    """The bins of one domain: where they start, how they move, how probable they are.

    attractors: how many points on each map, the coarsest first. depth_range: (nearest, farthest) in metres of bounded bins;
    None for unbounded ones, which may be anywhere above zero.
    """

    def __init__(
        self,
        *,
        features: int,
        bins: int,
        seed_hidden: int,
        embedding: int,
        attractors: Sequence[int],
        values: int,
        mlp_hidden: int,
        temperatures: Sequence[float],
        depth_range: Sequence[float] | None,
    ):
        super().__init__()
        check_range(depth_range)
        self.depth_range = None if depth_range is None else tuple(depth_range)
        bounded = depth_range is not None
        self.seed = SeedBins(features=features, hidden=seed_hidden, bins=bins, bounded=bounded)
        self.attractors = nn.ModuleList(Attractors(embedding=embedding, points=n, bounded=bounded) for n in attractors)
        self.log_binomial = LogBinomial(
            values=values, embedding=embedding, hidden=mlp_hidden, bins=bins, temperatures=temperatures
        )

    def forward(self, bottleneck: Tensor, embeddings: Sequence[Tensor], values: Tensor) -> Tensor:
        """Depth in metres, B x H x W.

        bottleneck: B x M x . x .; embeddings: for the bottleneck and for each finer map, B x E x . x .; values: B x V x H x W.
        """
        centres = self.seed(bottleneck)  # B M . . -> B K . .
        coarser = embeddings[0]
        for attractors, embedding in zip(self.attractors, embeddings[1:], strict=True):
            # what goes on to the next map is the embedding alone, without what came from below
            centres = attractors(embedding + enlarge(coarser, embedding.shape[-2:]), centres)
            coarser = embedding
        if self.depth_range is not None:
            nearest, farthest = self.depth_range
            centres = sort_bins(nearest + (farthest - nearest) * centres).clamp(nearest, farthest)
        probabilities = self.log_binomial(values, embeddings[-1])  # B K H W
        return (probabilities * enlarge(centres, values.shape[-2:])).sum(dim=1)  # B K H W -> B H W


def sort_bins(centres: Tensor) -> Tensor:
    """The centres of each pixel in rising order, B x K x h x w. The bins lie side by side meanwhile: that sorts much faster."""
    by_pixel = centres.movedim(1, -1).contiguous()  # B K h w -> B h w K
    return by_pixel.sort(dim=-1).values.movedim(-1, 1).contiguous()  # B h w K -> B K h w


def check_range(depth_range: Sequence[float] | None) -> None:
    """Raises ValueError unless this is None, or a nearest and a farthest depth in metres."""
    if depth_range is None:
        return
    nearest, farthest = depth_range
    if not 0 < nearest < farthest < float("inf"):
        raise ValueError(f"the depth range is {nearest} to {farthest} metres; expected 0 < nearest < farthest")


class MetricHead(nn.Module):
    """All of the head: what the domains share, the bins of each, and the router where there are several.

    features: M. bins: K. embedding: E. hidden: of the networks that make the embeddings. attractors: points on each of the
    decoder's maps, the coarsest first. domains: names. mlp_hidden: of the log-binomial's network. values: features that the
    core hands over at full resolution, without its depth. uses_relative: whether its depth is handed over too. temperatures:
    lowest and highest. depth_range: of every domain, see DomainBins. router: arguments of Router, or None.
    """

    def __init__(
        self,
        *,
        features: int,
        bins: int,
        seed_hidden: int,
        embedding: int,
        hidden: int,
        attractors: Sequence[int],
        domains: Sequence[str],
        values: int,
        mlp_hidden: int,
        uses_relative: bool,
        temperatures: Sequence[float] = (0.0212, 50.0),
        depth_range: Sequence[float] | None = None,
        router: dict | None = None,
    ):
        super().__init__()
        if not domains or (router is None and len(domains) > 1) or bins < 2:
            raise ValueError(f"no metric head has {bins} bins, and the domains {list(domains)} with the router {router}")
        self.uses_relative = uses_relative
        self.bottleneck = nn.Conv2d(features, features, kernel_size=1)
        self.projectors = nn.ModuleList(PixelMLP(features, hidden, embedding) for _ in range(1 + len(attractors)))
        self.domains = nn.ModuleDict(
            {
                name: DomainBins(
                    features=features,
                    bins=bins,
                    seed_hidden=seed_hidden,
                    embedding=embedding,
                    attractors=attractors,
                    values=values + uses_relative,
                    mlp_hidden=mlp_hidden,
                    temperatures=temperatures,
                    depth_range=depth_range,
                )
                for name in domains
            }
        )
        self.router = None if router is None else Router(features=features, domains=len(domains), **router)

    def forward(
        self,
        coarsest: Tensor,
        fused_maps: Sequence[Tensor],
        features: Tensor,
        relative: Tensor,
        *,
        domain: str | None = None,
        vote_by_batch: bool = False,
    ) -> MetricDepth:
        """What the core handed over -> metres.

        coarsest: reassemble's last map, B x M x h/2 x w/2. fused_maps: what each fusion block gave, the coarsest first,
        B x M x (their size). features: B x V x H x W, the last ones before the core's depth; relative: B x H x W, that depth.
        domain: for all pictures, instead of the router's choice. vote_by_batch: one choice for the whole batch, by the sum of
        its logits, as the release and `transformers` have it; else each picture has its own, so that a picture's depth
        does not depend on which others are in its batch.
        """
        bottleneck = self.bottleneck(coarsest)
        maps = [bottleneck, *fused_maps]
        embeddings = [project(feature_map) for project, feature_map in zip(self.projectors, maps, strict=True)]
        values = torch.cat([features, relative[:, None]], dim=1) if self.uses_relative else features  # B V H W
        names, heads = list(self.domains), list(self.domains.values())
        logits = None if self.router is None else self.router(bottleneck)  # B D
        if logits is None or domain is not None:
            number = 0 if domain is None else names.index(domain)
            depth = heads[number](bottleneck, embeddings, values)
            return MetricDepth(depth, () if is_in_graph() else (names[number],) * len(depth), logits)

        votes = logits.sum(dim=0, keepdim=True).expand_as(logits) if vote_by_batch else logits
        choice = votes.argmax(dim=1)  # B D -> B
        if is_in_graph():  # a graph cannot choose: all domains, then one per pixel
            depth = heads[0](bottleneck, embeddings, values)
            for number, head in enumerate(heads[1:], start=1):
                depth = torch.where((choice == number)[:, None, None], head(bottleneck, embeddings, values), depth)
            return MetricDepth(depth, (), logits)
        numbers = choice.tolist()
        parts = []  # of the pictures of each domain
        for number in sorted(set(numbers)):
            mine = (choice == number).nonzero()[:, 0] if len(set(numbers)) > 1 else slice(None)
            part = heads[number](bottleneck[mine], [embedding[mine] for embedding in embeddings], values[mine])
            parts.append(part)
        depth = torch.cat(parts)[choice.argsort(stable=True).argsort()] if len(parts) > 1 else parts[0]
        return MetricDepth(depth, tuple(names[number] for number in numbers), logits)
