"""Decodes images: a box of the image is resized to a uint8 RGB square.

A *box* is a function from an image's `(width, height)` to `(left, top, right, bottom)` in pixels;
fractions are allowed. Images of every mode become RGB, and file name extensions are ignored.
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
  """The bytes are not a complete image; the text is the reason."""


def whole(width: int, height: int) -> Corners:
  """Returns the box of the whole image; a square result does not preserve the aspect ratio."""
  return 0.0, 0.0, float(width), float(height)


def centre(share: float) -> Box:
  """Returns the box of a centre crop with `share` of the image's short side as its side.

  224 / 256 is the usual test crop: resize the short side to 256, then crop the central 224 pixels.
  """

  def box(width: int, height: int) -> Corners:
    side = share * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side

  return box


def random_box(
  rng: np.random.Generator, area: tuple[float, float] = (0.08, 1.0), ratio: float = 4 / 3
) -> Box:
  """Returns the box of a random resized crop, as torchvision's RandomResizedCrop draws it.

  The share of the image's area is uniform over `area`, the aspect ratio log-uniform over 1/`ratio`
  .. `ratio`, the position uniform. The result is the first of ten draws that fits, or else the
  largest centred box with an aspect ratio in the bounds.

  Reference: Szegedy et al., Going Deeper with Convolutions, arXiv:1409.4842.
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
  """Decodes an image of any format and mode that Pillow supports to RGB.

  ImageNet and photo folders contain CMYK images, 8- and 16-bit greyscale, palettes, transparency
  (composed over white here) and PNG files with the extension .JPEG. Of an animation, the first
  frame is used.

  Args:
    encoded: the bytes of the file.
    upright: True: apply the EXIF orientation, as image viewers do. Published ImageNet results do
      not: their loaders ignore it.
    reduce: called before decoding, to request a smaller draft of an image that is not rotated.

  Raises:
    Broken: if the bytes are not a complete image.
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
      # Pillow's own conversion clips values at 255 instead of scaling them
      image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    return image if image.mode == 'RGB' else image.convert('RGB')
  except Exception as error:  # Pillow raises many exception types for broken files
    raise Broken(str(error).split('<')[0].strip() or type(error).__name__) from error


def _halved(corners: Corners, side: int) -> int:
  """Returns the largest of 8, 4, 2, 1 by which the box can shrink and still have `side` pixels."""
  room = min(corners[2] - corners[0], corners[3] - corners[1]) / side
  return next(k for k in (8, 4, 2, 1) if room >= k or k == 1)


def pillow(encoded: bytes, box: Box, side: int, upright: bool = False) -> np.ndarray:
  """Decodes and resizes a box to uint8 `[side, side, 3]`: bilinear, with antialiasing.

  If the box is at least twice as large as the square, a JPEG is decoded at 1/2, 1/4 or 1/8 of its
  size. A decoded pixel is then exactly 2 x 2 (4 x 4, 8 x 8) original pixels, so the box stays
  aligned.
  """
  corners, by = None, 1

  def reduce(image: Image.Image) -> None:
    nonlocal corners, by
    width, height = image.size
    corners = box(width, height)
    by = _halved(corners, side)
    # formats other than JPEG have no draft, so the image has its full size
    if by > 1 and image.draft(None, (width // by, height // by)) is None:
      by = 1

  image = rgb(encoded, upright, reduce)
  left, top, right, bottom = corners or box(*image.size)
  scaled = image.resize(
    (side, side), Image.Resampling.BILINEAR, box=(left / by, top / by, right / by, bottom / by)
  )
  return np.asarray(scaled)


def shrink(encoded: bytes, short: int, quality: int = 95) -> bytes:
  """Returns a JPEG with a short side of `short` pixels, or the same bytes if it is not longer.

  Raises:
    Broken: if the bytes are not a complete image.
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
  """Returns True if the EXIF orientation of an image is not the default."""
  with Image.open(io.BytesIO(encoded)) as image:
    return image.getexif().get(ORIENTATION, 1) != 1


def _fast() -> Decoder:
  """Returns the decoder of the extra `fast`, which passes formats other than JPEG to Pillow.

  It decodes a JPEG at a reduced size where possible and filters less. Pixels differ from Pillow's
  by about 3 of 255 on average, so training and testing should use the same decoder.
  """
  try:
    import cv2
    import simplejpeg
  except ImportError as error:
    raise UserError(
      "--config.data.decoder=fast needs simplejpeg and OpenCV: pip install 'fass-jax[fast]'."
    ) from error

  cv2.setNumThreads(0)  # the caller decodes in several threads already

  def fast(encoded: bytes, box: Box, side: int, upright: bool = False) -> np.ndarray:
    corners = None
    try:
      height, width = simplejpeg.decode_jpeg_header(encoded)[:2]
      if upright and _turned(encoded):
        return pillow(encoded, box, side, upright)
      corners = box(width, height)
      by = _halved(corners, side)
      # only reductions by 2, 4, 8: sizes in between decode more slowly than the full size
      least = {'min_width': -(-width // by), 'min_height': -(-height // by)} if by > 1 else {}
      image: Any = simplejpeg.decode_jpeg(encoded, 'RGB', fastdct=True, fastupsample=True, **least)
    except ValueError:
      # reuse the corners: a random box must be drawn only once
      return pillow(encoded, (lambda *size: corners) if corners else box, side, upright)
    left, top, right, bottom = (c / by for c in corners)
    across, down = (right - left) / side, (bottom - top) / side
    if any(c % 1 for c in (left, top, right, bottom)):
      # the centre of pixel 0 of the square is half a step inside the box
      place = [[across, 0, left + across / 2 - 0.5], [0, down, top + down / 2 - 0.5]]
      how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
      return cv2.warpAffine(
        image, np.array(place), (side, side), flags=how, borderMode=cv2.BORDER_REPLICATE
      )
    # average for reductions by more than 1.5, similar to Pillow's antialiasing
    way = cv2.INTER_AREA if min(across, down) > 1.5 else cv2.INTER_LINEAR
    part = image[int(top) : int(bottom), int(left) : int(right)]
    return cv2.resize(part, (side, side), interpolation=way)

  return fast


DECODERS: dict[str, Callable[[], Decoder]] = {'pillow': lambda: pillow, 'fast': _fast}


def decoder(name: str, pictures: Pictures) -> Decoder:
  """Returns a decoder by name, with `upright` set for these pictures.

  An attribute `upright` of the pictures requests the EXIF orientation: image folders have it,
  ImageNet does not, see `rgb`.

  Raises:
    UserError: if the name is unknown or the decoder's packages are missing.
  """
  decode = pick(DECODERS, name, 'data.decoder')()
  return functools.partial(decode, upright=bool(getattr(pictures, 'upright', False)))
