"""For every method: the checks that its piece is active in a run, not only named."""

import pathlib
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.augment import chain
from fass_jax.data.load import load
from fass_jax.losses.prior import logit_adjustment
from fass_jax.losses.softmax import cross_entropy
from fass_jax.recipe.build import build
from fass_jax.sampling.samplers import index_classes
from fass_jax.types import Context, Outputs, Targets, Time
from tests import runs
from tests.bench import Run, digits, ops_of, quick
from tests.by_hand import examples


def class_index():
  return index_classes(digits().train_labels, 10)


def at(epoch: int, epochs: int) -> Time:
  return Time(jnp.int32(0), jnp.int32(epoch), jnp.float32(epoch / epochs))


def resampled(run: Run):
  """The natural stream shows the rarest class as often as the others."""
  sampler = run.recipe.streams['natural'].sampler
  index = sampler.draw(jax.random.key(0), class_index(), 4000, at(0, 5))
  share = np.bincount(digits().train_labels[np.asarray(index)], minlength=10) / 4000
  own = np.bincount(digits().train_labels) / len(digits().train_labels)
  assert share[-1] > 0.08 > 0.02 > own[-1]


def evened(late=False):
  """The natural stream shows the rarest class more often than the images have it."""

  def check(run: Run):
    sampler = run.recipe.streams['natural'].sampler
    own = np.bincount(digits().train_labels) / len(digits().train_labels)

    def share(epoch: int) -> np.ndarray:
      key, n = jax.random.key(0), 3840
      if sampler.scope == 'epoch':
        index = sampler.draw(key, class_index(), jnp.int32(epoch), 60, 64)[0].reshape(-1)
      else:
        index = sampler.draw(key, class_index(), n, at(epoch, run.config.epochs))
      return np.bincount(digits().train_labels[np.asarray(index)], minlength=10) / n

    assert share(run.config.epochs - 1)[-1] > 2 * own[-1]
    if late:
      np.testing.assert_allclose(share(0), own, atol=0.02)

  return check


def with_term(name, loss):
  """A term of its own is positive in every epoch, and moves."""

  def check(run: Run):
    values = [r['terms'][name] for r in run.rows]
    assert run.config.terms[name].loss == loss
    assert all(v > 0 for v in values) and len(set(values)) > 1

  return check


def of_sigmoids(run: Run):
  """The head begins at the prior, with a bias that does not decay."""
  assert run.config.net.head == 'linear_prior' and run.config.optim.undecayed == ('*/linear/bias',)


def mixed(*views):
  def check(run: Run):
    for view in views:
      sums = [r['mixed'][view] for r in run.rows if r['mixed'][view]['drawn']]
      assert sums and max(s['area_all'] for s in sums) > 0.01

  return check


def weighted(run: Run, times: float = 4.0):
  """The weights of the classes are 1 before they begin, and the rarest has the largest after."""
  loss, epochs = run.recipe.terms['natural'].losses[0], run.config.epochs
  outs = Outputs(jnp.zeros((10, max(1, run.config.net.experts), 10)), jnp.zeros((10, 1)))
  first, last = (
    np.asarray(
      loss(outs, examples(jnp.arange(10)), Context(class_index(), {}, at(e, epochs)))[1]
    ).reshape(10, -1)[:, 0]
    for e in (0, epochs - 1)
  )
  assert last[-1] > times * last[0]
  if len(run.config.reweight.share) > 1:
    assert (first == 1).all()


def weighted_by_root(run: Run):
  # sqrt(20), less the rounding of the counts
  weighted(run, 3.9)


def another_loss(run: Run):
  """The host loss is not cross entropy at the same logits."""
  c = run.config.net.experts
  z = 3.0 * jax.random.normal(jax.random.key(1), (10, c, 10))
  plain = build(runs.config_of('--config=digits_lt.py:ce'), digits()).terms['natural'].losses
  args = (
    Outputs(z, jnp.zeros((10, 1))),
    examples(jnp.arange(10)),
    Context(class_index(), {}, at(0, 5)),
  )
  ours = sum(np.asarray(f(*args)[0]) for f in run.recipe.terms['natural'].losses)
  assert np.abs(ours - np.asarray(plain[0](*args)[0])).max() > 0.1


def strengths(run: Run, name: str):
  """The strengths that a signal sets for all images: some are at work."""
  signal, labels = run.recipe.signals[name], jnp.asarray(digits().train_labels)
  found = np.asarray(signal.strength(run.state.signals[name], jax.random.key(5), labels))
  assert 0 < (found > 0).mean() < 0.9  # with a chance of one half


def levelled(run: Run):
  strengths(run, 'levels')
  with_op('cuda')(run)


def voted(run: Run):
  weights = run.began['ops'].weight, run.state.signals['ops'].weight
  assert not np.array_equal(*weights)  # an epoch's end has moved them
  strengths(run, 'ops')
  with_op('doda')(run)


LEVELS = {'cuda': 3.0, 'doda': 1.0}  # at 0 these ops do nothing


def pixels(names, augment, on):
  """Returns 64 digits after a chain of the named ops, of those with a strength only `on`."""
  strengths = {n: jnp.full(64, level * (n == on)) for n, level in LEVELS.items()}
  images = jnp.asarray(digits().train_images[:64])
  return np.asarray(quick(names, augment)(jax.random.key(2), images, strengths))


def changed(view, name) -> int:
  """Counts the images of 64 that an op of a view's chain changes."""
  names = ops_of(view)
  if name in LEVELS:
    without = pixels(names, view.augment, '')
  else:
    others = tuple(n for n in names if n != name and n not in LEVELS)
    without = pixels(others, chain.build(others), '')
  return int((pixels(names, view.augment, name) != without).any(axis=(1, 2, 3)).sum())


def with_op(name):
  """The op stands in every view's chain and changes pixels there."""

  def check(run: Run):
    for view in run.recipe.views.values():
      if not view.augment_name.startswith('simclr'):
        assert name in ops_of(view)
        assert changed(view, name) > 8

  return check


def blurred(run: Run):
  """Half of the images of the contrast are blurred; the natural view has no blur."""
  views = [v for v in run.recipe.views.values() if 'blur' in ops_of(v)]
  assert len(views) == 2 and all(16 < changed(view, 'blur') < 48 for view in views)


def contrasted(run: Run):
  assert all(r['terms']['contrast'] > 0 for r in run.rows)
  assert run.rows[-1]['terms']['contrast'] != run.rows[0]['terms']['contrast']


def corrected(moves):
  """The label of a mixed image is that of its area, and late in a run it moves or does not."""

  def check(run: Run):
    (loss,), k = run.recipe.terms['natural'].losses, run.config.loss_args.rectified_la
    a, (z, x, m) = jnp.arange(10), (jax.random.normal(key, (10, 10)) for key in _KEYS)
    pair = Targets(a, jnp.roll(a, 1), jnp.full(10, 0.25))
    outs = Outputs(z[:, None], x, x, {'prototypes': m})

    def values(epoch):
      context = Context(class_index(), {}, at(epoch, run.config.epochs))
      return np.asarray(loss(outs, examples(a)._replace(targets=pair), context)[0])

    counts = class_index().count
    own, other = (logit_adjustment(z, y, counts, k.tau) for y in (pair.a, pair.b))
    np.testing.assert_allclose(values(0), 0.25 * own + 0.75 * other, rtol=1e-4)
    assert (np.abs(values(run.config.epochs - 1) - values(0)) > 1e-5).any() == moves
    assert np.abs(own - cross_entropy(z, a)).max() > 0.1

  return check


def scored(run: Run):
  matrix = np.asarray(run.state.signals['score'].matrix)
  np.testing.assert_allclose(matrix.sum(1), 1.0, atol=1e-5)
  assert run.rows[-1]['terms']['fs'] > 0


def confused(run: Run):
  """The steps have moved the confusion, whose diagonal stays 0."""
  began, now = run.began['confusion'].matrix, np.asarray(run.state.signals['confusion'].matrix)
  assert np.abs(now - began).max() > 1e-3 and (np.diag(now) == 0).all() and (now >= 0).all()


def three_experts(run: Run):
  assert run.config.net.experts == 3 and run.config.optim.nesterov
  assert abs(run.config.optim.weight_decay - 5e-4) < 1e-9


def strong(run: Run):
  c = runs.config_of(f'--config=digits_lt.py:{run.config.method}')  # the bench's batch is smaller
  assert (c.batch_size, c.optim.lr, c.optim.weight_decay) == (256, 0.15, 5e-4)


_KEYS = jax.random.split(jax.random.key(1), 3)


def silenced(run: Run):
  """The last three digits are auxiliary; a neighbour competes a tenth as much as another class."""
  data = load(run.config)
  assert (run.recipe.num_classes, data.num_tested) == (10, 7)
  classes = index_classes(data.train_labels, 10, data.neighbours)
  outs = Outputs(jnp.zeros((10, 1, 10)), jnp.zeros((10, 1)))
  loss = run.recipe.terms['natural'].losses[0]
  got = loss(outs, examples(jnp.arange(10)), Context(classes, {}, at(0, 5)))[0]
  n, near = data.counts.astype(float), data.neighbours
  want = [np.log((np.where(near[y], 0.1, 1.0) * n).sum() / n[y]) for y in range(10)]
  np.testing.assert_allclose(got, want, rtol=1e-5)
  assert near[:7, 7:].any(axis=1).all()  # each digit that is tested has a neighbour


_FASS = (scored, mixed('mixup', 'cutmix'))
_BCL = (contrasted, another_loss)
ACTIVE = {
  'ce': (),
  'ens': (resampled,),
  'cb_resample': (resampled,),
  'mixup': (mixed('natural'),),
  'cutmix': (mixed('natural'),),
  'manifold_mixup': (mixed('natural'),),
  'cmo': (mixed('natural'),),
  'cb': (weighted,),
  'drw': (weighted,),
  'ldam': (weighted, another_loss),
  'ldam_plain': (another_loss,),
  'balanced_softmax': (another_loss,),
  'cuda': (levelled, with_op('cutout')),
  'cuda_plain': (levelled,),
  'doda': (voted, with_op('cutout')),
  'cutout': (with_op('cutout'),),
  'autoaugment': (with_op('autoaugment'),),
  'randaugment': (with_op('randaugment'),),
  'bcl': _BCL,
  'bcl_full': (*_BCL, strong, with_op('autoaugment'), with_op('cutout')),
  'concutmix': (contrasted, mixed('natural'), corrected(True)),
  'concutmix_area': (contrasted, mixed('natural'), corrected(False)),
  'concutmix_plain': (contrasted, corrected(False), blurred),
  'ride': (weighted, another_loss, three_experts, with_op('rotation15')),
  'fass': _FASS,
  'fass_mixup': (scored, mixed('mixup')),
  'fass_cutmix': (scored, mixed('cutmix')),
  'random_mix': _FASS,
  'inverse': (weighted,),
  'inverse_sqrt': (weighted_by_root,),
  'drw_inverse': (weighted,),
  'cb_sigmoid': (weighted, another_loss, of_sigmoids),
  'cb_focal': (weighted, another_loss, of_sigmoids),
  'focal': (another_loss,),
  'focal_sigmoid': (another_loss, of_sigmoids),
  'label_smoothing': (another_loss,),
  'logit_adjustment': (another_loss,),
  'weighted_la': (another_loss,),
  'la_adaptive': (another_loss,),
  'two_rate': (another_loss,),
  'equalised': (another_loss,),
  'cdt': (another_loss,),
  'range': (with_term('range', 'range'),),
  'extrapolate': (silenced,),
  'car': (with_term('car', 'car'), confused),
  'class_balanced': (evened(),),
  'square_root': (evened(),),
  'reversed': (evened(),),
  'progressive': (evened(late=True),),
  'drs': (evened(late=True),),
  'bbn_mixup': (mixed('natural'),),
}


def assert_active(run: Run):
  """Asserts that every method of a run's method string did something in it."""
  assert all(np.isfinite(r['loss']) for r in run.rows)
  for name in run.config.method.split('+'):
    for check in ACTIVE[name]:
      check(run)


# the same by identity
ALIKE = {'balanced_softmax', 'logit_adjustment'}


def assert_unlike_others(group: str, name: str, params: Any):
  """Asserts that no run of the group that this session has seen ended with the same parameters.

  Workers share a folder: of two that finish together the later reader sees both.
  """
  folder = pathlib.Path(runs.memo()) / group
  folder.mkdir(parents=True, exist_ok=True)
  own = b''.join(np.asarray(x).tobytes() for x in jax.tree.leaves(params))
  mine = folder / name.replace('/', '_')
  mine.with_suffix('.part').write_bytes(pickle.dumps((name, own)))
  mine.with_suffix('.part').rename(mine.with_suffix('.pickle'))
  for path in folder.glob('*.pickle'):
    other, theirs = pickle.loads(path.read_bytes())
    if {name, other} <= ALIKE:
      continue  # held to equal numbers in tests/losses/test_pairwise.py
    assert other == name or theirs != own, f'{name} and {other} trained alike'
