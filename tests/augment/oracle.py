"""Pillow as the oracle: test images, its ops by name, and how far a result may be off."""

import platform

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

# elsewhere Pillow's own binary fuses products with sums, so that it differs from itself
EXACT = platform.machine() in ('x86_64', 'AMD64')


def images(batch, side, seed=0):
  """Half noise, half smooth waves with a little noise; uint8 `[batch, side, side, 3]`."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[:side, :side][..., None] / side  # [side, side, 1]
  a, b, c = rng.uniform(-2, 2, (3, batch // 2, 1, 1, 3))
  waves = 127 + 100 * np.sin(2 * np.pi * (a * y + b * x + c))
  waves = waves + rng.normal(0, 3, waves.shape)
  noise = rng.integers(0, 256, (batch - batch // 2, side, side, 3))
  return np.concatenate([noise, waves]).clip(0, 255).astype(np.uint8)


def affine(image, *matrix):
  return image.transform(image.size, Image.Transform.AFFINE, matrix)


def resize_crop(image, scale):
  """Enlarges by Lanczos, then crops the middle, as CUDA's code does."""
  (w, h), (large_w, large_h) = image.size, [int(s * scale) for s in image.size]
  left, top = large_w // 2 - w // 2, large_h // 2 - h // 2
  large = image.resize((large_w, large_h), Image.Resampling.LANCZOS)
  return large.crop((left, top, left + w, top + h))


def solarize_add(image, amount):
  total = np.clip(np.array(image).astype(int) + amount, 0, 255).astype(np.uint8)
  return ImageOps.solarize(Image.fromarray(total), 128)


def hue(image, turn):
  """torchvision's adjust_hue of a Pillow image."""
  h, s, v = image.convert('HSV').split()
  turned = (np.array(h).astype(int) + int(turn * 255)) % 256
  return Image.merge('HSV', (Image.fromarray(turned.astype(np.uint8)), s, v)).convert('RGB')


# all take (image, value)
OPS = {
  'flip': lambda i, v: ImageOps.flip(i),
  'mirror': lambda i, v: ImageOps.mirror(i),
  'edge_enhance': lambda i, v: i.filter(ImageFilter.EDGE_ENHANCE),
  'detail': lambda i, v: i.filter(ImageFilter.DETAIL),
  'smooth': lambda i, v: i.filter(ImageFilter.SMOOTH),
  'autocontrast': lambda i, v: ImageOps.autocontrast(i),
  'equalize': lambda i, v: ImageOps.equalize(i),
  'invert': lambda i, v: ImageOps.invert(i),
  'gaussian_blur': lambda i, v: i.filter(ImageFilter.GaussianBlur(v)),
  'resize_crop': resize_crop,
  'rotate': lambda i, v: i.rotate(v),
  'posterize': lambda i, v: ImageOps.posterize(i, max(1, int(v))),
  'solarize': ImageOps.solarize,
  'solarize_add': solarize_add,
  'color': lambda i, v: ImageEnhance.Color(i).enhance(v),
  'contrast': lambda i, v: ImageEnhance.Contrast(i).enhance(v),
  'brightness': lambda i, v: ImageEnhance.Brightness(i).enhance(v),
  'sharpness': lambda i, v: ImageEnhance.Sharpness(i).enhance(v),
  'hue': hue,
  'shear_x': lambda i, v: affine(i, 1, v, 0, 0, 1, 0),
  'shear_y': lambda i, v: affine(i, 1, 0, 0, v, 1, 0),
  'translate_x': lambda i, v: affine(i, 1, 0, v, 0, 1, 0),
  'translate_y': lambda i, v: affine(i, 1, 0, 0, 0, 1, v),
}
# (largest difference, share of differing values) where ours is not Pillow's to the bit
BOUNDS = {
  'gaussian_blur': (1, 0.001),
  'hue': (6, 0.005),
  'rotate': (255, 0.001),
}


def pillow(name, batch, value):
  """Applies Pillow's op to each image of a batch."""
  return np.stack([np.asarray(OPS[name](Image.fromarray(image), value)) for image in batch])


def assert_as_pillow(name, got, want):
  """Asserts equality with Pillow, or the bound of this op."""
  assert got.dtype == np.uint8 and got.shape == want.shape
  off = np.abs(np.asarray(got).astype(int) - want)
  most, share = BOUNDS.get(name, (0, 0) if EXACT else (1, 0.1))
  assert off.max() <= most and (off > 0).mean() <= share, (name, off.max(), (off > 0).mean())


def assert_op_as_pillow(name, op, side, magnitudes):
  """Asserts `assert_as_pillow` of a jitted op at several magnitudes."""
  x = images(16, side)
  # all magnitudes in one batch: each image has its own
  values = np.repeat(np.float32(magnitudes), len(x))
  got = np.asarray(op(np.tile(x, (len(magnitudes), 1, 1, 1)), values))
  for part, value in zip(np.split(got, len(magnitudes)), magnitudes):
    assert_as_pillow(name, part, pillow(name, x, value))
