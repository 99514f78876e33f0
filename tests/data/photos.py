"""Real photos, cut into many, and the folders, archives and lists of image sets made of them."""

import csv
import functools
import io
import tarfile
import zipfile

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

from fass_jax.config.deltas import base_config


@functools.cache
def photo(name='china.jpg'):
  return load_sample_image(name)


def crop(seed, low=40, high=160):
  """Returns a uint8 piece of a photo; its size and place follow from the seed."""
  rng = np.random.default_rng(seed)
  whole = photo(('china.jpg', 'flower.jpg')[seed % 2])
  h, w = rng.integers(low, high, 2)
  y, x = rng.integers(0, whole.shape[0] - h), rng.integers(0, whole.shape[1] - w)
  return whole[y : y + h, x : x + w]


def encode(pixels, form='JPEG', mode='RGB', **how):
  out = io.BytesIO()
  Image.fromarray(pixels).convert(mode).save(out, form, **how)
  return out.getvalue()


@functools.cache
def jpeg(seed, mode='RGB', **how):
  return encode(crop(seed), mode=mode, **how)


def images(counts, split='train'):
  """Returns `{n01/n01_3.JPEG: bytes}`: so many images of each class."""
  start = {'train': 0, 'val': 1000, 'test': 2000}[split]
  return {
    f'n{c:02d}/n{c:02d}_{start + i}.JPEG': jpeg(5000 * c + start + i)
    for c, n in enumerate(counts)
    for i in range(n)
  }


def write(folder, files):
  for name, data in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
  return folder


def label_of(name):
  return int(name.split('/')[-2][1:])


def write_list(path, names):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(''.join(f'{n} {label_of(n)}\n' for n in names))


def write_csv(path, rows):
  with path.open('w', newline='') as f:
    csv.writer(f).writerows(rows)


def tar_of(path, files):
  with tarfile.open(path, 'w') as tar:
    for name, data in files.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      tar.addfile(info, io.BytesIO(data))
  return path


def ilsvrc_tars(folder, train, val):
  """Writes the two archives of ILSVRC 2012: of archives of classes, and of files."""
  folder.mkdir(parents=True, exist_ok=True)
  classes = {}
  for name, data in train.items():
    wnid, file = name.split('/')[-2:]
    classes.setdefault(wnid, {})[file] = data
  packed = {}
  for wnid, files in classes.items():
    packed[f'{wnid}.tar'] = tar_of(folder / 'inner', files).read_bytes()
  (folder / 'inner').unlink()
  tar_of(folder / 'ILSVRC2012_img_train.tar', packed)
  tar_of(folder / 'ILSVRC2012_img_val.tar', {n.split('/')[-1]: d for n, d in val.items()})


def config_of(kind, tmp_path, **data):
  config = base_config(kind)
  config.data.cache = str(tmp_path / 'cache')
  config.data.workers = 2
  for key, value in data.items():
    config.data[key] = value if isinstance(value, int | float | tuple) else str(value)
  return config


def same(a, b):
  """Whether two data sets of encoded images hold the same images, labels and names."""
  arrays = ('train_labels', 'train_index', 'test_labels')
  return (
    a.class_names == b.class_names
    and all((getattr(a, n) == getattr(b, n)).all() for n in arrays)
    and all(
      [x[i] for i in range(len(x))] == [y[i] for i in range(len(y))]
      for x, y in ((a.train_images, b.train_images), (a.test_images, b.test_images))
    )
  )


def unzip(path, folder):
  with zipfile.ZipFile(path) as z:
    z.extractall(folder)
  return folder
