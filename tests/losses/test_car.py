"""CAR: the confusion of a batch, its class weights and its spectral norm against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.losses import LOSSES, car
from fass_jax.signals.confusion import Confusion, confusion, moving_mean
from fass_jax.types import Classes, Context, Outputs, Targets, UserError
from tests import bench, runs
from tests.by_hand import examples

C = 5


def batch(seed=0, rows=12):
  rng = np.random.default_rng(seed)
  return 2.0 * rng.normal(size=(rows, C)), rng.integers(0, C - 1, rows)  # class 4 is absent


def by_hand(z, y, temperature=1.0, margin=0.0):
  """The formula, sample by sample."""
  found, n = np.zeros((C, C)), np.zeros(C)
  for f, j in zip(z, y, strict=True):
    p = np.exp(f / temperature) / np.exp(f / temperature).sum()
    n[j] += 1
    for i in range(C):
      if i != j:
        found[i, j] += p[i] / (1 + np.exp(-(margin + f[i] - f[j])))
  return found / np.maximum(n, 1)


def of_batch(**how):
  return jax.jit(lambda z, y, m: car.soft_confusion(z, y, C, mask=m, **how))


@pytest.mark.parametrize('how', [{}, {'temperature': 0.5, 'margin': 0.1}])
def test_confusion_is_the_mean_over_the_samples_of_a_class(how):
  z, y = batch()
  got = np.asarray(of_batch(**how)(z, y, None))
  np.testing.assert_allclose(got, by_hand(z, y, **how), atol=1e-6)
  assert (got[:, 4] == 0).all() and (np.diag(got) == 0).all() and got.max() > 0.1


def test_rows_outside_the_mask_do_not_count():
  z, y = batch()
  on = np.arange(len(y)) % 3 > 0
  broken = np.where(on[:, None], z, np.nan)
  got = np.asarray(of_batch()(broken, y, on))
  np.testing.assert_allclose(got, by_hand(z[on], y[on]), atol=1e-6)
  assert (np.asarray(of_batch()(z, y, np.zeros(len(y), bool))) == 0).all()


def test_a_perfect_classifier_has_no_confusion():
  y = np.arange(C)
  assert np.asarray(of_batch()(50.0 * np.eye(C), y, None)).max() < 1e-20
  # by hand: two classes, logits (0, 0): sigmoid(0) * softmax = 1/2 * 1/2
  got = car.soft_confusion(jnp.zeros((1, 2)), jnp.array([1]), 2)
  np.testing.assert_allclose(got, [[0, 0.25], [0, 0]])


def test_the_gate_has_a_gradient_only_where_it_is_asked_for():
  """Gradient of c_01 for one sample of class 1, z = (a, 0): p = sigmoid(a), c = p p."""
  for gate, times in ((False, 1.0), (True, 2.0)):
    grad = jax.grad(
      lambda z, gate=gate: car.soft_confusion(z, jnp.array([1]), 2, gate_gradient=gate)[0, 1]
    )(jnp.array([[0.7, 0.0]]))
    p = 1 / (1 + np.exp(-0.7))
    np.testing.assert_allclose(grad[0, 0], times * p * p * (1 - p), rtol=1e-5)


def test_weights_by_frequency_and_by_count():
  n = np.array([500.0, 50.0, 5.0])
  for by, m in (('frequency', n / n.sum()), ('count', n)):
    w = (m + 0.2) ** -0.5
    np.testing.assert_allclose(car.class_weights(n, 0.2, by), w / w.mean(), rtol=1e-6)
  assert car.class_weights(n, 0.2, 'count')[2] > 5 * car.class_weights(n, 0.2, 'count')[0]
  # (1e8 + 1)^(-1/2) is 1e-4, which counts as 1e-3
  np.testing.assert_allclose(
    car.class_weights([1e8, 0], 1.0, 'count'), np.array([1e-3, 1]) / 0.5005, rtol=1e-5
  )
  with pytest.raises(ValueError, match="neither 'frequency' nor 'count'"):
    car.class_weights(n, 0.2, 'size')


def svd(m):
  u, s, v = np.linalg.svd(np.asarray(m, np.float64))
  return s[0], np.outer(u[:, 0], v[0])


@pytest.mark.parametrize('shape', [(C, C), (3, 8)])
def test_norm_and_gradient_are_those_of_the_decomposition(shape):
  m = np.random.default_rng(2).uniform(size=shape)
  value, grad = jax.jit(jax.value_and_grad(car.spectral_norm))(m)
  want = svd(m)
  np.testing.assert_allclose(value, want[0], rtol=1e-6)
  np.testing.assert_allclose(grad, want[1], atol=1e-5)


def test_norm_of_a_batch_as_the_method_takes_it():
  """The chain through the weights: d s / d c = u v^T diag(w), then the confusion's own gradient."""
  z, y = batch(3, 40)
  w = np.asarray(car.class_weights([40, 20, 10, 5, 2], 0.2, 'count'), np.float64)

  def loss(z):
    return car.spectral_norm(car.soft_confusion(z, y, C, gate_gradient=True) * w[None, :])

  value, grad = jax.jit(jax.value_and_grad(loss))(z)
  np.testing.assert_allclose(value, svd(by_hand(z, y) * w)[0], rtol=1e-5)
  step = np.random.default_rng(4).normal(size=z.shape)
  ends = [svd(by_hand(z + t * step, y) * w)[0] for t in (1e-5, -1e-5)]
  np.testing.assert_allclose((np.asarray(grad) * step).sum(), (ends[0] - ends[1]) / 2e-5, rtol=1e-3)


def test_norm_at_the_edges():
  """Zero, one entry, two equal singular values, tiny entries: all finite."""
  both = jax.jit(jax.value_and_grad(car.spectral_norm))
  value, grad = both(jnp.zeros((C, C)))
  assert value == 0 and (grad == 0).all()
  one = np.zeros((C, C))
  one[3, 1] = 2.0
  np.testing.assert_allclose(both(one)[0], 2.0, rtol=1e-6)
  np.testing.assert_allclose(both(one)[1], one / 2, atol=1e-6)
  np.testing.assert_allclose(both(np.eye(C))[0], 1.0, rtol=1e-6)
  np.testing.assert_allclose(both(np.full((C, C), 1e-25))[0], C * 1e-25, rtol=1e-5)


# the mean over steps

OLD = np.array([[0.0, 0.4, 0.2], [0.1, 0.0, 0.6], [0.3, 0.5, 0.0]])
NEW = np.array([[0.0, 0.8, 0.0], [0.5, 0.0, 0.0], [0.1, 0.2, 0.0]])  # class 2 is absent
PRESENT = np.array([True, True, False])


def after(seen, present=PRESENT, **how):
  how = {'decay': 0.75, 'absent': 'zero', 'begin': 'first'} | how
  state = Confusion(jnp.asarray(OLD), jnp.asarray(seen))
  return moving_mean(state, jnp.asarray(NEW), jnp.asarray(present), **how)


def test_the_mean_moves_and_an_absent_class_fades_or_is_kept():
  full, mean = np.ones(3, bool), 0.75 * OLD + 0.25 * NEW
  got = after(full)
  np.testing.assert_allclose(got.matrix, mean, rtol=1e-6)
  kept = after(full, absent='keep')
  np.testing.assert_allclose(kept.matrix, np.where(PRESENT, mean, OLD), rtol=1e-6)
  nothing = after(full, present=np.zeros(3, bool))
  np.testing.assert_allclose(nothing.matrix, OLD, rtol=1e-6)


def test_the_first_batch_is_the_mean_or_the_mean_begins_at_zero():
  none, mean = np.zeros(3, bool), 0.75 * OLD + 0.25 * NEW
  np.testing.assert_allclose(after(none).matrix, NEW, rtol=1e-6)
  assert after(none).seen.all() and not after(none, present=none).seen.any()
  np.testing.assert_allclose(after(none, begin='zero').matrix, mean, rtol=1e-6)
  kept = after(none, absent='keep')
  np.testing.assert_array_equal(kept.seen, PRESENT)
  np.testing.assert_allclose(kept.matrix, np.where(PRESENT, NEW, OLD), rtol=1e-6)


@pytest.mark.parametrize(
  'seen, begin, share', [(True, 'first', 0.25), (False, 'first', 0.0), (False, 'zero', 0.25)]
)
def test_the_batch_alone_has_a_gradient(seen, begin, share):
  state = jnp.asarray(OLD), jnp.full(3, seen)

  def total(old, batch):
    how = {'decay': 0.75, 'absent': 'zero', 'begin': begin}
    return moving_mean(Confusion(old, state[1]), batch, jnp.asarray(PRESENT), **how).matrix.sum()

  by_old, by_batch = jax.grad(total, (0, 1))(state[0], jnp.asarray(NEW))
  assert (by_old == 0).all()
  np.testing.assert_allclose(by_batch, np.full((3, 3), share))


# the loss and the signal of a run

HOW = {'temperature': 1.0, 'margin': 0.0, 'gate_gradient': False, 'decay': 0.5}
HOW |= {'absent': 'zero', 'begin': 'first'}


def given(z, y, mask=None, seen=True):
  """The outputs, the batch and the run of a step, with a memory of equal confusions."""
  memory = jnp.asarray(0.1 * (1 - np.eye(C)), jnp.float32)
  signals = {'confusion': Confusion(memory, jnp.full(C, seen))}
  context = Context(Classes(jnp.array([40, 20, 10, 5, 2]), None, None), signals, None)
  return Outputs(jnp.asarray(z)[:, None], jnp.zeros((len(y), 1))), examples(y, mask), context


def test_the_penalty_and_its_gradient():
  z, y = batch(5)
  (loss,) = LOSSES['car'].build(r0=0.2, by='count', **HOW)
  args = given(z, y)
  values, weights = loss(*args)
  w = np.array([40, 20, 10, 5, 2])
  w = (w + 0.2) ** -0.5 / ((w + 0.2) ** -0.5).mean()
  matrix = 0.05 * (1 - np.eye(C)) + 0.5 * by_hand(z, y)
  np.testing.assert_allclose(values, np.full(len(y), svd(matrix * w)[0]), rtol=1e-5)
  assert (weights == 1).all()
  grad = jax.grad(lambda z: loss(args[0]._replace(logits=z), *args[1:])[0].mean())(args[0].logits)
  assert np.isfinite(grad).all() and np.abs(grad).max() > 1e-3
  # the first batch begins the mean, and has no gradient yet
  outs, rows, context = given(z, y, seen=False)
  grad = jax.grad(lambda z: loss(outs._replace(logits=z), rows, context)[0].mean())(outs.logits)
  assert (grad == 0).all()


def test_a_batch_without_unmixed_rows_adds_nothing_and_keeps_the_memory():
  z, y = batch(5)
  (loss,) = LOSSES['car'].build(r0=0.2, by='count', **HOW)
  outs, rows, context = given(z, y, mask=jnp.zeros(len(y), bool))

  def value(z):
    values, weights = loss(outs._replace(logits=z), rows, context)
    return (values * weights).sum()

  assert value(outs.logits) == 0 and (jax.grad(value)(outs.logits) == 0).all()
  signal = confusion('natural', *HOW.values())
  targets = Targets(jnp.asarray(y), jnp.asarray(y), jnp.full(len(y), 0.5))  # all are mixed
  state = signal.observe(context.signals['confusion'], outs, targets, jnp.ones(len(y), bool))
  np.testing.assert_array_equal(state.matrix, context.signals['confusion'].matrix)


def test_the_signal_remembers_what_the_loss_saw():
  z, y = batch(5)
  outs, rows, context = given(z, y)
  signal = confusion('natural', *HOW.values())
  state = signal.observe(context.signals['confusion'], outs, rows.targets, rows.mask)
  np.testing.assert_allclose(state.matrix, 0.05 * (1 - np.eye(C)) + 0.5 * by_hand(z, y), rtol=1e-5)
  found = signal.describe(state, state)
  np.testing.assert_allclose(found['confusion_norm'], svd(state.matrix)[0], rtol=1e-5)


def test_what_lacks_the_signal_or_mixes_every_image_is_refused():
  with pytest.raises(UserError, match="reads the signal 'confusion', which this run lacks"):
    bench.Bench('--config=digits_lt.py:car', '--config.signals.confusion.kind=levels')
  with pytest.raises(UserError, match="The signal 'confusion' would never be active"):
    bench.Bench('--config=digits_lt.py:car+mixup')
  config = runs.config_of('--config=digits_lt.py:car+cmo')
  assert config.terms.car.weight == 0.3 and config.views.natural.mix == 'cutmix_batch'
