"""Scenes to pictures with depth: lists to tensors, then visibility, surface, light, camera.

Letters: B scenes, H W picture, K solids and M materials of all scenes.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from . import effects
from .builder import SHAPE_NAMES, SOLID_COLUMNS, Scene
from .camera import Cameras, Rays, camera_rays, make_cameras
from .kinds import make_scene
from .lighting import gather_lights, shade, shadows
from .surface import visible_surface
from .textures import texture_library
from .visibility import Solids, trace

SCENES_AT_ONCE = 4  # on a CPU: more leave the processor's cache; other devices take the whole batch


@dataclass
class RenderedBatch:
    """Pictures with exact depth.

    images_rgb: B x 3 x H x W float32, 0..1 in steps of 1/255. depth: B x H x W float32, metres along the camera's
    axis (z-depth), infinity where the sky is. cameras: focal lengths, centres, poses. kinds: "room", "street", ... of
    every scene.
    """

    images_rgb: Tensor
    depth: Tensor
    cameras: Cameras
    kinds: tuple[str, ...]


def gather_solids(scenes: list[Scene]) -> tuple[Solids, Tensor]:
    """The solids of all scenes, sorted by shape, and their materials (M x MATERIAL_COLUMNS), on the CPU."""
    rows, numbers, counts = [], [], []
    first_material = [0]
    for scene in scenes:
        first_material.append(first_material[-1] + len(scene.materials))
    for shape in range(len(SHAPE_NAMES)):
        counts.append(0)
        for number, scene in enumerate(scenes):
            rows += scene.solids[shape]
            numbers += [number] * len(scene.solids[shape])
            counts[-1] += len(scene.solids[shape])
    values = torch.tensor(rows, dtype=torch.float32).view(-1, SOLID_COLUMNS)
    scene_numbers = torch.tensor(numbers, dtype=torch.long)
    values[:, 16] += torch.tensor(first_material)[scene_numbers]
    materials = torch.tensor([material for scene in scenes for material in scene.materials], dtype=torch.float32)
    return Solids(values, scene_numbers, counts, materials[values[:, 16].long()][:, 9:11]), materials


def render(scenes: list[Scene], height: int, width: int, *, device="cpu", supersample: int = 1) -> RenderedBatch:
    """Pictures of given scenes. supersample: rays per pixel along each side for the colours, an odd number; the depth
    is always that of the ray through the pixel's centre."""
    if supersample % 2 == 0:
        raise ValueError(f"supersample must be odd, so that one ray goes through the pixel's centre, not {supersample}")
    library = texture_library(str(torch.device(device)))
    fine_height, fine_width = height * supersample, width * supersample
    solids, materials = gather_solids(scenes)
    cameras = make_cameras([scene.camera for scene in scenes], fine_height, fine_width)
    rays = camera_rays(cameras)
    depth, nearest = trace(rays, solids, library, fine_height, fine_width)

    on_device = Solids(solids.values.to(device), solids.scene.to(device), solids.counts, solids.cut.to(device))
    fine_cameras, materials = cameras.to(device), materials.to(device)
    device_rays = Rays(
        rays.origin.to(device), rays.direction.to(device), True, rays.position, rays.axes, rays.focal, rays.centre
    )
    surface = visible_surface(device_rays, fine_cameras, on_device, materials, library, depth, nearest)
    lit = shadows(scenes, solids, surface, library)
    lights = gather_lights(scenes, device)
    light = shade(surface, depth, fine_cameras, lights, lit, library)
    if supersample > 1:
        light = torch.nn.functional.avg_pool2d(light.clamp(max=4.0), supersample)
        middle = supersample // 2
        depth = depth[:, middle::supersample, middle::supersample].contiguous()
    sensor = effects.gather([scene.sensor for scene in scenes], device)
    images_rgb = effects.photograph(light, depth, sensor)
    cameras = make_cameras([scene.camera for scene in scenes], height, width).to(device)
    return RenderedBatch(images_rgb, depth, cameras, tuple(scene.kind for scene in scenes))


def join(batches: list[RenderedBatch]) -> RenderedBatch:
    """One batch of several."""
    if len(batches) == 1:
        return batches[0]
    names = Cameras.__dataclass_fields__
    cameras = Cameras(**{name: torch.cat([getattr(batch.cameras, name) for batch in batches]) for name in names})
    images = torch.cat([batch.images_rgb for batch in batches])
    return RenderedBatch(
        images, torch.cat([batch.depth for batch in batches]), cameras, sum((batch.kinds for batch in batches), ())
    )


def render_scenes(
    seeds: Sequence[int],
    height: int,
    width: int,
    *,
    device="cpu",
    kinds: Sequence[str] | None = None,
    supersample: int = 1,
) -> RenderedBatch:
    """The pictures of some seeds. A seed gives the same scene in any batch and at any size.

    kinds: draw from these only (see KINDS), which makes other scenes of the same seeds. supersample: see `render`.
    """
    chosen = tuple(kinds) if kinds else None
    on_cpu = torch.device(device).type == "cpu"
    threads = torch.get_num_threads() if on_cpu else 1
    size = max(1, min(SCENES_AT_ONCE, len(seeds) // threads) if on_cpu else len(seeds))
    parts = [seeds[i : i + size] for i in range(0, len(seeds), size)]

    @torch.no_grad()
    def render_part(part: Sequence[int]) -> RenderedBatch:
        if threads > 1:
            torch.set_num_threads(1)  # of this worker
        scenes = [make_scene(int(seed), chosen) for seed in part]
        return render(scenes, height, width, device=device, supersample=supersample)

    if threads == 1:
        return join([render_part(part) for part in parts])
    # Threads that render scenes of their own never wait for each other, as those that share every operation do.
    texture_library("cpu")  # painted before the threads start, once
    try:
        with ThreadPoolExecutor(threads) as pool:
            return join(list(pool.map(render_part, parts)))
    finally:
        torch.set_num_threads(threads)  # of this thread, and what new ones start with


def stream(seed: int, batch_size: int, height: int, width: int, device="cpu") -> Iterator[RenderedBatch]:
    """Endless batches of scenes that never repeat; the same seed gives the same stream. Streams of different seeds
    differ."""
    first = seed * (1 << 40)
    while True:
        yield render_scenes(range(first, first + batch_size), height, width, device=device)
        first += batch_size
