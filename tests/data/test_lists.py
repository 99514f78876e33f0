"""Lists of images: what they may look like, what is wrong with one, the published ones."""

import csv
import gzip
import hashlib

import numpy as np
import pytest

from fass_jax.data.images import lists
from fass_jax.data.images.fetch import DownloadError
from fass_jax.data.images.lists import KNOWN, Listing, read_list
from fass_jax.data.sets import imagenet_lt, published_lists
from fass_jax.types import UserError
from tests.data import photos

TEXT = 'train/a/x 1.JPEG 0\n\n  ./train/b/y.JPEG\t12  \n'
WANT = (('train/a/x 1.JPEG', 'train/b/y.JPEG'), ('0', '12'), ('', ''))


@pytest.mark.parametrize('end', ['.txt', '.txt.gz'])
def test_a_plain_list(tmp_path, end):
  path = tmp_path / f'list{end}'
  path.write_bytes(gzip.compress(TEXT.encode()) if end.endswith('gz') else TEXT.encode())
  assert read_list(path) == WANT
  assert lists.sum_of(path) == hashlib.sha256(TEXT.encode()).hexdigest()


@pytest.mark.parametrize('end', ['.csv', '.csv.gz'])
def test_a_csv(tmp_path, end):
  text = '\ufeffLabel, path,Split,more\r\ncat,"a, b.jpg",Train,\r\n\r\ndog,a\\c.jpg,val,x\r\n'
  path = tmp_path / f'list{end}'
  path.write_bytes(gzip.compress(text.encode()) if end.endswith('gz') else text.encode())
  assert read_list(path, words=True) == Listing(
    ('a, b.jpg', 'a/c.jpg'), ('cat', 'dog'), ('train', 'val')
  )


@pytest.mark.parametrize(
  ('name', 'text', 'match'),
  [
    ('x.txt', 'a.jpg 0\nb.jpg\n', r"x\.txt: line 2 is 'b\.jpg', which is not a path and a label"),
    ('x.txt', 'a.jpg 0\n\nb.jpg cat\n', "line 3 has the label 'cat', which is not a whole number"),
    ('x.txt', 'a.jpg 0\nb.jpg -1\n', "line 2 has the label '-1'"),
    ('x.txt', 'a.jpg 0\nb.jpg 1\na.jpg 1\n', "line 3 repeats 'a.jpg' of line 1"),
    ('x.txt', '\n', 'is empty'),
    ('x.csv', '', 'line 1 is not a header with the columns path and label'),
    ('x.csv', 'path,class\n', 'line 1 is not a header'),
    ('x.csv', 'path,label\na.jpg,1\nb.jpg\n', 'line 3 has 1 columns, but the header has 2'),
    ('x.csv', 'path,label\n,1\n', 'line 2 has an empty path or label'),
    (
      'x.csv',
      'path,label,split\na,1,dev\n',
      "line 2 has the split 'dev', which is not one of train",
    ),
  ],
)
def test_wrong_lines(tmp_path, name, text, match):
  (tmp_path / name).write_text(text)
  with pytest.raises(UserError, match=match) as e:
    read_list(tmp_path / name)
  assert '\n' not in str(e.value)


@pytest.mark.parametrize(
  ('name', 'raw'),
  [
    ('x.txt', b'\xff\xfe\x00'),
    ('x.txt.gz', b'no gzip'),
    ('x.txt.gz', gzip.compress(b'a.jpg 0\n' + bytes(range(32, 127)))[:-9]),
  ],
  ids=['no text', 'no gzip', 'cut gzip'],
)
def test_unreadable_lists(tmp_path, name, raw):
  (tmp_path / name).write_bytes(raw)
  with pytest.raises(UserError, match=r'The list .*x\.txt.* cannot be read'):
    read_list(tmp_path / name)
  if name.endswith('gz'):
    with pytest.raises(UserError, match='cannot be read'):
      lists.sum_of(tmp_path / name)


def test_numbered_labels():
  labels, names = lists.numbered(['10', '9', '9'])
  assert labels.tolist() == [1, 0, 0] and names == ('9', '10') and labels.dtype == np.int32
  labels, names = lists.numbered(['b', '10', 'a'])
  assert labels.tolist() == [2, 0, 1] and names == ('10', 'a', 'b')


def test_names_of_classes_are_their_folders():
  of = lists.folder_names
  assert of(['train/a/1.jpg', 'b/2.jpg', 'val/c/d/3.jpg'], np.arange(3), 3) == ('a', 'b', 'c/d')
  # two folders in a class, one folder of two classes, a class without an image: numbers
  assert of(['a/1', 'b/2', 'c/3'], np.array([0, 0, 1]), 2) == ('0', '1')
  assert of(['a/1', 'a/2'], np.arange(2), 2) == ('0', '1')
  assert of(['a/1', 'c/2'], np.array([0, 2]), 3) == ('0', '1', '2')


def test_lists_are_found_in_order(tmp_path):
  for folder, name in (
    ('a', 'ImageNet_LT_val.txt.gz'),
    ('b', 'ImageNet_LT_val.txt'),
    ('b', 'ImageNet_LT_train.csv'),
  ):
    photos.write(tmp_path / folder, {name: b''})
  found = lists.find_lists(KNOWN['imagenet_lt'], [str(tmp_path / 'a'), '', str(tmp_path / 'b')])
  assert {s: f'{p.parent.name}/{p.name}' for s, p in found.items()} == {
    'train': 'b/ImageNet_LT_train.csv',
    'val': 'a/ImageNet_LT_val.txt.gz',
  }


def test_fingerprint_follows_every_list():
  base = {'train': 'a', 'val': 'b', 'test': 'c'}
  changed = [{**base, s: 'x'} for s in base] + [{'train': 'a', 'test': 'b'}, {'train': 'a'}]
  found = {lists.fingerprint(sums) for sums in [base, *changed]}
  assert len(found) == 6 and all(len(f) == 12 for f in found)
  assert lists.fingerprint(dict(reversed(base.items()))) == lists.fingerprint(base)


# ---- the published ones ------------------------------------------------------------------------


def test_facts_of_the_published_lists():
  totals = {k: {s: p.lines for s, p in known.lists.items()} for k, known in KNOWN.items()}
  assert totals == {
    'imagenet_lt': {'train': 115846, 'val': 1000 * 20, 'test': 1000 * 50},
    'places_lt': {'train': 62500, 'val': 365 * 20, 'test': 365 * 100},
    'inat18': {'train': 437513, 'val': 8142 * 3},
  }
  assert lists.evaluated(KNOWN['inat18'], 'test') == 'val'
  assert lists.evaluated(KNOWN['places_lt'], 'test') == 'test'


def test_the_sums_are_those_that_tfds_records():
  infos = published_lists.recorded.Builder.url_infos.values()
  assert {i.filename: i.checksum for i in infos} == {
    p.file: p.sha256 for s, p in KNOWN['imagenet_lt'].lists.items() if s != 'test'
  }


def test_the_test_list_comes_with_tfds(tmp_path):
  listing = published_lists.read('test', tmp_path)
  assert len(listing.names) == len(set(listing.names)) == 50000
  assert (np.bincount(np.asarray(listing.labels, int)) == 50).all()
  assert listing.names[0] == 'val/n01751748/ILSVRC2012_val_00000001.JPEG'
  assert not list(tmp_path.iterdir())


def test_a_download_that_fails_says_what_else_helps(tmp_path, monkeypatch):
  images = {'n01440764/n01440764_10.JPEG': photos.jpeg(0)}
  photos.write(tmp_path / 'images' / 'train', images)

  def dead(*_):
    raise DownloadError('the download of x failed (no network)')

  monkeypatch.setattr(published_lists, 'fetch', dead)
  with pytest.raises(UserError, match='download of x failed') as e:
    imagenet_lt.load_listed(
      'imagenet_lt', photos.config_of('imagenet_lt', tmp_path, dir=tmp_path / 'images')
    )
  assert 'images, images found' in str(e.value) and '--config.data.lists=DIR' in str(e.value)


def test_the_published_lists_themselves(sample_images):
  base = sample_images.parent
  for kind, a_class in (
    ('imagenet_lt', {'val': 20, 'test': 50}),
    ('places_lt', {'val': 20, 'test': 100}),
    ('inat18', {'val': 3}),
  ):
    known = KNOWN[kind]
    found = lists.find_lists(known, [str(base / kind)])
    assert found.keys() >= a_class.keys()
    for split, path in found.items():
      listing = read_list(path)
      labels = np.asarray(listing.labels, int)
      assert lists.sum_of(path) == known.lists[split].sha256
      assert len(labels) == known.lists[split].lines
      counts = np.bincount(labels, minlength=known.classes)
      assert len(counts) == known.classes
      if split in a_class:
        assert (counts == a_class[split]).all()
      else:  # train of Places-LT: 131 classes above 100, 71 under 20
        assert (counts.max(), counts.min()) == (4980, 5)
        assert ((counts > 100).sum(), (counts < 20).sum()) == (131, 71)
  made = published_lists.read('test', base)
  theirs = read_list(base / 'imagenet_lt' / 'ImageNet_LT_test.txt.gz')
  assert set(zip(*made)) == set(zip(*theirs))


def test_class_counts_of_imagenet_lt(sample_images):
  with (sample_images.parent / 'imagenet_lt' / 'classes.csv').open(newline='') as f:
    rows = list(csv.DictReader(f))
  counts = np.array([int(r['train_count']) for r in rows])
  assert counts.sum() == KNOWN['imagenet_lt'].lists['train'].lines and len(rows) == 1000
  shots = (counts > 100).sum(), (counts < 20).sum()
  assert shots == (385, 136) and (counts.max(), counts.min()) == (1280, 5)
