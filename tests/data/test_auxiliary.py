"""Auxiliary classes: their sources, the file of neighbours, and what a user is told."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from fass_jax.counts import class_counts
from fass_jax.data import auxiliary
from fass_jax.data.load import load
from fass_jax.data.sets import cifar_files
from fass_jax.data.sets.digits import load_digits
from fass_jax.data.sets.subset import long_tail_indices
from fass_jax.types import UserError
from tests import runs
from tests.data import cifar_made, photos

DIGITS = '--config=digits_lt.py:extrapolate'


def pairs_file(folder, *pairs):
  path = pathlib.Path(folder) / 'near.csv'
  path.write_text('target,neighbour\n' + ''.join(f'{a},{b}\n' for a, b in pairs))
  return path


def digits(*sets):
  return load(runs.config_of(DIGITS, *(f'--config.data.{s}' for s in sets)))


# ---- sources -----------------------------------------------------------------------------------


def test_classes_of_the_set_itself_are_set_aside():
  d = digits()
  assert (d.class_names, d.auxiliary, d.num_tested) == (tuple('0123456789'), 3, 7)
  # the seven targets are a long-tailed set of their own; the auxiliary classes keep all images
  counts = class_counts(114, 7, 20.0)
  assert d.counts.tolist() == [*counts, 114, 114, 114]
  assert set(d.test_labels) == set(range(7)) and len(d.test_labels) == 7 * 60
  # the images are those of the complete set, chosen as LDAM-DRW's code does
  whole = load_digits(1.0, 'balanced')
  order = np.argsort(whole.train_index)
  order = order[whole.train_labels[order] < 7]
  chosen = order[long_tail_indices(whole.train_labels[order], counts, 0)]
  own = d.train_labels < 7
  np.testing.assert_array_equal(d.train_index[own], whole.train_index[chosen])
  np.testing.assert_array_equal(d.train_images[own], whole.train_images[chosen])
  aside = whole.train_labels >= 7
  np.testing.assert_array_equal(d.train_images[~own], whole.train_images[aside])
  np.testing.assert_array_equal(d.train_labels[~own], whole.train_labels[aside])


def test_neighbours_are_the_pairs_of_the_file_in_both_orders():
  near = digits().neighbours
  want = {(0, 9), (1, 7), (2, 7), (3, 8), (4, 9), (5, 8), (6, 8)}
  assert {(int(a), int(b)) for a, b in np.argwhere(near)} == want | {(b, a) for a, b in want}


def test_labels_follow_the_order_of_the_tested_names(tmp_path):
  """Classes in the middle are set aside: the others close up, and the test set with them."""
  d = digits(f'neighbours={pairs_file(tmp_path, ("1", "0"), ("3", "5"))}')
  assert d.class_names == (*'12346789', '0', '5')
  whole = load_digits(1.0, 'balanced')
  by_index = dict(zip(whole.train_index.tolist(), whole.train_labels.tolist()))
  own = d.train_labels < 8
  names = [int(d.class_names[y]) for y in d.train_labels[own]]
  assert names == [by_index[i] for i in d.train_index[own].tolist()]
  kept = np.isin(whole.test_labels, [0, 5], invert=True)
  np.testing.assert_array_equal(d.test_images, whole.test_images[kept])
  assert [int(d.class_names[y]) for y in d.test_labels] == whole.test_labels[kept].tolist()


def test_the_number_of_auxiliary_images_is_bounded_and_0_leaves_the_classes_out():
  all_, some, none = digits(), digits('auxiliary_images=5'), digits('auxiliary_images=0')
  assert some.counts.tolist() == [*all_.counts[:7], 5, 5, 5]
  assert (none.class_names, none.auxiliary, none.neighbours) == (tuple('0123456'), 0, None)
  for d in (some, none):
    own = d.train_labels < 7
    np.testing.assert_array_equal(d.train_images[own], all_.train_images[all_.train_labels < 7])


def test_held_out_images_are_those_of_tested_classes():
  d = digits('held_out=0.2')
  assert set(d.held_labels) == set(range(7)) and d.counts[7:].tolist() == [114] * 3
  assert (d.counts + np.bincount(d.held_labels, minlength=10))[:7].tolist() == [
    *digits().counts[:7]
  ]


def test_cifar10_takes_the_named_classes_of_cifar100_from_the_same_folder(tmp_path):
  cifar_made.folder_of(tmp_path / 'data' / 'cifar-100-binary', cifar_made.binary100())
  archive = cifar_made.archive_of('cifar-10-batches-py', cifar_made.python10())
  (tmp_path / 'data' / 'cifar-10-python.tar.gz').write_bytes(archive)
  near = pairs_file(tmp_path, ('name0', 'name50'), ('name0', 'name12'), ('name9', 'name50'))
  d = load(
    runs.config_of(
      '--config=cifar10_lt.py:extrapolate', '--config.imb_factor=5',
      f'--config.data.dir={tmp_path / "data"}', f'--config.data.cache={tmp_path / "cache"}',
      f'--config.data.neighbours={near}',
    )
  )  # fmt: skip
  assert d.class_names == (*cifar_made.NAMES[:10], 'name12', 'name50') and d.auxiliary == 2
  assert d.counts.tolist() == [*class_counts(20, 10, 5.0), 20, 20]
  assert d.neighbours.sum(0).tolist() == [2] + [0] * 8 + [1, 1, 2]
  (x, y), _ = cifar_made.made()
  for label, number in ((10, 12), (11, 50)):
    want = cifar_made.images_of(x)[y == number]
    got = d.train_images[d.train_labels == label]
    assert {z.tobytes() for z in got} == {z.tobytes() for z in want}
  assert len(d.test_labels) == 30 and d.test_labels.max() == 9


def test_the_tables_of_the_configs_fit_the_real_sets(cifar_dir):
  names = {
    base: cifar_files.read_original(base, cifar_files.find_original(base, cifar_dir)).class_names
    for base in (10, 100)
  }
  ten, hundred = (auxiliary.read_pairs(f'neighbours/cifar{base}.csv') for base in (10, 100))
  assert {a for a, _ in ten} <= set(names[10]) and {b for _, b in ten} <= set(names[100])
  assert len({b for _, b in ten}) == 17
  # every class of CIFAR-100 is either a target of one class or has four
  meta = cifar_files.load_pickle('train', (cifar_dir / 'cifar-100-python/train').read_bytes())
  group = dict(zip(meta[b'fine_labels'], meta[b'coarse_labels']))
  fine = [sorted(f for f in group if group[f] == coarse) for coarse in range(20)]
  want = {(names[100][a], names[100][f[4]]) for f in fine for a in f[:4]}
  assert set(hundred) == want and len(want) == 80


def a_folder(path, classes=('eft', 'owl'), images=3):
  return photos.write(
    path, {f'{c}/{i}.jpg': photos.jpeg(900 + 10 * k + i) for k, c in enumerate(classes)
           for i in range(images)},
  )  # fmt: skip


def test_a_folder_beside_a_folder(tmp_path):
  own = photos.write(
    tmp_path / 'own', {f'{c}/{i}.jpg': photos.jpeg(7 * k + i) for k, c in enumerate(('cat', 'dog'))
                       for i in range(5)},
  )  # fmt: skip
  near = pairs_file(tmp_path, ('cat', 'owl'), ('dog', 'eft'), ('dog', 'owl'))
  config = photos.config_of(
    'folder', tmp_path, root=own, auxiliary=str(a_folder(tmp_path / 'more')), neighbours=str(near)
  )
  d = load(config)
  assert d.class_names == ('cat', 'dog', 'eft', 'owl') and d.counts.tolist() == [4, 4, 3, 3]
  assert [pathlib.Path(d.train_images.name(i)).parent.name for i in range(14)] == [
    d.class_names[y] for y in d.train_labels
  ]
  assert d.train_images[8] == (tmp_path / 'more' / 'eft' / '0.jpg').read_bytes()
  assert d.train_images.upright and len(d.test_labels) == 2
  np.testing.assert_array_equal(np.argwhere(d.neighbours[:2]), [[0, 3], [1, 2], [1, 3]])


def test_a_folder_beside_arrays_is_decoded_to_their_size(tmp_path, caplog):
  for name in 'ab':
    (tmp_path / 'more' / name).mkdir(parents=True)
    image = np.full((16, 16, 3), 10 * ord(name) % 256, np.uint8)
    Image.fromarray(image).save(tmp_path / 'more' / name / 'x.png')
  near = pairs_file(tmp_path, ('6', 'b'))
  with caplog.at_level('WARNING', 'fass_jax'):
    d = digits(f'auxiliary={tmp_path / "more"}', f'neighbours={near}')
  assert d.train_images.shape == (385, 8, 8, 3) and d.auxiliary == 2 and d.num_tested == 10
  assert (d.train_images[-1] == 10 * ord('b') % 256).all()
  assert '1 auxiliary classes have no target: a.' in caplog.text


# ---- what a user is told -----------------------------------------------------------------------


@pytest.mark.parametrize(
  ('sets', 'message'),
  [
    (['neighbours=none.csv'], r'neighbours=none.csv does not exist; give a CSV file with'),
    (['neighbours='], r'auxiliary=own has no effect without --config.data.neighbours; give both'),
    (['auxiliary='], r'has no effect without --config.data.auxiliary; give both'),
    (['auxiliary=onw'], r'auxiliary=onw is neither a folder .*did you mean .own.'),
  ],
)
def test_missing_parts_are_said(sets, message):
  with pytest.raises(UserError, match=message):
    digits(*sets)


def test_images_of_another_size_or_kind_are_refused(tmp_path):
  large = auxiliary.Extra(np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.int32), ('a',))
  with pytest.raises(
    UserError, match=r'shape \(32, 32, 3\), but those of digits_lt have \(8, 8, 3\)'
  ):
    auxiliary.join(load_digits(), large, [])
  own = a_folder(tmp_path / 'own')
  with pytest.raises(UserError, match='are arrays, but the images of folder are files'):
    auxiliary.join(load(photos.config_of('folder', tmp_path, root=own)), large, [])


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('a,b\n1,7\n', 'has no pairs; its first line must be target,neighbour'),
    ('', 'has no pairs'),
    ('target,neighbour\n1,\n', 'line 2 lacks a class'),
    ('target,neighbour\n1,17\n', "names the neighbour '17', which does not exist"),
    ('target,neighbour\nx,7\n', "names the target 'x', which does not exist"),
    ('target,neighbour\n1,7\n7,8\n', "auxiliary class '7' is a target too"),
    ('target,neighbour\n' + ''.join(f'0,{c}\n' for c in range(1, 10)), 'at least two must remain'),
  ],
)
def test_a_wrong_file_of_neighbours_is_said(text, message, tmp_path):
  (tmp_path / 'near.csv').write_text(text)
  with pytest.raises(UserError, match=message):
    digits(f'neighbours={tmp_path / "near.csv"}')


def test_an_auxiliary_folder_with_the_name_of_a_class_is_refused(tmp_path):
  a_folder(tmp_path / 'more', ('3', 'owl'))
  near = pairs_file(tmp_path, ('6', 'owl'))
  with pytest.raises(UserError, match="auxiliary class '3' is a target too"):
    digits(f'auxiliary={tmp_path / "more"}', f'neighbours={near}')


def test_image_files_are_not_set_aside_by_counts(tmp_path):
  own = photos.write(tmp_path / 'own', {f'{c}/{i}.jpg': photos.jpeg(i) for c in 'abc'
                                        for i in range(4)})  # fmt: skip
  near = pairs_file(tmp_path, ('a', 'c'))
  with pytest.raises(UserError, match='auxiliary=own has no effect on the class counts'):
    load(photos.config_of('folder', tmp_path, root=own, auxiliary='own', neighbours=str(near)))
