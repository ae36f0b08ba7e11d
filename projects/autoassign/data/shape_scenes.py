"""Draws the quick-start dataset's images: shapes of six classes before a textured background."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["CLASS_NAMES", "IMAGE_SIZE", "SceneObject", "draw_scene"]

IMAGE_SIZE = 160  # pixels, both sides
MIN_SIDE, MAX_SIDE = 20, 100  # pixels, longest side of an object's box
MAX_OBJECTS = 6
# How much of an object later ones may hide. The box of what stays visible is bounded too: a
# lollipop without its stick or a bracket without one arm would be an object of another class.
MIN_VISIBLE_AREA = 0.95
MIN_VISIBLE_BOX = 0.95
PLACEMENT_TRIES = 12
SUPERSAMPLING = 4
# Least distance in BGR space (0-255 each) between an object's colors and what lies beneath it.
MIN_CONTRAST = 120.0


@dataclass
class SceneObject:
    """One drawn object.

    Attributes:
        category: index into ``CLASS_NAMES``.
        mask: (IMAGE_SIZE, IMAGE_SIZE) bool, the pixels the object covers.
        visible: the same without the pixels that later objects cover.
    """

    category: int
    mask: np.ndarray
    visible: np.ndarray

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The tight box (x, y, width, height), in pixels, of the visible part."""
        return _tight_box(self.visible)

    def stays_recognizable(self, visible: np.ndarray) -> bool:
        """Whether enough of the object is left where only ``visible`` of it is to be seen."""
        if visible.sum() < MIN_VISIBLE_AREA * self.mask.sum():
            return False
        width, height = _tight_box(visible)[2:]
        full_width, full_height = _tight_box(self.mask)[2:]
        return (
            width * height >= MIN_VISIBLE_BOX * full_width * full_height
            and max(width, height) >= MIN_SIDE
        )


def draw_scene(rng: np.random.Generator) -> tuple[np.ndarray, list[SceneObject]]:
    """Draw one image with 1 to 6 objects.

    Args:
        rng: the only source of randomness.

    Returns:
        The image, (IMAGE_SIZE, IMAGE_SIZE, 3) uint8 in BGR, and its objects from back to front.
    """
    canvas = _background(rng)
    objects: list[SceneObject] = []
    for _ in range(rng.integers(1, MAX_OBJECTS + 1)):
        _add_object(rng, canvas, objects)
    canvas += rng.normal(0, rng.uniform(3, 10), canvas.shape)
    return np.clip(canvas, 0, 255).astype(np.uint8), objects


def _add_object(rng: np.random.Generator, canvas: np.ndarray, objects: list[SceneObject]) -> None:
    """Draw one more object where it hides none of the others too much, if such a place is found."""
    category = int(rng.integers(len(CLASS_NAMES)))
    for _ in range(PLACEMENT_TRIES):
        alpha = _coverage(_place(rng, _OUTLINES[CLASS_NAMES[category]](rng)))
        mask = alpha >= 0.5
        still_visible = [o.visible & ~mask for o in objects]
        if all(o.stays_recognizable(v) for o, v in zip(objects, still_visible, strict=True)):
            break
    else:
        return
    for other, visible in zip(objects, still_visible, strict=True):
        other.visible = visible
    objects.append(SceneObject(category, mask, mask))
    x, y, width, height = _tight_box(alpha > 0)
    beneath = canvas[y : y + height, x : x + width]  # a view: the object is drawn into the canvas
    alpha = alpha[y : y + height, x : x + width, None]
    mean_beneath = (alpha * beneath).sum((0, 1)) / alpha.sum()
    texture = _texture(rng, height, width, _object_colors(rng, mean_beneath))
    beneath += alpha * (texture - beneath)


# Shapes: closed outlines, (K, 2) points in arbitrary units with y downwards. Areas inside an even
# number of a shape's outlines are holes.


def _arc(radius: float, start: float, end: float, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Points on a circle around (x, y), from the angle ``start`` to ``end`` in radians."""
    angles = np.linspace(start, end, 64)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)


def _disc(rng: np.random.Generator) -> list[np.ndarray]:
    squeeze = [1.0, rng.uniform(0.85, 1.0)]
    return _rotate([_arc(1.0, 0, 2 * math.pi) * squeeze], rng.uniform(0, math.pi))


def _ring(rng: np.random.Generator) -> list[np.ndarray]:
    hole = rng.uniform(0.45, 0.72)
    squeeze = [1.0, rng.uniform(0.85, 1.0)]
    outlines = [_arc(radius, 0, 2 * math.pi) * squeeze for radius in (1.0, hole)]
    return _rotate(outlines, rng.uniform(0, math.pi))


def _bar(rng: np.random.Generator) -> list[np.ndarray]:
    half_width = rng.uniform(0.22, 0.4)
    corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * [1.0, half_width]
    return _rotate([corners], rng.uniform(0, math.pi))


def _crescent(rng: np.random.Generator) -> list[np.ndarray]:
    # The unit circle less a circle of radius r around (d, 0); the two cross at x = cross_x.
    r, d = rng.uniform(0.7, 0.9), rng.uniform(0.45, 0.65)
    cross_x = (1 + d * d - r * r) / (2 * d)
    outer = math.acos(cross_x)
    inner = math.acos((cross_x - d) / r)
    outline = np.concatenate(
        [_arc(1.0, outer, 2 * math.pi - outer), _arc(r, 2 * math.pi - inner, inner, x=d)]
    )
    return _rotate([outline], rng.uniform(0, 2 * math.pi))


def _lollipop(rng: np.random.Generator) -> list[np.ndarray]:
    # A unit disc that is open below, where the stick's two sides go down from.
    stick_end, half_width = rng.uniform(2.6, 3.4), rng.uniform(0.2, 0.3)
    opening = math.asin(half_width)
    disc = _arc(1.0, math.pi / 2 + opening, 2.5 * math.pi - opening)
    stick = np.array([[half_width, stick_end], [-half_width, stick_end]])
    return _rotate([np.concatenate([disc, stick])], rng.uniform(-0.2, 0.2))


def _bracket(rng: np.random.Generator) -> list[np.ndarray]:
    arm, thickness = rng.uniform(0.7, 1.0), rng.uniform(0.24, 0.36)
    outline = [[0, 0], [thickness, 0], [thickness, 1 - thickness]]
    outline += [[arm, 1 - thickness], [arm, 1], [0, 1]]
    return _rotate([np.array(outline)], rng.uniform(0, 2 * math.pi))


_OUTLINES: dict[str, Callable[[np.random.Generator], list[np.ndarray]]] = {
    "disc": _disc,
    "ring": _ring,
    "bar": _bar,
    "crescent": _crescent,
    "lollipop": _lollipop,
    "bracket": _bracket,
}
CLASS_NAMES = tuple(_OUTLINES)


def _rotate(outlines: list[np.ndarray], angle: float) -> list[np.ndarray]:
    cos, sin = math.cos(angle), math.sin(angle)
    return [points @ np.array([[cos, sin], [-sin, cos]]) for points in outlines]


def _place(rng: np.random.Generator, outlines: list[np.ndarray]) -> list[np.ndarray]:
    """Scale and move outlines to a random size and place within the image, in pixels."""
    low, high = outlines[0].min(0), outlines[0].max(0)  # the first outline is the outermost
    # A pixel is left on either side for the rounding of outlines to pixels.
    side = rng.uniform(MIN_SIDE + 1, MAX_SIDE - 1)
    scale = side / (high - low).max()
    corner = rng.uniform(0, IMAGE_SIZE - scale * (high - low))
    return [corner + scale * (points - low) for points in outlines]


def _coverage(outlines: list[np.ndarray]) -> np.ndarray:
    """The share of each pixel inside the outlines: (IMAGE_SIZE, IMAGE_SIZE) float64 in [0, 1]."""
    fine = np.zeros((IMAGE_SIZE * SUPERSAMPLING,) * 2, np.uint8)
    cv2.fillPoly(fine, [np.rint(p * SUPERSAMPLING).astype(np.int32) for p in outlines], 255)
    coarse = cv2.resize(fine, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA)
    return coarse / 255.0


def _tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, width, height


# Textures: (height, width, 3) float64 in BGR. Objects draw theirs from the same kinds and the same
# colors for all classes, so that only the outline tells the class.


def _background(rng: np.random.Generator) -> np.ndarray:
    height = width = IMAGE_SIZE
    canvas = _texture(rng, height, width, _two_colors(rng, rng.uniform(40, 215, 3)))
    canvas += rng.uniform(4, 16) * _cloud(rng, height, width, grain=rng.uniform(14, 40))[..., None]
    canvas += rng.uniform(2, 8) * _cloud(rng, height, width, grain=rng.uniform(3, 6))[..., None]
    # Hairlines: edges that belong to no object.
    for _ in range(rng.integers(0, 5)):
        points = rng.integers(0, IMAGE_SIZE, (3, 2), dtype=np.int32)
        color = canvas.mean((0, 1)) + rng.normal(0, 35, 3)
        cv2.polylines(canvas, [points], False, color.tolist())
    return canvas


def _object_colors(rng: np.random.Generator, beneath: np.ndarray) -> np.ndarray:
    """Two colors that both differ visibly from the color ``beneath``."""
    candidates = np.stack([_two_colors(rng, rng.uniform(10, 245, 3)) for _ in range(12)])
    contrasts = np.linalg.norm(candidates - beneath, axis=2).min(axis=1)
    # The first one with enough contrast, not the one with most: objects are not all glaring.
    enough = np.flatnonzero(contrasts >= MIN_CONTRAST)
    return candidates[enough[0] if len(enough) else contrasts.argmax()]


def _two_colors(rng: np.random.Generator, first: np.ndarray) -> np.ndarray:
    return np.stack([first, np.clip(first + rng.normal(0, 30, 3), 0, 255)])


def _texture(rng: np.random.Generator, height: int, width: int, colors: np.ndarray) -> np.ndarray:
    """Two colors mixed by a random pattern."""
    return colors[0] + _pattern(rng, height, width)[..., None] * (colors[1] - colors[0])


def _pattern(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Plain, a ramp, stripes, checks or a cloud: (height, width) in [0, 1]."""
    kind = rng.integers(5)
    angle, period = rng.uniform(0, 2 * math.pi), rng.uniform(5, 24)
    if kind == 0:
        return np.zeros((height, width))
    if kind == 1:
        return np.clip(0.5 + 0.5 * _cloud(rng, height, width, grain=period), 0, 1)
    y, x = np.ogrid[:height, :width]
    along = math.cos(angle) * x + math.sin(angle) * y
    across = math.cos(angle) * y - math.sin(angle) * x
    if kind == 2:
        return (along - along.min()) / np.ptp(along)
    wave = np.sin(2 * math.pi * along / period)
    if kind == 3:
        return 0.5 + 0.5 * wave
    return (wave * np.sin(2 * math.pi * across / period) > 0).astype(np.float64)


def _cloud(rng: np.random.Generator, height: int, width: int, grain: float) -> np.ndarray:
    """Smooth noise of about unit deviation, (height, width), in lumps of ``grain`` pixels."""
    noise = rng.normal(0, 1, (math.ceil(height / grain), math.ceil(width / grain)))
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
