"""A folder of images: classes, splits, lists, broken files and what a user is told."""

import contextlib
import os
import pathlib
import shutil
import stat
import tempfile

import numpy as np
import pytest

from fass_jax.data.images import checks, decode
from fass_jax.data.load import load
from fass_jax.data.sets.folder import report
from fass_jax.types import UserError
from tests.data import photos

COUNTS = {'cat': 10, 'dog': 5, 'eel': 2, 'fox': 1}


def fill(folder, counts, end='.jpg'):
  return photos.write(
    folder,
    {f'{c}/{c}{i}{end}': photos.jpeg(100 * k + i)
     for k, (c, n) in enumerate(counts.items()) for i in range(n)},
  )  # fmt: skip


def folder(tmp_path, root, **data):
  return load(photos.config_of('folder', tmp_path, root=root, **data))


def names(pictures):
  return [pathlib.Path(pictures.name(i)).name for i in range(len(pictures))]


# ---- splits ------------------------------------------------------------------------------------


def test_a_share_of_each_class_is_held_out(tmp_path, caplog):
  root = fill(tmp_path / 'animals', COUNTS)
  with caplog.at_level('INFO', 'fass_jax'):
    data = folder(tmp_path, root, val_share=0.25)
  assert data.class_names == tuple(COUNTS) and data.image_shape == (224, 224, 3)
  # round(2.5) = 2, round(1.25) = 1, round(.5) = 0 but at least 1, and none of a single image
  assert np.bincount(data.test_labels, minlength=4).tolist() == [2, 1, 1, 0]
  assert np.bincount(data.train_labels).tolist() == [8, 4, 1, 1]
  assert (
    'only one image, which is used for training, so they have no test image: fox' in caplog.text
  )
  every = names(data.train_images) + names(data.test_images)
  assert sorted(every) == sorted(p.name for p in root.glob('*/*')) and len(set(every)) == 18
  for pictures, labels in (
    (data.train_images, data.train_labels),
    (data.test_images, data.test_labels),
  ):
    assert [n[:3] for n in names(pictures)] == [data.class_names[y] for y in labels]
  assert data.train_images[0] == (root / 'cat' / names(data.train_images)[0]).read_bytes()


def test_the_split_follows_the_seed_and_nothing_else(tmp_path):
  root = fill(tmp_path / 'a', {'cat': 30, 'dog': 20})
  first = folder(tmp_path, root)
  # the same files, written in another order, elsewhere
  other = tmp_path / 'b'
  for path in sorted(root.glob('*/*'), reverse=True):
    photos.write(other, {str(path.relative_to(root)): path.read_bytes()})
  assert names(folder(tmp_path, other).test_images) == names(first.test_images)
  reseeded = folder(tmp_path, root, subset_seed=1)
  assert names(reseeded.test_images) != names(first.test_images)
  # one image more moves few others
  photos.write(root, {'cat/new.jpg': photos.jpeg(999)})
  moved = set(names(folder(tmp_path, root).test_images)) ^ set(names(first.test_images))
  assert len(moved) <= 2


@pytest.mark.parametrize('held', ['val', 'valid', 'Validation', 'test'])
def test_folders_of_splits(tmp_path, held):
  fill(tmp_path / 'set' / 'train', COUNTS)
  fill(tmp_path / 'set' / held, {'cat': 2, 'dog': 1})
  (tmp_path / 'set' / 'notes').mkdir()
  data = folder(tmp_path, tmp_path / 'set')
  assert np.bincount(data.train_labels).tolist() == [10, 5, 2, 1]
  assert data.test_labels.tolist() == [0, 0, 1] and data.class_names == tuple(COUNTS)
  assert data.train_index.tolist() == list(range(18))


def test_val_and_test_folders(tmp_path):
  for split, n in (('train', 4), ('val', 2), ('test', 3)):
    fill(tmp_path / 'set' / split, {'a': n, 'b': n})
  sizes = {s: len(folder(tmp_path, tmp_path / 'set', split=s).test_labels) for s in ('val', 'test')}
  assert sizes == {'val': 4, 'test': 6}


def test_a_class_may_be_called_train(tmp_path):
  root = fill(tmp_path / 'vehicles', {'bus': 3, 'test': 3, 'train': 3})
  assert folder(tmp_path, root).class_names == ('bus', 'test', 'train')


def test_only_a_train_folder_is_split(tmp_path):
  fill(tmp_path / 'set' / 'train', {'a': 5, 'b': 5})
  assert len(folder(tmp_path, tmp_path / 'set').test_labels) == 2


def test_files_of_all_kinds_at_any_depth(tmp_path, caplog):
  pixels = photos.crop(0)
  root = photos.write(
    tmp_path / 'set',
    {
      'a/1.JPG': photos.encode(pixels, mode='CMYK'),
      'a/deep/er/2.png': photos.encode(pixels, 'PNG', 'RGBA'),
      'a/3.webp': photos.encode(pixels, 'WEBP'),
      'a/4.Tiff': photos.encode(pixels, 'TIFF', 'L'),
      'b/5.bmp': photos.encode(pixels, 'BMP'),
      'b/6.gif': photos.encode(pixels, 'GIF'),
      'b/7.JPEG': photos.encode(pixels, 'PNG'),
      'b/notes.txt': b'x',
      'b/Thumbs.db': b'x',
      'b/.hidden.jpg': b'x',
      '.git/x.jpg': b'x',
      'readme.md': b'x',
    },
  )
  (root / 'b' / 'round').symlink_to(root / 'b')  # must end
  with caplog.at_level('INFO', 'fass_jax'):
    data = folder(tmp_path, root)
  assert len(data.train_labels) + len(data.test_labels) == 7
  assert 'Ignored: 1 files *.db, 1 files *.txt, 1 hidden files' in caplog.text
  read = decode.decoder('pillow', data.train_images)
  for i in range(len(data.train_images)):
    assert read(data.train_images[i], decode.whole, 20).shape == (20, 20, 3)


# ---- lists -------------------------------------------------------------------------------------


def test_a_csv_with_a_split(tmp_path):
  root = fill(tmp_path / 'images', COUNTS)
  rows = [['split', 'path', 'label']]
  for i, path in enumerate(sorted(root.glob('*/*'))):
    rows.append([('train', 'val', 'train')[i % 3], path.relative_to(tmp_path), path.parent.name])
  photos.write_csv(tmp_path / 'set.csv', rows)
  data = folder(tmp_path, tmp_path / 'set.csv')
  assert len(data.train_labels) == 12 and len(data.test_labels) == 6
  assert data.class_names == tuple(COUNTS)
  assert [n[:3] for n in names(data.test_images)] == [data.class_names[y] for y in data.test_labels]


def test_a_list_of_numbers_is_split(tmp_path):
  root = fill(tmp_path / 'images', {'x': 4, 'y': 4})
  lines = [f'{p} {10 if p.parent.name == "x" else 9}\n' for p in root.glob('*/*')]
  (tmp_path / 'set.txt').write_text(''.join(lines))
  data = folder(tmp_path, tmp_path / 'set.txt')
  assert data.class_names == ('9', '10') and len(data.test_labels) == 2  # numbers, not letters
  assert {n[0] for n, y in zip(names(data.train_images), data.train_labels) if y == 0} == {'y'}


# ---- broken files ------------------------------------------------------------------------------


def broken_set(tmp_path):
  root = fill(tmp_path / 'set', {'cat': 12, 'dog': 10})
  (root / 'cat' / 'cat0.jpg').write_bytes(photos.jpeg(0)[:-300])
  (root / 'dog' / 'dog1.jpg').write_text('not an image')
  (root / 'dog' / 'link.jpg').symlink_to('nowhere')
  return root


def test_broken_files_are_left_out(tmp_path, caplog):
  root = broken_set(tmp_path)
  with pytest.raises(UserError, match=r'^3 of 23 images are broken.*max_broken=0.01'):
    folder(tmp_path, root)
  with caplog.at_level('INFO', 'fass_jax'):
    data = folder(tmp_path, root, max_broken=0.2)
  assert '3 of 23 images are broken and were skipped' in caplog.text and 'truncated' in caplog.text
  (listing,) = (tmp_path / 'cache' / 'folder').glob('*/broken_files.txt')
  found = [pathlib.Path(line.split('\t')[0]).name for line in listing.read_text().splitlines()]
  assert found == ['cat0.jpg', 'dog1.jpg', 'link.jpg']
  every = names(data.train_images) + names(data.test_images)
  assert len(every) == 20 and not set(found) & set(every)


def test_files_are_checked_once(tmp_path, monkeypatch):
  root = broken_set(tmp_path)
  looked = []
  whole = checks.fault
  monkeypatch.setattr(checks, 'fault', lambda raw: looked.append(1) or whole(raw))
  first = folder(tmp_path, root, max_broken=1)
  assert len(looked) == 22  # the link leads nowhere
  assert photos.same(first, folder(tmp_path, root, max_broken=1)) and len(looked) == 22
  (root / 'dog' / 'dog1.jpg').write_bytes(photos.jpeg(7))  # mended
  os.utime(root / 'cat' / 'cat5.jpg', (1, 1))
  folder(tmp_path, root, max_broken=1)
  assert len(looked) == 24
  (memory,) = (tmp_path / 'cache' / 'folder').glob('*/checked.json')
  memory.write_text('{"x":')  # cut short by a full disk, say
  folder(tmp_path, root, max_broken=1)
  assert len(looked) == 24 + 22


def test_a_class_of_broken_files_alone(tmp_path):
  root = fill(tmp_path / 'set', {'cat': 5, 'dog': 5})
  photos.write(root, {'eel/1.jpg': b'', 'eel/2.jpg': b'x'})
  with pytest.raises(UserError, match="class 'eel' of .* has no intact training image"):
    folder(tmp_path, root, max_broken=1)


# ---- what a user is told -----------------------------------------------------------------------


def assert_refused(tmp_path, root, match, **data):
  with pytest.raises(UserError, match=match) as e:
    folder(tmp_path, root, **data)
  assert '\n' not in str(e.value)


def test_errors(tmp_path):
  good = fill(tmp_path / 'good', {'a': 3, 'b': 3})
  assert_refused(tmp_path, '', 'needs --config.data.root=DIR')
  assert_refused(tmp_path, tmp_path / 'none', 'none does not exist')
  (tmp_path / 'empty').mkdir()
  assert_refused(tmp_path, tmp_path / 'empty', 'empty has no folders')
  assert_refused(tmp_path, good / 'a', 'a has no folders')
  assert_refused(tmp_path, fill(tmp_path / 'one', {'a': 3}), "has only one class, 'a'")
  assert_refused(tmp_path, fill(tmp_path / 'few', {'a': 1, 'b': 1}), 'no class has two images')
  assert_refused(tmp_path, good, 'val_share=1 is not between', val_share=1.0)
  assert_refused(tmp_path, good, 'workers=-1', workers=-1)
  assert_refused(tmp_path, good, 'shrink has no effect', shrink=100)
  assert_refused(tmp_path, good, 'image_size=-2 is negative', image_size=-2)
  (good / 'c').mkdir()
  assert_refused(tmp_path, good, "class 'c' has no image")
  fill(tmp_path / 'split' / 'train', {'a': 3, 'b': 3})
  fill(tmp_path / 'split' / 'val', {'a': 3, 'z': 3})
  assert_refused(tmp_path, tmp_path / 'split', "class 'z' of .* has no intact training image")


def test_errors_of_lists(tmp_path):
  fill(tmp_path, {'a': 2, 'b': 2})
  path = tmp_path / 'set.csv'
  head = ['path', 'label', 'split']
  photos.write_csv(path, [head, ['a/a0.jpg', 'a', 'train'], ['b/b0.jpg', 'b', '']])
  assert_refused(tmp_path, path, 'some lines have no split')
  photos.write_csv(path, [head, ['a/a0.jpg', 'a', 'val'], ['b/b0.jpg', 'b', 'test']])
  assert_refused(tmp_path, path, "no line has the split 'train'")
  photos.write_csv(path, [head, ['a/a0.jpg', 'a', 'train'], ['b/b0.jpg', 'b', 'train']])
  assert_refused(tmp_path, path, 'has no intact test or val image')
  photos.write_csv(path, [head[:2], ['a/a0.jpg', 'a'], ['b/b9.jpg', 'b']])
  assert_refused(tmp_path, path, '1 of 2 files do not exist, .*b9.jpg')


@contextlib.contextmanager
def without_rights():
  """A folder outside of pytest's own, and no right to read what is closed, even for root."""
  top = pathlib.Path(tempfile.mkdtemp())
  top.chmod(0o777)
  root = os.geteuid() == 0
  try:
    yield top, (lambda: os.seteuid(65534)) if root else (lambda: None)
  finally:
    if root:
      os.seteuid(0)
    for path in (top, *top.rglob('*')):
      path.chmod(stat.S_IRWXU)
    shutil.rmtree(top)


def test_files_that_may_not_be_read():
  with without_rights() as (top, drop):
    fill(top / 'set', {'a': 3, 'b': 3})
    for path in (top / 'set').rglob('*'):
      path.chmod(0o777)
    (top / 'set' / 'b' / 'b1.jpg').chmod(0)
    drop()
    assert_refused(top, top / 'set', r'image .*b1\.jpg cannot be read \(permission denied\)')
  with without_rights() as (top, drop):
    fill(top / 'set', {'a': 3, 'b': 3})
    (top / 'set' / 'b').chmod(0)
    drop()
    assert_refused(top, top / 'set', r'folder .*b cannot be read \(Permission denied\)')


def test_a_cache_that_cannot_be_written(caplog):
  with without_rights() as (top, drop):
    fill(top / 'set', {'a': 3, 'b': 3})
    (top / 'cache').mkdir()
    (top / 'cache').chmod(0o555)
    drop()
    with caplog.at_level('INFO', 'fass_jax'):
      data = folder(top, top / 'set')
    assert len(data.train_labels) == 4 and 'the next run checks again' in caplog.text


def test_a_file_that_vanishes(tmp_path):
  data = folder(tmp_path, fill(tmp_path / 'set', {'a': 3, 'b': 3}))
  pathlib.Path(data.train_images.name(1)).unlink()
  with pytest.raises(UserError, match='existed at the start'):
    data.train_images[1]


# ---- the report --------------------------------------------------------------------------------


def test_report_of_few_and_many_classes(tmp_path):
  text = report(folder(tmp_path, fill(tmp_path / 'a', COUNTS)))
  assert [line.split()[0] for line in text.splitlines()[1:5]] == list(COUNTS)
  assert text.splitlines()[1].split() == ['cat', '8', '2']
  assert '4 classes, 14 training images, 4 test images, imbalance factor 8' in text
  data = folder(tmp_path, fill(tmp_path / 'b', {f'c{i:02d}': 2 + i // 10 for i in range(25)}))
  rows = report(data).splitlines()
  assert len(rows) == 1 + 5 + 1 + 5 + 1 and '15 more' in rows[6]


def test_imagenette_as_a_folder(tmp_path, sample_images):
  root = photos.unzip(sample_images / 'imagenette_10x60_224.zip', tmp_path / 'set')
  data = folder(tmp_path, root)
  assert np.bincount(data.train_labels).tolist() == [50] * 10
  assert np.bincount(data.test_labels).tolist() == [10] * 10
  assert data.class_names[0] == 'n01440764'


def test_the_other_split_is_taken_and_said(tmp_path, caplog):
  for split in ('train', 'val'):
    fill(tmp_path / 'set' / split, {'a': 3, 'b': 3})
  with caplog.at_level('INFO', 'fass_jax'):
    folder(tmp_path, tmp_path / 'set')
  assert "There are no 'test' images, so the run is evaluated on 'val'" in caplog.text
  caplog.clear()
  with caplog.at_level('INFO', 'fass_jax'):
    folder(tmp_path, tmp_path / 'set', split='val')
  assert 'evaluated on' not in caplog.text
