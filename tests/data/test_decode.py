"""Encoded images to squares: boxes, formats and modes, broken files, the camera's note."""

import importlib.util
import io
import math
import zipfile

import numpy as np
import pytest
from PIL import Image

from fass_jax.data.images import decode
from fass_jax.data.images.encoded import Paths
from fass_jax.types import UserError
from tests.data import photos

# ---- boxes -------------------------------------------------------------------------------------


def torchvision_crop(rng, width, height, scale, ratio):
  """RandomResizedCrop.get_params as torchvision documents it, on NumPy's random numbers."""
  area = height * width
  log_ratio = np.log(np.array(ratio))
  for _ in range(10):
    target = area * rng.uniform(scale[0], scale[1])
    aspect = np.exp(rng.uniform(log_ratio[0], log_ratio[1]))
    w = int(round(math.sqrt(target * aspect)))
    h = int(round(math.sqrt(target / aspect)))
    if 0 < w <= width and 0 < h <= height:
      i = rng.integers(0, height - h + 1)
      j = rng.integers(0, width - w + 1)
      return i, j, h, w
  in_ratio = width / height
  if in_ratio < min(ratio):
    w = width
    h = int(round(w / min(ratio)))
  elif in_ratio > max(ratio):
    h = height
    w = int(round(h * max(ratio)))
  else:
    w, h = width, height
  return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize('size', [(500, 375), (375, 500), (64, 64), (900, 100), (80, 1000), (1, 7)])
@pytest.mark.parametrize('area', [(0.08, 1.0), (0.9, 1.0)])
def test_random_box_draws_as_torchvision(size, area):
  ours, theirs = np.random.default_rng(3), np.random.default_rng(3)
  box = decode.random_box(ours, area)
  for _ in range(300):
    top, left, h, w = torchvision_crop(theirs, *size, area, (3 / 4, 4 / 3))
    assert box(*size) == (left, top, left + w, top + h)


def test_random_box_has_the_law_that_it_names():
  """Where every box fits, the area is uniform and the log of the ratio, too; so is the place."""
  box = decode.random_box(np.random.default_rng(0), (0.1, 0.4))
  left, top, right, bottom = np.array([box(4000, 4000) for _ in range(8000)]).T
  w, h = right - left, bottom - top
  area, ratio = w * h / 4000**2, np.log(w / h) / math.log(4 / 3)
  places = left / (4000 - w), top / (4000 - h)
  # Kolmogorov-Smirnov, 0.1 % level: 1.95 / sqrt(n)
  for values, low, high in ((area, 0.1, 0.4), (ratio, -1, 1), *((p, 0, 1) for p in places)):
    grid = np.linspace(low, high, 50)
    seen = np.searchsorted(np.sort(values), grid) / len(values)
    assert np.abs(seen - (grid - low) / (high - low)).max() < 1.95 / math.sqrt(8000)
  assert abs(np.corrcoef(area, ratio)[0, 1]) < 0.04


def resize_and_crop(image):
  """Short side to 256, then the middle 224, as two steps."""
  h, w = image.shape[:2]
  size = (round(256 * w / min(h, w)), round(256 * h / min(h, w)))
  small = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
  x, y = (round((n - 224) / 2) for n in size)
  return np.asarray(small)[y : y + 224, x : x + 224].astype(int)


def test_centre_box_is_resize_256_and_crop_224():
  read = decode.centre(224 / 256)
  square = photos.photo('china.jpg')[:384, :384]
  got = decode.pillow(photos.encode(square, 'PNG'), read, 224).astype(int)
  inner = np.abs(got - resize_and_crop(square))[4:-4, 4:-4]  # a box sees nothing beyond its edge
  assert inner.max() <= 1
  # elsewhere the two steps round the size and the place: by half a pixel, not by two
  wide = photos.photo('china.jpg')[:375, :500]
  for image in (np.ascontiguousarray(wide), np.ascontiguousarray(wide.transpose(1, 0, 2))):
    got = decode.pillow(photos.encode(image, 'PNG'), read, 224).astype(int)
    want = resize_and_crop(image)
    off = np.abs(got - want).mean()
    moved = [np.abs(got - np.roll(want, k, axis)).mean() for k in (-2, 2) for axis in (0, 1)]
    assert off < 7 and off < 0.6 * min(moved)


def test_whole_box_squeezes():
  ramp = np.broadcast_to(np.linspace(0, 255, 80).astype(np.uint8)[None, :, None], (20, 80, 3))
  got = decode.pillow(photos.encode(np.ascontiguousarray(ramp), 'PNG'), decode.whole, 40)
  assert got.shape == (40, 40, 3) and got[0, 0, 0] < 5 and got[0, -1, 0] > 250
  assert np.allclose(got[0, :, 0], ramp[0].reshape(40, 2, 3).mean(1)[:, 0], atol=4)


# ---- formats and modes -------------------------------------------------------------------------


def decoded(encoded, **how):
  return np.asarray(decode.rgb(encoded, **how)).astype(int)


def test_modes_of_real_files():
  pixels = photos.crop(4)
  grey = pixels @ [0.299, 0.587, 0.114]
  assert (decoded(photos.encode(pixels, 'PNG')) == pixels).all()
  assert np.abs(decoded(photos.encode(pixels, quality=95, subsampling=0)) - pixels).mean() < 4
  assert np.abs(decoded(photos.encode(pixels, mode='CMYK', quality=95)) - pixels).mean() < 6
  assert np.abs(decoded(photos.encode(pixels, 'PNG', 'L')) - grey[..., None]).max() <= 1
  assert np.abs(decoded(photos.encode(pixels, mode='L', quality=95)) - grey[..., None]).mean() < 4
  assert np.abs(decoded(photos.encode(pixels, 'GIF', 'P')) - pixels).mean() < 40
  assert decoded(photos.encode(pixels, 'PNG', '1')).shape == pixels.shape


def test_transparency_lies_over_white():
  pixels = np.dstack([photos.crop(4), np.full(photos.crop(4).shape[:2], 255, np.uint8)])
  pixels[:5, :, 3], pixels[5:9, :, 3] = 0, 128
  out = io.BytesIO()
  Image.fromarray(pixels).save(out, 'PNG')
  got = decoded(out.getvalue())
  assert (got[:5] == 255).all() and (got[9:] == pixels[9:, :, :3]).all()
  assert np.abs(got[5:9] - (255 + pixels[5:9, :, :3].astype(int)) / 2).max() <= 2
  palette = Image.fromarray(photos.crop(4)).quantize(16)
  out = io.BytesIO()
  palette.save(out, 'PNG', transparency=0)
  assert (decoded(out.getvalue())[np.asarray(palette) == 0] == 255).all()


def test_sixteen_bits_are_scaled_not_cut_off():
  ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(8, 0)
  for form in ('PNG', 'TIFF'):
    out = io.BytesIO()
    Image.fromarray(ramp).save(out, form)
    assert (decoded(out.getvalue())[..., 1] == ramp >> 8).all()


@pytest.mark.parametrize(
  'encoded',
  [b'', b'<html>', photos.jpeg(0)[:-300], photos.jpeg(0)[:100],
   photos.encode(photos.crop(0), 'PNG')[:-500], photos.encode(photos.crop(0), 'GIF')[:900]],
  ids=['empty', 'text', 'cut', 'head', 'png', 'gif'],
)  # fmt: skip
def test_broken(encoded):
  with pytest.raises(decode.Broken) as e:
    decode.rgb(encoded)
  assert str(e.value) and '\n' not in str(e.value)
  with pytest.raises(decode.Broken):
    decode.shrink(encoded, 20)


# ---- the camera's note -------------------------------------------------------------------------


@pytest.mark.parametrize(('note', 'turns'), [(3, 2), (6, -1), (8, 1)])
@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP'])
def test_photos_are_turned_where_that_is_asked_for(note, turns, form):
  pixels = photos.crop(4)
  exif = Image.Exif()
  exif[decode.ORIENTATION] = note
  how = {'JPEG': {'quality': 95, 'subsampling': 0}, 'WEBP': {'lossless': True}}.get(form, {})
  encoded = photos.encode(pixels, form, exif=exif, **how)
  assert np.abs(decoded(encoded) - pixels).mean() < 4
  assert np.abs(decoded(encoded, upright=True) - np.rot90(pixels, turns)).mean() < 4
  square = decode.pillow(encoded, decode.whole, 30)
  for upright in (True, False):
    read = decode.decoder('pillow', Paths((), upright=upright))
    turned = np.rot90(square, turns).astype(int)
    assert (np.abs(read(encoded, decode.whole, 30) - turned).mean() < 4) == upright


def test_decoder_by_name():
  class Bare:
    """Pictures that say nothing of it are taken as they are."""

    def __len__(self):
      return 0

    def __getitem__(self, i):
      raise IndexError

    def name(self, i):
      return ''

  assert decode.decoder('pillow', Bare()).keywords == {'upright': False}
  with pytest.raises(UserError, match="no 'pilow' for --config.data.decoder; did you mean"):
    decode.decoder('pilow', Bare())


def test_shrink_keeps_what_is_small():
  small, large = photos.jpeg(2), photos.encode(photos.photo(), 'PNG')
  assert decode.shrink(small, 500) is small
  image = decode.rgb(decode.shrink(large, 100))
  assert image.size == (150, 100)  # 640 x 427
  want = np.asarray(Image.fromarray(photos.photo()).resize((150, 100), 2)).astype(int)
  assert np.abs(np.asarray(image) - want).mean() < 4


def test_the_fast_decoder():
  """It says so where its packages are missing, and else reads what Pillow reads."""
  if not all(importlib.util.find_spec(name) for name in ('simplejpeg', 'cv2')):
    with pytest.raises(UserError, match='pip install'):
      decode.decoder('fast', Paths(()))
    return
  fast = decode.decoder('fast', Paths((), upright=True))
  photo, exif = photos.photo(), Image.Exif()
  exif[decode.ORIENTATION] = 6
  boxes = decode.whole, decode.centre(0.5), lambda w, h: (10.0, 20.0, 60.0, 50.0)
  for mode in ('RGB', 'L', 'CMYK'):
    for box in boxes:
      encoded = photos.encode(photo, mode=mode, quality=95)
      near = decode.pillow(encoded, box, 64).astype(int) - fast(encoded, box, 64)
      assert np.abs(near).mean() < 5
  for encoded in (photos.encode(photo, exif=exif), photos.encode(photo, 'PNG')):
    same = decode.pillow(encoded, decode.whole, 64, upright=True)
    assert (fast(encoded, decode.whole, 64) == same).all()
  with pytest.raises(decode.Broken):
    fast(photos.encode(photo)[:-300], decode.whole, 64)


@pytest.mark.parametrize('name', ['pillow', 'fast'])
def test_a_draft_of_a_large_image_shows_the_same_box(name):
  """At a quarter, a half and a whole of its size; the box a few pixels away is another picture."""
  if name == 'fast':
    pytest.importorskip('cv2', reason="needs the extra fast: pip install 'fass-jax[fast]'")
    pytest.importorskip('simplejpeg', reason="needs the extra fast: pip install 'fass-jax[fast]'")
  decode_it = decode.DECODERS[name]()
  large = Image.fromarray(photos.photo()).resize((1601, 1067), Image.Resampling.BICUBIC)
  encoded = photos.encode(np.asarray(large), quality=95)
  whole = decode.rgb(encoded)
  for side, by in ((100, 4), (160, 2), (400, 1)):
    box = 201.0, 102.0, 849.0, 741.0
    assert decode._halved(box, side) == by
    got = decode_it(encoded, lambda w, h, b=box: b, side).astype(int)

    def off(shift, side=side, box=box, got=got):
      moved = tuple(c + shift for c in box)
      want = whole.resize((side, side), Image.Resampling.BILINEAR, box=moved)
      return np.abs(got - np.asarray(want)).mean()

    # half a pixel of the square to either side
    step = 0.5 * 639 / side
    assert off(0) < 0.7 * min(off(step), off(-step))


# ---- real ImageNet files -----------------------------------------------------------------------


def test_a_thousand_imagenet_files(sample_images):
  with zipfile.ZipFile(sample_images / 'imagenet_1000x1.zip') as z:
    names = [n for n in z.namelist() if n.endswith('.JPEG')]
    assert len(names) == 1000
    for name in names:
      square = decode.pillow(z.read(name), decode.centre(0.875), 32)
      assert square.shape == (32, 32, 3) and square.dtype == np.uint8 and np.ptp(square) > 0, name
