"""From light to the file that a camera writes: blur, exposure, tone curve, colour cast, noise, sharpening, JPEG, 8
bits.

Letters: B scenes, H W picture.
"""

from dataclasses import dataclass, fields
from random import Random

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad


@dataclass
class Sensor:
    """One camera's settings; `gather` makes each of them a column of B."""

    brightness: float  # mean of the picture that the exposure aims at, display units 0..1
    contrast: float
    saturation: float
    warmth: float  # red and blue gain: 1 + warmth, 1 - warmth
    tint: float  # green gain
    focus: float  # metres
    aperture: float  # blur in pixels of a 224 picture per unit of 1 / metre away from the focus
    softness: float  # 0..1: of the whole picture
    sharpening: float
    vignette: float  # how much darker the corners are
    noise: float  # at middle grey, display units
    grain: float  # how coarse: part of the noise that neighbours share
    quality: float  # JPEG quantisation step, 0 for none
    seed: float

    @staticmethod
    def draw(random: Random) -> "Sensor":
        clean = random.random() < 0.7
        return Sensor(
            brightness=min(max(random.gauss(0.5, 0.1), 0.2), 0.75),
            contrast=random.gauss(1.3, 0.15),
            saturation=random.choice([0.7, 0.9, 1.0, 1.1, 1.2, 1.3]) if random.random() < 0.96 else 0.0,
            warmth=random.gauss(0.0, 0.06),
            tint=random.gauss(1.0, 0.015),
            focus=random.uniform(0.4, 6.0),
            aperture=0.0 if random.random() < 0.75 else random.uniform(0.5, 4.0),
            softness=random.uniform(0.0, 0.2) if random.random() < 0.8 else random.uniform(0.2, 1.0),
            sharpening=0.0 if random.random() < 0.3 else random.uniform(0.2, 1.2),
            vignette=0.0 if random.random() < 0.5 else random.uniform(0.05, 0.4),
            noise=random.uniform(0.001, 0.008) if clean else random.uniform(0.008, 0.03),
            grain=random.uniform(0.0, 0.8),
            quality=0.0 if random.random() < 0.3 else random.uniform(0.005, 0.06),
            seed=float(random.randrange(1 << 20)),
        )


def gather(sensors: list[Sensor], device) -> Sensor:
    """A batch of settings: every field is B x 1 x 1 x 1."""
    columns = {item.name: [getattr(sensor, item.name) for sensor in sensors] for item in fields(Sensor)}
    return Sensor(**{name: torch.tensor(values).to(device)[:, None, None, None] for name, values in columns.items()})


def to_display(light: Tensor) -> Tensor:
    """Linear light to display values: the sRGB curve to 0.002, by roots, which every processor rounds alike."""
    half = light.clamp(min=0.0).sqrt()
    quarter = half.sqrt()
    return (0.6620 * half + 0.6841 * quarter - 0.3236 * quarter.sqrt() - 0.0225 * light).clamp(min=0.0)


def blur(image: Tensor, taps: tuple[float, ...]) -> Tensor:
    """Separable symmetric blur; taps: the middle weight and the weights beside it. B C H W"""
    for dim in (2, 3):
        size = image.shape[dim]
        total = image * taps[0]
        padded = pad(
            image, (0, 0, len(taps), len(taps)) if dim == 2 else (len(taps), len(taps), 0, 0), mode="replicate"
        )
        for i, weight in enumerate(taps[1:], start=1):
            total = total + weight * (padded.narrow(dim, len(taps) - i, size) + padded.narrow(dim, len(taps) + i, size))
        image = total
    return image


def smooth_edges(image: Tensor, depth: Tensor) -> Tensor:
    """Blend across jumps of depth, where a single ray per pixel leaves stairs. B 3 H W and B H W -> B 3 H W"""
    inverse = 1.0 / depth[:, None].clamp(min=0.02)
    padded = pad(inverse, (1, 1, 1, 1), mode="replicate")
    around = [padded[:, :, 1:-1, :-2], padded[:, :, 1:-1, 2:], padded[:, :, :-2, 1:-1], padded[:, :, 2:, 1:-1]]
    high = torch.stack(around).amax(0)
    low = torch.stack(around).amin(0)
    edge = ((torch.maximum(high, inverse) - torch.minimum(low, inverse)) / (inverse + 0.01) * 4.0 - 0.2).clamp(0, 1)
    return image + edge * (blur(image, (0.5, 0.25)) - image)


def random_grain(shape: tuple[int, int, int, int], seed: Tensor) -> Tensor:
    """About normal noise from a hash of pixel and scene, alike whatever the batch. B C H W"""
    batch, channels, height, width = shape
    count = torch.arange(channels * height * width, device=seed.device, dtype=torch.int32).view(
        1, channels, height, width
    )
    state = count + seed.view(batch, 1, 1, 1).to(torch.int32) * 1_000_003
    total = None
    for _ in range(2):  # two rounds of a 32-bit mixing, each giving two small numbers
        state = (state ^ ((state >> 16) & 0xFFFF)) * 0x45D9F3B
        state = (state ^ ((state >> 15) & 0x1FFFF)) * 0x2C1B3C6D
        state = state ^ ((state >> 12) & 0xFFFFF)
        part = (state & 0xFFFF).float() + ((state >> 16) & 0xFFFF).float()
        total = part if total is None else total + part
    return total * (1.0 / 65535 / 0.5774) - 3.4641


def dct_matrix(device) -> Tensor:
    """The orthonormal 8-point cosine transform. 8 8"""
    k = torch.arange(8, dtype=torch.float64)
    matrix = torch.cos(torch.pi * (k[None, :] + 0.5) * k[:, None] / 8) * 0.5
    matrix[0] *= 0.5**0.5
    return matrix.float().to(device)


def jpeg_like(image: Tensor, step: Tensor) -> Tensor:
    """Quantise the 8 x 8 cosine transform of brightness and (halved) colour; step 0 changes nothing. B 3 H W"""
    height, width = image.shape[2:]
    padded = pad(image, (0, -width % 16, 0, -height % 16), mode="replicate")
    r, g, b = padded.unbind(1)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    chroma = torch.stack([b - luma, r - luma], 1)
    chroma = torch.nn.functional.avg_pool2d(chroma, 2)
    frequency = torch.arange(8, device=image.device, dtype=torch.float32)
    weight = 1.0 + 0.35 * (frequency[:, None] + frequency[None, :])  # coarser for fine detail
    matrix = dct_matrix(image.device)

    def quantise(planes: Tensor, scale: float) -> Tensor:  # B C Y X
        n, c, y, x = planes.shape
        blocks = planes.view(n, c, y // 8, 8, x // 8, 8).transpose(3, 4)  # ... 8 8
        steps = (step[..., None, None] * weight * scale).clamp(min=1e-4)
        values = matrix @ blocks @ matrix.t()
        values = (values / steps).round() * steps
        return (matrix.t() @ values @ matrix).transpose(3, 4).reshape(n, c, y, x)

    luma = quantise(luma[:, None], 1.0)[:, 0]
    chroma = interpolate(quantise(chroma, 1.7), scale_factor=2, mode="bilinear", align_corners=False)
    blue, red = chroma[:, 0] + luma, chroma[:, 1] + luma
    green = (luma - 0.299 * red - 0.114 * blue) * (1 / 0.587)
    return torch.stack([red, green, blue], 1)[:, :, :height, :width]


def photograph(light: Tensor, depth: Tensor, sensor: Sensor) -> Tensor:
    """Linear RGB (B x 3 x H x W) and z-depth (B x H x W) to the picture, B x 3 x H x W in 0..1 in steps of 1 / 255."""
    height, width = depth.shape[1:]
    light = smooth_edges(light, depth)
    scale = height / 224
    away = (1.0 / depth[:, None].clamp(min=0.05) - 1.0 / sensor.focus).abs() * sensor.aperture * scale
    soft = blur(light, (0.4, 0.24, 0.06))
    small = torch.nn.functional.avg_pool2d(light, 4, ceil_mode=True)
    wide = interpolate(blur(small, (0.4, 0.24, 0.06)), size=(height, width), mode="bilinear", align_corners=False)
    light = light + (torch.maximum(away, sensor.softness * 0.8)).clamp(0, 1) * (soft - light)
    light = light + (away * 0.35 - 0.35).clamp(0, 1) * (wide - light)

    gain = torch.cat([1.0 + sensor.warmth, sensor.tint, 1.0 - sensor.warmth], 1)
    light = light * gain
    key = light.clamp(max=2.0).mean((1, 2, 3), keepdim=True) + 0.02  # what an exposure meter sees
    target = sensor.brightness**2.2
    light = light * (target / key)
    light = light * (1.0 + 0.15 * light) / (1.0 + 0.45 * light) * 1.25  # bright parts fade into white slowly
    image = to_display(light)

    grey = (image * torch.tensor([0.299, 0.587, 0.114], device=image.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    image = grey + (image - grey) * sensor.saturation
    image = (image - 0.45) * sensor.contrast + 0.45
    x = torch.linspace(-1, 1, width, device=image.device)[None, None, None, :]
    y = torch.linspace(-1, 1, height, device=image.device)[None, None, :, None]
    image = image * (1.0 - sensor.vignette * 0.5 * (x * x + y * y))

    grain = random_grain(tuple(image.shape), sensor.seed)
    grain = grain + sensor.grain * (2.0 * blur(grain, (0.34, 0.33)) - grain)
    image = image + grain * sensor.noise * (0.6 + 0.8 * (1.0 - image.clamp(0, 1)))
    image = image + sensor.sharpening * (image - blur(image, (0.5, 0.25)))
    image = torch.where(sensor.quality > 0, jpeg_like(image, sensor.quality), image)
    return (image.clamp(0, 1) * 255).round() / 255
