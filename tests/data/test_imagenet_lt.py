"""ImageNet-LT and its kin: made folders and archives of real photos, prepared and found again."""

import concurrent.futures
import gzip
import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from fass_jax.data.images import image_records
from fass_jax.data.load import load
from fass_jax.types import UserError
from tests.data import photos

COUNTS = (7, 4, 2)


def made(tmp_path, change=None):
  """Writes an unpacked folder, the two archives, and lists; returns the images in list order.

  Returns:
    `{split: {listed name: bytes}}`; `change` gets it before anything is written.
  """
  splits = {
    'train': {f'train/{n}': d for n, d in photos.images(COUNTS).items()},
    'val': {f'train/{n}': d for n, d in photos.images((2, 2, 2), 'val').items()},
    'test': {f'val/{n}': d for n, d in photos.images((3, 3, 3), 'test').items()},
  }
  # in another order than the archives have them
  splits = {s: dict(sorted(files.items(), reverse=True)) for s, files in splits.items()}
  if change:
    change(splits)
  for split, files in splits.items():
    photos.write_list(tmp_path / 'lists' / f'ImageNet_LT_{split}.txt', files)
    photos.write(tmp_path / 'unpacked', files)
  unlisted = {f'train/n01/n01_{i}.JPEG': photos.jpeg(i) for i in (90, 91)}
  train = splits['train'] | splits['val'] | unlisted
  photos.ilsvrc_tars(tmp_path / 'tars', dict(sorted(train.items())), splits['test'])
  return splits


def config_of(tmp_path, source='tars', **data):
  where = {'dir': tmp_path / source, 'lists': tmp_path / 'lists'}
  return photos.config_of('imagenet_lt', tmp_path, **{**where, **data})


def _prepared(tmp_path):
  return sorted((tmp_path / 'cache' / 'image_records').glob('*/1.0.0'))


def _assert_is(data, splits, held='test'):
  train, test = splits['train'], splits[held]
  assert [data.train_images[i] for i in range(len(data.train_images))] == [*train.values()]
  assert [data.test_images[i] for i in range(len(data.test_images))] == [*test.values()]
  assert data.train_labels.tolist() == [photos.label_of(n) for n in train]
  assert data.test_labels.tolist() == [photos.label_of(n) for n in test]
  assert data.train_index.tolist() == list(range(len(train)))
  assert [a.dtype for a in (data.train_labels, data.train_index, data.test_labels)] == [
    np.int32
  ] * 3
  assert data.class_names == ('n00', 'n01', 'n02') and data.name == 'imagenet_lt'
  assert data.image_shape == (224, 224, 3)
  assert data.train_images.name(0).endswith(next(iter(train)))


@pytest.mark.parametrize('held', ['test', 'val'])
@pytest.mark.parametrize('source', ['unpacked', 'tars'])
def test_both_sources_give_the_lists(tmp_path, source, held):
  splits = made(tmp_path)
  data = load(config_of(tmp_path, source, split=held))
  _assert_is(data, splits, held)
  assert len(_prepared(tmp_path)) == (source == 'tars')


def test_lists_beside_the_images_and_packed(tmp_path):
  splits = made(tmp_path)
  for path in (tmp_path / 'lists').iterdir():
    (tmp_path / 'unpacked' / f'{path.name}.gz').write_bytes(gzip.compress(path.read_bytes()))
  _assert_is(load(config_of(tmp_path, 'unpacked', lists='')), splits)


def test_a_flat_val_folder(tmp_path):
  splits = made(tmp_path)
  for path in (tmp_path / 'unpacked' / 'val').glob('*/*'):
    path.rename(tmp_path / 'unpacked' / 'val' / path.name)
  _assert_is(load(config_of(tmp_path, 'unpacked')), splits)


def test_the_prepared_set_needs_no_source(tmp_path):
  splits = made(tmp_path)
  load(config_of(tmp_path))
  for path in (tmp_path / 'tars').iterdir():
    path.unlink()
  _assert_is(load(config_of(tmp_path)), splits)
  _assert_is(load(config_of(tmp_path, dir='')), splits)
  with np.load(_prepared(tmp_path)[0] / 'rows.npz') as z:
    assert z['train/labels'].tolist() == [photos.label_of(n) for n in splits['train']]
  (_prepared(tmp_path)[0] / 'rows.npz').write_bytes(b'noise')
  _assert_is(load(config_of(tmp_path)), splits)


def test_other_lists_are_another_set(tmp_path):
  splits = made(tmp_path)
  load(config_of(tmp_path))
  fewer = list(splits['train'])[1:]
  photos.write_list(tmp_path / 'lists' / 'ImageNet_LT_train.txt', fewer)
  data = load(config_of(tmp_path))
  assert len(data.train_labels) == len(fewer) and len(_prepared(tmp_path)) == 2


def test_a_list_of_ones_own_is_said_to_be_one(tmp_path, caplog):
  made(tmp_path)
  with caplog.at_level('INFO', 'fass_jax'):
    load(config_of(tmp_path, 'unpacked'))
  assert 'the published ImageNet_LT_train.txt (13 instead of 115846 lines)' in caplog.text


def test_eight_threads_read_what_one_reads(tmp_path):
  made(tmp_path)
  pictures = load(config_of(tmp_path)).train_images
  alone = [pictures[i] for i in range(len(pictures))]
  fresh = load(config_of(tmp_path)).train_images  # no reader is open yet
  order = np.random.default_rng(0).integers(0, len(alone), 4000).tolist()
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert list(pool.map(fresh.__getitem__, order)) == [alone[i] for i in order]


@pytest.mark.parametrize('source', ['unpacked', 'tars'])
def test_shrunk_images(tmp_path, source):
  splits = made(tmp_path)
  plain, small = load(config_of(tmp_path, source)), load(config_of(tmp_path, source, shrink=60))
  assert small.train_labels.tolist() == plain.train_labels.tolist()
  sizes = [
    [Image.open(io.BytesIO(d.train_images[i])).size for i in range(13)] for d in (plain, small)
  ]
  for (w, h), got in zip(*sizes):
    assert got == (w, h) if min(w, h) <= 60 else min(got) == 60
    assert abs(got[0] / got[1] - w / h) < 0.03 * w / h
  assert max(min(size) for size in sizes[0]) > 60
  assert [p.parent.name.endswith('_short60') for p in _prepared(tmp_path)].count(True) == 1
  kept = [i for i, size in enumerate(sizes[0]) if min(size) <= 60]
  assert kept and all(small.train_images[i] == [*splits['train'].values()][i] for i in kept)


def _break(splits):
  splits['train']['train/n00/n00_3.JPEG'] = b'<html>not found</html>'
  whole = splits['test']['val/n02/n02_2001.JPEG']
  splits['test']['val/n02/n02_2001.JPEG'] = whole[: len(whole) // 2]


@pytest.mark.parametrize('source', ['unpacked', 'tars'])
def test_broken_images(tmp_path, source, caplog):
  splits = made(tmp_path, _break)
  with pytest.raises(UserError, match=r'2 of \d+ images are broken.*max_broken=0.01') as e:
    load(config_of(tmp_path, source))
  assert not _prepared(tmp_path)
  (listing,) = (tmp_path / 'cache').rglob('broken_files.txt')
  assert str(listing) in str(e.value) and len(listing.read_text().splitlines()) == 2
  assert 'truncated' in listing.read_text()
  for _ in range(2):  # prepared, and found again
    caplog.clear()
    with caplog.at_level('INFO', 'fass_jax'):
      data = load(config_of(tmp_path, source, max_broken=0.2))
    total = {'unpacked': 22, 'tars': 28}[source]  # a prepared set holds the val list too
    assert f'2 of {total} images are broken and were skipped' in caplog.text
    place = [*splits['train']].index('train/n00/n00_3.JPEG')
    assert data.train_index.tolist() == [i for i in range(13) if i != place]
    assert len(data.test_labels) == 8
    assert len(data.train_images) == len(data.train_labels) == 12


@pytest.mark.parametrize('source', ['unpacked', 'tars'])
def test_missing_images(tmp_path, source):
  splits = made(tmp_path)
  more = [*splits['train'], 'train/n01/n01_777.JPEG', 'train/n02/n02_778.JPEG']
  photos.write_list(tmp_path / 'lists' / 'ImageNet_LT_train.txt', more)
  with pytest.raises(
    UserError, match=r'^2 of \d+ listed images, from 2 folders.*n01_777\.JPEG'
  ) as e:
    load(config_of(tmp_path, source, split='test'))
  assert '--config.data.lists=DIR' in str(e.value) and not _prepared(tmp_path)
  assert not list((tmp_path / 'cache').rglob('*.array_record*'))


def test_a_cut_archive(tmp_path):
  made(tmp_path)
  path = tmp_path / 'tars' / 'ILSVRC2012_img_train.tar'
  path.write_bytes(path.read_bytes()[:30000])
  with pytest.raises(UserError, match='ILSVRC2012_img_train.tar is damaged or truncated'):
    load(config_of(tmp_path))
  assert not _prepared(tmp_path)


def test_an_image_in_two_lists(tmp_path):
  splits = made(tmp_path)
  photos.write_list(
    tmp_path / 'lists' / 'ImageNet_LT_test.txt', [*splits['test'], next(iter(splits['train']))]
  )
  for source in ('unpacked', 'tars'):
    with pytest.raises(UserError, match='is in the lists train and test'):
      load(config_of(tmp_path, source))


def test_a_damaged_prepared_set(tmp_path):
  made(tmp_path)
  load(config_of(tmp_path))
  for path in _prepared(tmp_path)[0].glob('*array_record*'):
    path.write_bytes(path.read_bytes()[:1000])
  with pytest.raises(UserError, match=r'is damaged.*delete that folder'):
    load(config_of(tmp_path))


def test_a_crash_while_preparing_leaves_no_prepared_set(tmp_path, monkeypatch):
  """What lies there before the 15th image is what a process that ends then leaves behind."""
  splits = made(tmp_path)
  write, begun, written = image_records._Split.write, tmp_path / 'begun', []

  def watched(self, *args):
    written.append(1)
    if len(written) == 15:
      shutil.copytree(tmp_path / 'cache', begun)
    write(self, *args)

  with monkeypatch.context() as patch:
    patch.setattr(image_records._Split, 'write', watched)
    load(config_of(tmp_path))
  shutil.rmtree(tmp_path / 'cache')
  begun.rename(tmp_path / 'cache')
  (left,) = (tmp_path / 'cache' / 'image_records').glob('*/incomplete.*')  # it did begin
  assert not _prepared(tmp_path)
  _assert_is(load(config_of(tmp_path)), splits)
  assert left.exists()  # that process could be alive
  for path in (*left.iterdir(), left):
    os.utime(path, (1, 1))
  shutil.rmtree(_prepared(tmp_path)[0])
  _assert_is(load(config_of(tmp_path)), splits)
  assert not left.exists()


def test_records_span_several_files(tmp_path, monkeypatch):
  monkeypatch.setattr(image_records, 'SHARD', 4)
  splits = made(tmp_path)
  _assert_is(load(config_of(tmp_path)), splits)
  assert len(list(_prepared(tmp_path)[0].glob('*train*array_record*'))) == 4  # 13 images


def test_places_where_names_repeat(tmp_path):
  """The file names of Places are unique in their class only."""
  files = {
    f'{split}/c{c}/000{i}.jpg': photos.jpeg(9 * c + i)
    for split, n in (('train', 3), ('val', 2))
    for c in range(2)
    for i in range(n)
  }
  photos.write(tmp_path / 'places', files)
  for split, folder in (('train', 'train'), ('test', 'val')):
    names = [n for n in files if n.startswith(folder)]
    photos.write_list(tmp_path / 'places' / f'Places_LT_{split}.txt', names)
  data = load(photos.config_of('places_lt', tmp_path, dir=tmp_path / 'places'))
  assert data.class_names == ('c0', 'c1') and data.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
  assert [data.train_images[i] for i in range(6)] == list(files.values())[:6]
  # without the leading folders, and prepared: the same
  moved = tmp_path / 'moved'
  shutil.copytree(tmp_path / 'places' / 'train', moved)
  shutil.rmtree(moved / 'c0')
  with pytest.raises(UserError, match='from 2 folders, are not in'):
    load(photos.config_of('places_lt', tmp_path, dir=moved, lists=tmp_path / 'places'))
  small = load(photos.config_of('places_lt', tmp_path, dir=tmp_path / 'places', shrink=5000))
  assert photos.same(data, small)


def test_inat18_is_evaluated_on_its_val_list(tmp_path):
  files = {f'train_val2018/Aves/{c}/{c}_{i}.jpg': photos.jpeg(7 * c + i)
           for c in range(2) for i in range(4)}  # fmt: skip
  photos.write(tmp_path / 'inat', files)
  for split, low in (('train', 1), ('val', 0)):
    lines = [f'{n} {n.split("/")[2]}\n' for n in files if (n[-5] == '0') == (low == 0)]
    (tmp_path / 'inat' / f'iNaturalist18_{split}.txt').write_text(''.join(lines))
  for held in ('test', 'val'):
    data = load(photos.config_of('inat18', tmp_path, dir=tmp_path / 'inat', split=held))
    assert data.class_names == ('Aves/0', 'Aves/1')
    assert (len(data.train_labels), len(data.test_labels)) == (6, 2)


# ---- without data ------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['imagenet_lt', 'places_lt', 'inat18'])
def test_without_data_it_says_what_is_needed(tmp_path, kind):
  with pytest.raises(UserError) as e:
    load(photos.config_of(kind, tmp_path))
  text = str(e.value)
  for part in ('--config.data.dir=DIR', '--config.data.lists=DIR', '_train.txt', '(not given)'):
    assert part in text
  assert len(text.splitlines()) <= 7 and str(tmp_path / 'cache') in text
  if kind == 'imagenet_lt':
    assert 'ILSVRC2012_img_train.tar' in text and 'account' in text and 'train/<wnid>' in text
  with pytest.raises(UserError, match='nowhere is not a folder'):
    load(photos.config_of(kind, tmp_path, dir='nowhere'))


def test_one_archive_is_not_enough(tmp_path):
  made(tmp_path)
  (tmp_path / 'tars' / 'ILSVRC2012_img_val.tar').unlink()
  with pytest.raises(UserError, match='tars contains neither'):
    load(config_of(tmp_path))


def test_lists_folder_without_lists(tmp_path):
  made(tmp_path)
  with pytest.raises(UserError, match=r'lists=.* contains none of ImageNet_LT_train\.txt'):
    load(config_of(tmp_path, lists=tmp_path))


# ---- Imagenette --------------------------------------------------------------------------------


def test_imagenette_with_a_long_tail(tmp_path, sample_images):
  """50 down to 3 images a class, from the folder and through archives."""
  folder = photos.unzip(sample_images / 'imagenette_10x60_224.zip', tmp_path / 'unpacked')
  classes = sorted(os.listdir(folder / 'train'))
  counts = [round(50 * (3 / 50) ** (i / 9)) for i in range(10)]
  names = {
    'train': [f'train/{c}/{n}' for c, k in zip(classes, counts)
              for n in sorted(os.listdir(folder / 'train' / c))[:k]],
    'test': [f'val/{c}/{n}' for c in classes for n in sorted(os.listdir(folder / 'val' / c))],
  }  # fmt: skip
  number = {c: i for i, c in enumerate(classes)}
  (tmp_path / 'lists').mkdir()
  for split, of in names.items():
    text = ''.join(f'{n} {number[n.split("/")[1]]}\n' for n in of)
    (tmp_path / 'lists' / f'ImageNet_LT_{split}.txt').write_text(text)
  every = list(folder.rglob('*.JPEG'))
  train, val = ({str(p.relative_to(folder)): p.read_bytes() for p in every if p.parts[-3] == s}
                for s in ('train', 'val'))  # fmt: skip
  photos.ilsvrc_tars(tmp_path / 'tars', train, val)
  plain, packed = (load(config_of(tmp_path, source)) for source in ('unpacked', 'tars'))
  assert photos.same(plain, packed)
  assert np.bincount(plain.train_labels).tolist() == counts and counts[0] == 50 and counts[-1] == 3
  assert len(plain.test_labels) == 100 and plain.class_names == tuple(classes)
