"""Which solid is nearest at every pixel of a view.

A picture is cut into tiles. Each solid is tested only in the tiles that the corners of its box can reach, all pixels
of a tile at once; a scatter-minimum over these pairs gives depth and solid. The pairs are listed on the CPU (a few
thousand numbers), so that a GPU never waits for an answer in between.

Letters: B scenes, K solids of all scenes (sorted by shape), P pairs of solid and tile, T tiles of all scenes, Q
pixels of a tile.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from . import shapes
from .builder import BOX, CARD, CONE, ELLIPSOID, LEAVES
from .camera import Rays
from .canvas import SIDE

TILE = 16
NEAR = 0.05  # metres: nothing nearer is seen
PAIRS_AT_ONCE = {"cpu": 512}  # fits the processor's cache
PAIRS_AT_ONCE_ELSEWHERE = 1 << 16
EDGES = [(i, j) for i in range(8) for j in range(i + 1, 8) if (i ^ j) in (1, 2, 4)]  # of a box with corners 0..7


@dataclass
class Solids:
    """All solids of a batch, sorted by shape. values: K x SOLID_COLUMNS; scene: K; counts: how many of each shape;
    cut: K x 2, texture of each solid's material and its repeat in metres."""

    values: Tensor
    scene: Tensor
    counts: list[int]
    cut: Tensor

    def select(self, keep: Tensor, number: Tensor) -> "Solids":
        """Those where `keep` (K, bool); number: the new number of every scene (B)."""
        index = keep.nonzero()[:, 0]
        counts = [int(part.sum()) for part in keep.split(self.counts)]
        return Solids(self.values[index], number[self.scene[index]], counts, self.cut[index])


def screen_bounds(rays: Rays, solids: Solids) -> tuple[Tensor, Tensor]:
    """Smallest and largest u, v of every solid that lie before the view; empty (largest below smallest) if none. K 2
    each"""
    values = solids.values
    signs = torch.tensor([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)]) * 2.0 - 1.0  # 8 3
    axes = values[:, 3:12].view(-1, 3, 3) * values[:, 12:15, None]  # K axis 3
    corners = values[:, None, :3] + (signs[None, :, :, None] * axes[:, None]).sum(2)  # K 8 3
    uvt = rays.project(corners, solids.scene)
    if not rays.perspective:
        return uvt[..., :2].amin(1), uvt[..., :2].amax(1)
    t = uvt[..., 2]
    first, second = torch.tensor(EDGES).unbind(1)
    part = ((NEAR - t[:, first]) / (t[:, second] - t[:, first])).nan_to_num(-1.0)[
        ..., None
    ]  # where an edge enters the view
    crossing = rays.project(corners[:, first] + part * (corners[:, second] - corners[:, first]), solids.scene)
    points = torch.cat([uvt, crossing], 1)[..., :2]  # K 20 2
    valid = torch.cat([t > NEAR, (part[..., 0] > 0) & (part[..., 0] < 1)], 1)[..., None]
    lowest = points.masked_fill(~valid, 1e9).amin(1)
    return lowest, points.masked_fill(~valid, -1e9).amax(1)


def list_pairs(rays: Rays, solids: Solids, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Solid, tile column and tile row of every pair. P each"""
    low, high = screen_bounds(rays, solids)
    limit = torch.tensor([columns, rows])
    low = (low / TILE).clamp(-1, 1e6).floor().long().clamp(min=0)
    high = torch.minimum((high / TILE).clamp(-1, 1e6).floor().long(), limit - 1)
    size = (high - low + 1).clamp(min=0)  # K 2
    count = size[:, 0] * size[:, 1]
    solid = torch.repeat_interleave(torch.arange(len(count)), count)
    number = torch.arange(len(solid)) - (count.cumsum(0) - count)[solid]  # of the tile within the solid's rectangle
    wide = size[solid, 0]
    return solid, low[solid, 0] + number % wide, low[solid, 1] + number // wide


def trace(rays: Rays, solids: Solids, library: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Ray parameter t (infinity: nothing) and number of the nearest solid (-1: none) at every pixel, on the library's
    device.

    rays and solids lie on the CPU. Returns B x H x W float32 and B x H x W int64.
    """
    device, batch = library.device, len(rays.focal)
    rows, columns = -(-height // TILE), -(-width // TILE)
    solid, column, row = list_pairs(rays, solids, rows, columns)
    pairs_of_shape = torch.bincount(
        torch.repeat_interleave(torch.arange(len(solids.counts)), torch.tensor(solids.counts))[solid],
        minlength=len(solids.counts),
    ).tolist()
    local = {name: part.to(device) for name, part in local_rays(rays, solids).items()}
    tile = ((solids.scene[solid] * rows + row) * columns + column).to(device)
    solid, column, row = solid.to(device), column.to(device), row.to(device)

    inside_u = (torch.arange(TILE * TILE, device=device) % TILE) + 0.5  # Q
    inside_v = (torch.arange(TILE * TILE, device=device) // TILE) + 0.5
    depth = torch.full((batch * rows * columns, TILE * TILE), shapes.INFINITY, device=device)  # T Q
    chunks, start = [], 0
    for shape, count in enumerate(pairs_of_shape):
        step = PAIRS_AT_ONCE.get(device.type, PAIRS_AT_ONCE_ELSEWHERE)
        for first in range(start, start + count, step):
            part = slice(first, min(first + step, start + count))
            t = hit(
                shape, local, solid[part], column[part], row[part], inside_u, inside_v, rays.perspective, library
            )  # P Q
            depth.scatter_reduce_(0, tile[part, None].expand_as(t), t, "amin")
            chunks.append((part, t))
        start += count
    nearest = torch.full_like(depth, -1.0)  # numbers of solids as floats, exact below 2 ** 24
    for part, t in chunks:
        number = torch.where(t == depth[tile[part]], solid[part, None].float(), -1.0)
        nearest.scatter_reduce_(0, tile[part, None].expand_as(t), number, "amax")
    nearest = nearest.masked_fill_(depth == shapes.INFINITY, -1.0)
    return tuple(
        untile(plane, batch, rows, columns)[:, :height, :width].contiguous() for plane in (depth, nearest.long())
    )


def untile(plane: Tensor, batch: int, rows: int, columns: int) -> Tensor:
    """T Q -> B H W"""
    plane = plane.view(batch, rows, columns, TILE, TILE).transpose(2, 3)
    return plane.reshape(batch, rows * TILE, columns * TILE)


def local_rays(rays: Rays, solids: Solids) -> dict[str, Tensor]:
    """Every solid's view of the rays in its own coordinates (K x 3 x 3: xyz by constant, per u, per v), and what cuts
    it."""
    values, scene = solids.values, solids.scene
    to_local = values[:, 3:12].view(-1, 3, 3) / values[:, 12:15, None]  # K 3 3: world vector -> own coordinates
    origin = rays.origin[scene].clone()
    origin[:, :, 0] -= values[:, :3]
    pixel = 1.0 / rays.focal[scene]  # metres per pixel, of a sun; at the solid's distance, of a perspective view
    if rays.perspective:
        pixel = pixel * rays.project(values[:, None, :3], scene)[:, 0, 2].clamp(min=NEAR)
    size = values[:, 12:15].clamp(min=1e-3)
    repeats = torch.where(solids.cut[:, 1:] > 0, size / solids.cut[:, 1:].clamp(min=1e-3), torch.full_like(size, 0.5))
    texels = SIDE * repeats.amax(1) / size.amax(1)  # per metre
    level = (texels * pixel).clamp(min=1.0).log2().round().clamp(max=4)
    return {
        "origin": small_matmul(to_local, origin),
        "direction": small_matmul(to_local, rays.direction[scene]),
        "taper": values[:, 15],
        "texture": solids.cut[:, 0].long(),
        "repeats": repeats,
        "level": level.long(),
    }


def small_matmul(a: Tensor, b: Tensor) -> Tensor:
    """Products of 3 x 3 matrices in full float32 whatever the matmul settings, and alike in every batch."""
    return (a[:, :, :, None] * b[:, None, :, :]).sum(2)


def hit(shape, local, solid, column, row, inside_u, inside_v, perspective, library) -> Tensor:
    """t of pairs of one shape. P Q"""

    def lines(name: str, per_pixel: bool) -> shapes.Triple:
        constant, per_u, per_v = local[name][solid].unbind(2)  # P 3 each
        if not per_pixel:
            return constant[:, :, None].unbind(1)
        corner = constant + per_u * (column * TILE)[:, None] + per_v * (row * TILE)[:, None]
        return tuple(
            torch.addcmul(torch.addcmul(corner[:, i, None], per_u[:, i, None], inside_u), per_v[:, i, None], inside_v)
            for i in range(3)
        )

    origin, direction = lines("origin", not perspective), lines("direction", perspective)
    if shape == BOX:
        return shapes.hit_box(origin, direction, NEAR)
    if shape == ELLIPSOID:
        return shapes.hit_ellipsoid(origin, direction, NEAR)
    if shape == CONE:
        return shapes.hit_cone(origin, direction, NEAR, local["taper"][solid, None])
    scale = local["repeats"][solid][:, :, None].unbind(1)
    cut = shapes.Cut(library, local["texture"][solid, None], local["level"][solid, None], scale)
    if shape == LEAVES:
        return shapes.hit_leaves(origin, direction, NEAR, cut)
    assert shape == CARD
    return shapes.hit_card(origin, direction, NEAR, cut)
