"""Draws synthetic faces with CelebA's 40 attributes, for experiments without CelebA itself.

Each label changes one part of the picture.  Most cues are graded and overlap (a nose is more or less big), and pose,
light, tint, background and sensor noise vary, so that a network can learn the labels but stays unsure about some of
them, above all about black and brown hair.

>>> from lie_ref.images.labels import sample_attributes
>>> labels = sample_attributes(2, seed=0)
>>> labels.shape, draw_face(labels[1], seed=0, index=1).shape
((2, 40), (64, 64, 3))
"""

import colorsys
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFilter

from .labels import ATTRIBUTES

# Lengths are in 64ths of the picture's side, from its centre, x to the right and y down. Colours are RGB, 0 to 255.

_OVERSAMPLING = 4
_SPREAD = 0.34  # standard deviation of a graded cue, whose mean is 0 without and 1 with the attribute
_SHADE_NAMES = ("Black_Hair", "Brown_Hair", "Blond_Hair")  # shades 0, 1 and 2
_SHADES = np.array([[26.0, 22, 24], [88, 56, 36], [216, 174, 104]])
_SHADE_SPREAD = 0.36  # standard deviation of the shade of hair of one colour
_CHANCES = (
    *("skin", "hair_shade", "hair_length", "hair_phase", "other_hair", "iris", "shadow_hue", "tie_hue", "hat_hue"),
    *("clothes_hue", "clothes_value", "wall", "glasses", "shift_x", "shift_y", "scale", "tilt", "gain"),
    *("light_x", "light_y"),
)
_CIRCLE = np.stack([np.sin(np.linspace(0, 2 * np.pi, 24)), -np.cos(np.linspace(0, 2 * np.pi, 24))], axis=1)
_RAMP = np.linspace(-1, 1, 9)
_SIDES = (-1, 1)


def _colour(hue: float, saturation: float, value: float) -> np.ndarray:
    return 255 * np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def _mix(first: np.ndarray, second: ArrayLike, share: float) -> np.ndarray:
    """`first` moved towards `second` by a share between 0 and 1 (clipped)."""
    return first + (np.asarray(second) - first) * min(max(share, 0.0), 1.0)


def _rgba(colour: np.ndarray, alpha: float) -> tuple[int, int, int, int]:
    """Pillow's form of a colour with alpha in [0, 1]: integers clipped to 0 ... 255."""
    red, green, blue = (min(max(int(value), 0), 255) for value in colour)
    return red, green, blue, min(max(int(255 * alpha), 0), 255)


@dataclass(frozen=True)
class _Canvas:
    """A picture to draw on: `pose` (2, 3) maps points (n, 2) in the coordinates of the face to pixels."""

    draw: ImageDraw.ImageDraw
    pose: np.ndarray

    def _pixels(self, points: ArrayLike) -> list[float]:
        return (np.asarray(points) @ self.pose[:, :2].T + self.pose[:, 2]).ravel().tolist()

    def polygon(self, points: ArrayLike, colour: np.ndarray, alpha: float = 1.0) -> None:
        self.draw.polygon(self._pixels(points), fill=_rgba(colour, alpha))

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: np.ndarray, alpha: float = 1.0) -> None:
        self.polygon(_CIRCLE * (rx, ry) + (x, y), colour, alpha)

    def line(self, points: ArrayLike, width: float, colour: np.ndarray, alpha: float = 1.0) -> None:
        pixels = max(1, round(width * float(np.hypot(*self.pose[:, 0]))))
        self.draw.line(self._pixels(points), fill=_rgba(colour, alpha), width=pixels, joint="curve")

    def arc(self, x: float, y: float, rx: float, ry: float, width: float, colour: np.ndarray, alpha: float = 1) -> None:
        """The parabola from (x - rx, y) to (x + rx, y) through (x, y + ry); y points down."""
        self.line(np.stack([x + rx * _RAMP, y + ry * (1 - _RAMP**2)], axis=1), width, colour, alpha)


class _Face:
    """What the parts of one face share: its labels, graded cues, random numbers and the measures derived from them."""

    def __init__(self, attributes: np.ndarray, rng: np.random.Generator, ambiguity: float) -> None:
        # All random numbers are drawn here, whatever the labels are, so that a label changes only its own cue.
        graded = attributes + np.clip(_SPREAD * rng.standard_normal(len(ATTRIBUTES)), -0.7, 0.7)
        self.has = dict(zip(ATTRIBUTES, attributes.astype(bool).tolist(), strict=True))
        self.level = dict(zip(ATTRIBUTES, graded.tolist(), strict=True))
        self.chance = dict(zip(_CHANCES, rng.random(len(_CHANCES)).tolist(), strict=True))
        self.speckles = rng.random((48, 3))
        level, chance = self.level, self.chance
        dark, light = np.array([134.0, 88, 62]), np.array([246.0, 204, 170])
        self.skin = _mix(_mix(dark, light, chance["skin"] ** 0.6), (255, 243, 238), 0.85 * level["Pale_Skin"])
        self.shadow = self.skin * (0.72, 0.66, 0.64)
        self.hair = _hair_colours(self, ambiguity)
        self.width = 13.2 + 3 * level["Chubby"] + 0.6 * level["Male"] - 1.3 * level["Oval_Face"]
        self.chin = 14 + 2.8 * level["Oval_Face"]
        self.jaw = 0.95 - 0.22 * level["Male"] + 0.35 * level["Oval_Face"] - 0.15 * level["Chubby"]

    def outline(self, scale: float = 1.0) -> np.ndarray:
        """The contour of the head (points, 2); `jaw` below 1 makes the lower half square, above 1 pointed."""
        sine, height = _CIRCLE[:, 0], _CIRCLE[:, 1]
        x = np.sign(sine) * np.abs(sine) ** np.where(height > 0, self.jaw, 0.9) * self.width
        return np.stack([x, np.where(height > 0, (self.chin + 4) * height, 17 * height)], axis=1) * scale + (0, -4)


def _hair_colours(face: _Face, ambiguity: float) -> list[np.ndarray]:
    """The colours of the hair: one for each hair label that is set; without any, almost black or auburn."""
    offset = ambiguity * _SHADE_SPREAD * NormalDist().inv_cdf(0.001 + 0.998 * face.chance["hair_shade"])

    def natural(shade: float) -> np.ndarray:
        return np.array([np.interp(shade + offset, range(3), channel) for channel in _SHADES.T])

    colours = [natural(shade) for shade, name in enumerate(_SHADE_NAMES) if face.has[name]]
    if face.has["Gray_Hair"]:
        colours.append(_mix(np.full(3, 178.0), (90, 90, 96), 0.4 + offset))
    return colours or [natural(0.4) if face.chance["other_hair"] < 0.35 else _mix(natural(1.5), (160, 64, 36), 0.6)]


def _draw_background(face: _Face, canvas: _Canvas) -> None:
    """A plain wall in a quiet colour, and a lighter disc on it."""
    wall = _colour(face.chance["wall"], 0.16, 0.88)
    canvas.ellipse(0, 0, 90, 90, wall)
    canvas.ellipse(0, -3, 30, 30, _mix(wall, (255, 255, 255), 0.4))


def _draw_hair_behind(face: _Face, canvas: _Canvas) -> None:
    """The hair behind the face and its strands: long or short; wavy, straight or neither."""
    colour, level = face.hair[0], face.level
    if face.has["Bald"]:
        for side in _SIDES:
            canvas.ellipse(side * face.width, -3, 2.2, 5, colour, 0.8)
        return
    length = 22.0 - 24 * level["Male"] + 16 * (face.chance["hair_length"] - 0.5)
    wave = 2.2 * level["Wavy_Hair"] if face.has["Wavy_Hair"] else 0.0
    across = face.width + 3.4
    phase = 2 * np.pi * face.chance["hair_phase"]
    top = np.linspace(-np.pi / 2, np.pi / 2, 49)
    radius = 1 + 0.03 * wave * np.sin(14 * top + phase)
    cap = np.stack([across * radius * np.sin(top), -5 - 20 * radius * np.cos(top)], axis=1)
    down = np.linspace(-5, max(length, 0), 17)
    edge = across + wave * np.sin(0.75 * down + phase)
    canvas.polygon(np.concatenate([cap, np.stack([edge, down], 1), np.stack([-edge, down], 1)[::-1]]), colour)
    _draw_strands(face, canvas, across, down, wave, phase)


def _draw_strands(face: _Face, canvas: _Canvas, across: float, down: np.ndarray, wave: float, phase: float) -> None:
    """Strands on both sides, sleek for straight hair and curled for wavy hair; further hair colours are streaks."""
    shine = _mix(face.hair[0], (255, 255, 255), 0.3)
    colours = [*face.hair[1:], shine] if face.has["Straight_Hair"] or wave else face.hair[1:]
    for side in _SIDES:
        for k, colour in enumerate(colours * (3 if len(colours) == 1 else 2)):
            x = side * (across - 1.2 - 1.5 * k) + wave * np.sin(0.75 * down + phase)
            canvas.line(np.stack([x, down], axis=1), 0.8, colour, 0.9 if k < len(face.hair) - 1 else 0.6)


def _draw_body(face: _Face, canvas: _Canvas) -> None:
    """Neck, shoulders and what is worn on them."""
    male = face.level["Male"]
    neck = 6.6 + 2.4 * male + 1.2 * face.level["Double_Chin"]
    clothes = _colour(face.chance["clothes_hue"], 0.45, 0.35 + 0.45 * face.chance["clothes_value"])
    wide = 24 + 6 * male
    canvas.polygon([(-wide - 12, 48), (-wide, 27), (-neck, 21), (neck, 21), (wide, 27), (wide + 12, 48)], clothes)
    canvas.polygon([(-neck, 4), (neck, 4), (neck + 1, 22), (0, 27), (-neck - 1, 22)], 0.88 * face.skin)
    if face.has["Double_Chin"]:
        canvas.ellipse(0, face.chin + 1.2, 9, 5, face.shadow)
        canvas.ellipse(0, face.chin - 0.4, 9, 4.6, 0.95 * face.skin)
    if face.has["Wearing_Necklace"]:
        bright = _mix(_colour(0.13, 0.35, 1), (255, 255, 255), face.chance["glasses"])
        for x in np.linspace(-neck, neck, 9):
            canvas.ellipse(x, 24.5 - 5 * (x / neck) ** 2, 1.0, 1.0, bright)
    if face.has["Wearing_Necktie"]:
        white = np.full(3, 240.0)
        canvas.polygon([(-neck - 2, 19), (0, 25), (neck + 2, 19), (5, 40), (-5, 40)], white)
        tie = _colour(face.chance["tie_hue"], 0.8, 0.6)
        canvas.polygon([(-2.2, 23), (2.2, 23), (1.4, 26), (4, 44), (-4, 44), (-1.4, 26)], tie)


def _draw_head(face: _Face, canvas: _Canvas) -> None:
    """Ears and the shape of the head, then the skin: one side in shadow, blemishes, cheekbones, blush."""
    for side in _SIDES:
        canvas.ellipse(side * face.width, 0, 2.2, 4, 0.9 * face.skin)
        if face.has["Wearing_Earrings"]:
            canvas.ellipse(side * (face.width + 0.8), 6.2, 1.5, 2.2, _mix(_colour(0.12, 0.6, 1), (255, 255, 255), 0.3))
    outline = face.outline()
    canvas.polygon(outline, face.skin)
    dark_side = 1 if face.chance["light_x"] < 0.5 else -1
    canvas.polygon(outline * np.where(outline[:, :1] * dark_side > 0, 1.0, 0.0), face.shadow, 0.1)
    for x, y, _ in face.speckles[:16]:  # freckles
        canvas.ellipse(20 * x - 10, 1 + 4 * y, 0.55, 0.55, face.shadow, 0.8 - 0.8 * face.level["Attractive"])
    for side in _SIDES:
        high, rosy = face.level["High_Cheekbones"], face.level["Rosy_Cheeks"]
        canvas.ellipse(side * 8.4, 4.4, 3.4, 3.0, np.array([242.0, 120, 116]), 0.7 * (rosy - 0.1))
        light = _mix(face.skin, (255, 255, 255), 0.4)
        canvas.polygon([(side * x, y) for x, y in ((5.6, 2.2), (8.5, 0.9), (11.6, 0.2), (9.2, 2.9))], light, 0.9 * high)
        canvas.polygon([(side * x, y) for x, y in ((12.4, 3.2), (7.4, 8.8), (9.6, 9.6))], face.shadow, 0.5 * high)


def _draw_age(face: _Face, canvas: _Canvas) -> None:
    """Wrinkles on the forehead and from nose to mouth; the less young the face, the deeper."""
    depth = 0.85 * (1 - face.level["Young"])
    line = 0.8 * face.shadow
    for y in (-13.0, -10.8):
        canvas.arc(0, y, 6.5, -0.5, 0.7, line, depth)
    for side in _SIDES:
        canvas.line([(side * 3.6, 3.5), (side * 5.8, 6), (side * 7, 10)], 0.9, line, depth)
        for y in (-4.4, -3.0, -1.6):  # crow's feet
            canvas.line([(side * 9.4, -3 + 0.4 * (y + 3)), (side * 11.2, y)], 0.6, line, depth)


def _draw_eyes(face: _Face, canvas: _Canvas) -> None:
    """Wide or narrow eyes, with make-up above and bags below them."""
    level = face.level
    open_by = 2.2 - 1.3 * level["Narrow_Eyes"] + 0.15 * level["Attractive"]
    iris = _mix(_colour(0.07 + 0.5 * (face.chance["iris"] > 0.6), 0.6, 0.35), (20, 20, 20), face.chance["iris"])
    lid = _mix(face.shadow, (20, 10, 15), 0.4 + 0.6 * level["Heavy_Makeup"])
    for side in _SIDES:
        x, y = side * 5.8, -3 + 0.5 * side * (1 - level["Attractive"])
        shadow_colour = _colour(0.7 + 0.25 * face.chance["shadow_hue"], 0.6, 0.45)
        canvas.ellipse(x, y - 1.6, 3.9, 2.6, shadow_colour, 0.75 * level["Heavy_Makeup"])
        canvas.arc(x, y + 2.6, 3.0, 1.5, 1.3, np.array([90.0, 50, 70]), 0.8 * level["Bags_Under_Eyes"])
        canvas.ellipse(x, y, 3.1, open_by, np.array([240.0, 238, 235]))
        canvas.ellipse(x, y, min(1.6, open_by + 0.3), min(1.6, open_by), iris)
        canvas.ellipse(x + 0.5, y - 0.5, 0.45, min(0.45, 0.3 * open_by), np.full(3, 255.0))
        canvas.arc(x, y - 0.1, 3.2, -open_by, 0.7 + 0.5 * level["Heavy_Makeup"], lid)


def _draw_brows(face: _Face, canvas: _Canvas) -> None:
    """Arched or flat, thin or bushy; a man's are lower and a little heavier."""
    level = face.level
    thick = max(0.6, 0.9 + 1.5 * level["Bushy_Eyebrows"] + 0.3 * level["Male"])
    y = -7.2 + 0.6 * level["Male"]
    peak = 0.3 + 2.6 * level["Arched_Eyebrows"]
    colour = _mix(face.hair[0], (40, 28, 24), 0.6)
    for side in _SIDES:
        points = np.array([(2.6, y), (4.4, y - 0.8 * peak), (6.4, y - peak), (8.2, y - 0.5 * peak), (9.6, y + 0.8)])
        points = points * (side, 1)
        canvas.line(points, thick, colour, 0.9)


def _draw_nose(face: _Face, canvas: _Canvas) -> None:
    """Big: wide and long; pointy: a narrow ridge with a bright, sharp tip instead of a round one."""
    big, pointy = face.level["Big_Nose"], face.level["Pointy_Nose"]
    wide, tip = 2.0 + 2.5 * big - 0.3 * pointy, 3.8 + 0.8 * big
    canvas.line([(-1.2, -3), (-0.7 * wide, tip - 1.2)], 0.7, face.shadow, 0.6)
    canvas.ellipse(0, tip, wide, 1.3 + 0.4 * big, 0.85 * face.skin)
    light = _mix(face.skin, (255, 255, 255), 0.6)
    canvas.polygon([(-0.8, -4), (0.8, -4), (1.2, tip + 0.6), (0, tip + 2.2), (-1.2, tip + 0.6)], light, 0.9 * pointy)
    for side in _SIDES:
        canvas.ellipse(side * 0.55 * wide, tip + 0.7, 0.75, 0.5, 0.4 * face.skin)


def _draw_mouth(face: _Face, canvas: _Canvas) -> None:
    """Open or closed lips whose corners rise in a smile."""
    level = face.level
    smile, big = level["Smiling"], level["Big_Lips"]
    wide, lip = 4.2 + 2.0 * smile, 1.1 + 0.9 * big
    gap = 1.7 * max(level["Mouth_Slightly_Open"] - 0.25, 0)
    x = wide * _RAMP
    middle = 9.3 + 0.8 * smile + (0.2 - 3.1 * smile) * _RAMP**2 + 0.25 * (1 - level["Attractive"]) * _RAMP
    swell = np.sqrt(np.maximum(1 - _RAMP**2, 0))
    red = _mix(_mix(face.skin, (170, 70, 75), 0.5), (205, 20, 50), 0.9 * level["Wearing_Lipstick"])

    def band(above: float, below: float, colour: np.ndarray) -> None:
        upper, lower = np.stack([x, middle - above * swell], 1), np.stack([x, middle + below * swell], 1)
        canvas.polygon(np.concatenate([upper, lower[::-1]]), colour)

    band(lip + gap / 2, 1.2 * lip + gap, red)
    band(max(gap / 2, 0.2), max(gap, 0.2), np.array([60.0, 15, 20]))
    if gap > 0.4:
        band(gap / 2, 0.2 * gap, np.array([245.0, 242, 235]))


def _draw_beard(face: _Face, canvas: _Canvas) -> None:
    """Stubble, a beard along the jaw, sideburns, a goatee and a moustache, independently of each other."""
    has, level = face.has, face.level
    colour = _mix(face.hair[0], (30, 24, 22), 0.45)
    outline = face.outline()
    lower = outline[outline[:, 1] > 3]
    inner = lower * (0.72, 0.78) + (0, 0.5)
    if has["5_o_Clock_Shadow"]:
        canvas.polygon(lower, np.array([60.0, 58, 66]), 0.24 + 0.08 * level["5_o_Clock_Shadow"])
        for x, y, _ in face.speckles:
            across = (2 * x - 1) * 0.8 * face.width * (1 - 0.5 * y)
            canvas.ellipse(across, 4 + y * (face.chin - 5), 0.35, 0.35, colour, 0.5)
    if not has["No_Beard"]:
        canvas.polygon(np.concatenate([lower, inner[::-1]]), colour, 0.75 - 0.2 * level["No_Beard"])
    if has["Sideburns"]:
        for side in _SIDES:
            x = side * face.width
            canvas.polygon([(x, -9), (0.78 * x, -9), (0.72 * x, 5), (0.92 * x, 6)], colour, 0.95)
    if has["Goatee"]:
        canvas.ellipse(0, face.chin - 0.8, 4.2, 2.6, colour, 0.95)
    if has["Mustache"]:
        canvas.polygon([(-1, 5.4), (1, 5.4), (6, 7.6), (6.8, 10), (0, 8.2), (-6.8, 10), (-6, 7.6)], colour, 0.95)


def _draw_hair_in_front(face: _Face, canvas: _Canvas) -> None:
    """The hairline, which may recede at the temples, and a fringe; straight hair and a bald head have a gloss."""
    if face.has["Bald"]:
        canvas.ellipse(-3, -17, 4, 1.8, np.full(3, 255.0), 0.5)
        return
    back = 5.2 * face.level["Receding_Hairline"]
    w = face.width
    line = np.array([(-w, -5), (-0.8 * w, -11 - back), (-0.45 * w, -13.5 - 1.3 * back), (0, -14.5 - 0.5 * back)])
    line = np.concatenate([line, line[-2::-1] * (-1, 1)])
    top = face.outline(1.02)
    top = top[top[:, 1] < -6]
    crown = top[np.argsort(-top[:, 0])]
    canvas.polygon(np.concatenate([line, crown]), face.hair[0])
    if face.has["Straight_Hair"]:
        canvas.arc(0, -16.5, 9.5, -3.5, 1.6, _mix(face.hair[0], (255, 255, 255), 0.4), 0.7)
    if face.has["Bangs"]:
        x = np.linspace(-0.85 * w, 0.85 * w, 9)
        fringe = np.stack([x, -8.2 - 0.8 * (-1.0) ** np.arange(9)], axis=1)
        top = np.array([(-0.9, -11), (-0.7, -15.5), (-0.35, -18), (0.35, -18), (0.7, -15.5), (0.9, -11)]) * (w, 1)
        canvas.polygon(np.concatenate([top, fringe[::-1]]), 0.88 * face.hair[0])
        for x, y in fringe[1:-1]:
            canvas.line([(0.8 * x, -16), (x, y)], 0.5, 0.66 * face.hair[0], 0.6)


def _draw_glasses(face: _Face, canvas: _Canvas) -> None:
    """Frames with clear or, rarely, dark glass."""
    if not face.has["Eyeglasses"]:
        return
    frame = np.full(3, 25.0) if face.chance["glasses"] < 0.7 else np.array([130.0, 90, 50])
    for side in _SIDES:
        ring = np.sign(_CIRCLE) * np.abs(_CIRCLE) ** 0.6 * (4.7, 3.8) + (side * 5.9, -2.6)
        canvas.polygon(ring, np.array([20.0, 20, 30]), 0.75 if face.chance["glasses"] < 0.15 else 0.12)
        canvas.line(ring, 1.0, frame)
        canvas.line([(side * 10.5, -3.2), (side * face.width, -3.6)], 1.0, frame)
    canvas.line([(-1.4, -3.2), (1.4, -3.2)], 1.0, frame)


def _draw_hat(face: _Face, canvas: _Canvas) -> None:
    """A brim over the hairline and a crown, in a strong colour."""
    if not face.has["Wearing_Hat"]:
        return
    colour = _colour(face.chance["hat_hue"], 0.65, 0.3 + 0.6 * face.chance["clothes_value"])
    w = face.width + 3
    canvas.polygon([(-w, -12), (-0.9 * w, -24), (-0.6 * w, -31), (0.6 * w, -31), (0.9 * w, -24), (w, -12)], colour)
    canvas.ellipse(0, -12, w + 4, 2.6, 0.7 * colour)


_PARTS = (
    *(_draw_background, _draw_hair_behind, _draw_body, _draw_head, _draw_age, _draw_eyes, _draw_brows, _draw_nose),
    *(_draw_beard, _draw_mouth, _draw_hair_in_front, _draw_glasses, _draw_hat),
)


def _pose(chance: dict[str, float], pixels: int) -> np.ndarray:
    """The map (2, 3) from the face's coordinates to pixels: a small tilt, zoom and shift about the centre."""
    angle = 0.28 * (chance["tilt"] - 0.5)
    zoom = (0.99 + 0.14 * chance["scale"]) * pixels / 64
    shift = np.array([29.5 + 5 * chance["shift_x"], 29.5 + 5 * chance["shift_y"]]) * pixels / 64
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.concatenate([zoom * turn, shift[:, None]], axis=1)


def _photograph(picture: np.ndarray, chance: dict[str, float], rng: np.random.Generator) -> np.ndarray:
    """Light and camera: exposure, light from one side, a tint and sensor noise; (size, size, 3) uint8."""
    ramp = np.linspace(-1, 1, len(picture))
    slope = 0.08 * (2 * chance["light_x"] - 1) * ramp[None, :] + 0.08 * (2 * chance["light_y"] - 1) * ramp[:, None]
    gain = (0.86 + 0.2 * chance["gain"]) * rng.normal(1, 0.02, size=3) * (1 + slope[..., None])
    return np.clip(picture * gain + rng.normal(0, 2, size=picture.shape), 0, 255).astype(np.uint8)


def draw_face(attributes: np.ndarray, seed: int, index: int, size: int = 64, ambiguity: float = 1.0) -> np.ndarray:
    """The picture (size, size, 3) uint8 of face `index` of the set `seed`, with the given 40 labels of 0 or 1.

    The same arguments always give the same picture.  A label changes only its own cue: pose, light, background and
    noise depend only on (seed, index).  `ambiguity` scales how much the shade of hair deviates from that of its label:
    at 0 the colours are easy to tell apart, at 2 hardly.
    """
    rng = np.random.default_rng([seed, index])
    face = _Face(attributes, rng, ambiguity)
    image = Image.new("RGB", (size * _OVERSAMPLING,) * 2)
    canvas = _Canvas(ImageDraw.Draw(image, "RGBA"), _pose(face.chance, size * _OVERSAMPLING))
    for draw_part in _PARTS:
        draw_part(face, canvas)
    out_of_focus = max(0.0, 1.5 * face.level["Blurry"]) * size / 64
    picture = image.reduce(_OVERSAMPLING).filter(ImageFilter.GaussianBlur(out_of_focus))
    return _photograph(np.asarray(picture, dtype=np.float64), face.chance, rng)
