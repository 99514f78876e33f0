"""Encoded images to uint8 squares: one primitive, a box of the image scaled to a square.

A *box* is a function of an image's `(width, height)` to `(left, top, right, bottom)` in its pixels,
fractions allowed. Images of every mode come out as RGB, whatever their file names say they are.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from fass_jax.config.lookup import pick
from fass_jax.types import Pictures, UserError

Corners = tuple[float, float, float, float]
Box = Callable[[int, int], Corners]
# (encoded, box, side, upright) -> uint8 [side, side, 3]
Decoder = Callable[..., np.ndarray]

ORIENTATION = 0x0112  # the EXIF tag


class Broken(Exception):
  """Bytes that are no whole image; the text is the reason."""


def whole(width: int, height: int) -> Corners:
  """Returns the box of all there is; the square squeezes the longer side."""
  return 0.0, 0.0, float(width), float(height)


def centre(share: float) -> Box:
  """Returns the box of the square in the middle whose side is a share of the short side.

  224 / 256 is the test view of the field: short side to 256, then the middle 224.
  """

  def box(width: int, height: int) -> Corners:
    side = share * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side

  return box


def random_box(
  rng: np.random.Generator, area: tuple[float, float] = (0.08, 1.0), ratio: float = 4 / 3
) -> Box:
  """Returns the box of a random resized crop.

  A share of the image's area uniform over `area`, and a ratio of its sides log-uniform over
  1/`ratio` .. `ratio`, at a uniform place; after ten tries that do not fit, the largest box in the
  middle with a ratio inside the bounds. As torchvision's RandomResizedCrop draws it.

  Reference: Szegedy et al., CVPR 2015.
  """

  def box(width: int, height: int) -> Corners:
    edge = math.log(ratio)
    for _ in range(10):
      size = width * height * rng.uniform(*area)
      aspect = math.exp(rng.uniform(-edge, edge))
      w, h = round(math.sqrt(size * aspect)), round(math.sqrt(size / aspect))
      if 0 < w <= width and 0 < h <= height:
        y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        return float(x), float(y), float(x + w), float(y + h)
    w, h = min(width, round(height * ratio)), min(height, round(width * ratio))
    left, top = (width - w) // 2, (height - h) // 2
    return float(left), float(top), float(left + w), float(top + h)

  return box


def rgb(
  encoded: bytes, upright: bool = False, reduce: Callable[[Image.Image], None] | None = None
) -> Image.Image:
  """Decodes an image of any format and mode that Pillow knows, to RGB.

  CMYK and greyscale of 8 or 16 bits, palettes, transparency (over white) and PNG files that are
  named .JPEG are all met in ImageNet or in people's folders. Of an animation, the first picture.

  Args:
    encoded: the bytes of the file.
    upright: turned as the camera's note in the file (EXIF) says, as every viewer shows a photo
      from a phone. The published ImageNet results were got without: their loaders ignore it.
    reduce: may ask an image that stays as it lies for a smaller draft, before it is decoded.

  Raises:
    Broken: if it is no image, or a part of one.
  """
  try:
    image: Image.Image = Image.open(io.BytesIO(encoded))
    turned = upright and image.getexif().get(ORIENTATION, 1) != 1
    if reduce is not None and not turned:
      reduce(image)
    image.load()
    if turned:
      image = ImageOps.exif_transpose(image)
    if image.mode in ('RGBA', 'LA', 'PA') or 'transparency' in image.info:
      over = image.convert('RGBA')
      image = Image.new('RGBA', over.size, 'white')
      image.alpha_composite(over)
    elif image.mode == 'I' or image.mode.startswith('I;16'):
      # Pillow's own conversion cuts off at 255 instead of scaling
      image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    return image if image.mode == 'RGB' else image.convert('RGB')
  except Exception as error:  # Pillow raises many kinds for broken files
    raise Broken(str(error).split('<')[0].strip() or type(error).__name__) from error


def _halved(corners: Corners, side: int) -> int:
  """Returns 8, 4, 2 or 1: by so much may an image shrink and its box still cover the square."""
  room = min(corners[2] - corners[0], corners[3] - corners[1]) / side
  return next(k for k in (8, 4, 2, 1) if room >= k or k == 1)


def pillow(encoded: bytes, box: Box, side: int, upright: bool = False) -> np.ndarray:
  """Decodes and scales a box to uint8 `[side, side, 3]`: bilinear, with antialiasing.

  A JPEG is decoded at half its size, or less, where the box is twice as large as the square: one of
  its pixels is then exactly 2 x 2 of the whole, so the box stays where it is.
  """
  corners, by = None, 1

  def reduce(image: Image.Image) -> None:
    nonlocal corners, by
    width, height = image.size
    corners = box(width, height)
    by = _halved(corners, side)
    # what is no JPEG has no draft and keeps its size
    if by > 1 and image.draft(None, (width // by, height // by)) is None:
      by = 1

  image = rgb(encoded, upright, reduce)
  left, top, right, bottom = corners or box(*image.size)
  scaled = image.resize(
    (side, side), Image.Resampling.BILINEAR, box=(left / by, top / by, right / by, bottom / by)
  )
  return np.asarray(scaled)


def shrink(encoded: bytes, short: int, quality: int = 95) -> bytes:
  """Returns a JPEG whose short side is `short`, or the same bytes if it is no longer than that.

  Raises:
    Broken: if it is no image, or a part of one.
  """
  image = rgb(encoded)
  scale = short / min(image.size)
  if scale >= 1:
    return encoded
  width, height = (max(short, round(scale * n)) for n in image.size)
  out = io.BytesIO()
  image.resize((width, height), Image.Resampling.BILINEAR).save(out, 'JPEG', quality=quality)
  return out.getvalue()


def _turned(encoded: bytes) -> bool:
  """Whether the camera's note in a whole image says that it lies on its side."""
  with Image.open(io.BytesIO(encoded)) as image:
    return image.getexif().get(ORIENTATION, 1) != 1


def _fast() -> Decoder:
  """Returns the decoder of the extra `fast`; what is no JPEG goes to Pillow.

  Decodes no more of a JPEG than the square needs and filters less: pixels differ from Pillow's by
  about 3 of 255 in the mean, so train and test with one of the two.
  """
  try:
    import cv2
    import simplejpeg
  except ImportError as error:
    raise UserError(
      "--config.data.decoder=fast needs simplejpeg and OpenCV: pip install 'fass-jax[fast]'."
    ) from error

  cv2.setNumThreads(0)  # the threads are ours

  def fast(encoded: bytes, box: Box, side: int, upright: bool = False) -> np.ndarray:
    corners = None
    try:
      height, width = simplejpeg.decode_jpeg_header(encoded)[:2]
      if upright and _turned(encoded):
        return pillow(encoded, box, side, upright)
      corners = box(width, height)
      by = _halved(corners, side)
      # sizes between the halves would be slower to decode than the whole
      least = {'min_width': -(-width // by), 'min_height': -(-height // by)} if by > 1 else {}
      image: Any = simplejpeg.decode_jpeg(encoded, 'RGB', fastdct=True, fastupsample=True, **least)
    except ValueError:
      # a random box may be drawn once only
      return pillow(encoded, (lambda *size: corners) if corners else box, side, upright)
    left, top, right, bottom = (c / by for c in corners)
    across, down = (right - left) / side, (bottom - top) / side
    if any(c % 1 for c in (left, top, right, bottom)):
      # pixel 0 of the square has its centre half a step inside the box
      place = [[across, 0, left + across / 2 - 0.5], [0, down, top + down / 2 - 0.5]]
      how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
      return cv2.warpAffine(
        image, np.array(place), (side, side), flags=how, borderMode=cv2.BORDER_REPLICATE
      )
    # averages where much is left to shrink, as Pillow's antialiasing does in its own way
    way = cv2.INTER_AREA if min(across, down) > 1.5 else cv2.INTER_LINEAR
    part = image[int(top) : int(bottom), int(left) : int(right)]
    return cv2.resize(part, (side, side), interpolation=way)

  return fast


DECODERS: dict[str, Callable[[], Decoder]] = {'pillow': lambda: pillow, 'fast': _fast}


def decoder(name: str, pictures: Pictures) -> Decoder:
  """Returns a decoder by name, bound to whether these pictures are to be turned upright.

  `Pictures` that want it have an attribute `upright`: people's folders do, ImageNet does not, see
  `rgb`.

  Raises:
    UserError: for an unknown name, or a decoder whose packages are missing.
  """
  decode = pick(DECODERS, name, 'data.decoder')()
  return functools.partial(decode, upright=bool(getattr(pictures, 'upright', False)))
