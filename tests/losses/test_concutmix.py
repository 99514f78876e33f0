"""ConCutMix: its labels against the formula, its loss, its views, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.config.deltas import methods
from fass_jax.engine.step import draw_streams
from fass_jax.engine.views import build_view
from fass_jax.losses import LOSSES
from fass_jax.losses.combine import pair_loss
from fass_jax.losses.concutmix import rectify_labels
from fass_jax.losses.prior import logit_adjustment
from fass_jax.recipe.optimiser import piecewise
from fass_jax.sampling.samplers import index_classes
from fass_jax.types import Context, Outputs, Targets, Time, UserError
from tests import bench, runs

B, C, P = 6, 5, 4
COUNTS = np.array([500, 120, 30, 9, 5])
rectify = jax.jit(rectify_labels, static_argnums=4)


def given(seed=0):
  rng = np.random.default_rng(seed)
  lam = rng.uniform(size=B)[:, None]
  t = lam * np.eye(C)[rng.integers(0, C, B)] + (1 - lam) * np.eye(C)[rng.integers(0, C, B)]
  return t, 3 * rng.normal(size=(B, P)), 3 * rng.normal(size=(C, P))


def by_hand(t, x, m, n, k, omega):
  out = np.zeros_like(t)
  for i in range(len(t)):
    d = np.array([np.sqrt(((x[i] - c) ** 2).sum()) for c in m])
    s = np.zeros(len(m))
    for c in np.argsort(d)[:k]:
      s[c] = 1 / d[c]
    w = np.log((n * t[i]).sum()) / np.log(n).sum()
    out[i] = (1 - w * omega) * t[i] + w * omega * s / s.sum()
  return out


@pytest.mark.parametrize('k, omega', [(1, 1.0), (3, 20 / 255), (5, 0.5)])
def test_against_the_formula(k, omega):
  t, x, m = given()
  got = np.asarray(rectify(t, x, m, COUNTS, k, omega))
  np.testing.assert_allclose(got, by_hand(t, x, m, COUNTS, k, omega), atol=1e-6)
  np.testing.assert_allclose(got.sum(1), np.ones(B), rtol=1e-6)
  assert np.abs(got - t).max() > 0.005 and (got >= 0).all()


def test_nothing_moves_without_omega_or_where_all_classes_have_one_image():
  t, x, m = given(1)
  np.testing.assert_array_equal(rectify(t, x, m, COUNTS, 3, 0.0), np.float32(t))
  np.testing.assert_allclose(rectify(t, x, m, np.ones(C), 3, 0.5), t, rtol=1e-6)


def test_an_image_at_a_centre_and_more_neighbours_than_classes():
  t, x, m = given(2)
  x[0] = m[3]
  got = np.asarray(rectify(t, x, m, COUNTS, 1, 1.0))
  w = np.log((COUNTS * t[0]).sum()) / np.log(COUNTS).sum()
  np.testing.assert_allclose(got[0], (1 - w) * t[0] + w * np.eye(C)[3], atol=1e-6)
  np.testing.assert_allclose(
    rectify(t, x, m, COUNTS, 30, 0.5), rectify(t, x, m, COUNTS, C, 0.5), rtol=1e-6
  )


def test_features_and_centres_have_no_gradient():
  t, x, m = given(3)
  x[0] = m[0]

  def total(t, x, m):
    return (rectify_labels(t, x, m, COUNTS, 3, 0.5) * jnp.arange(C)[None, :]).sum()

  by_t, by_x, by_m = jax.jit(jax.grad(total, (0, 1, 2)))(t, x, m)
  assert np.isfinite(by_t).all() and np.abs(by_t).max() > 0
  assert (by_x == 0).all() and (by_m == 0).all()


# the loss

CLASSES = index_classes(np.repeat(np.arange(C), COUNTS), C)
SHARE = piecewise(((0, 0.0), (0.5, 1.0)), 10)


def batch(seed=0, lam=0.3):
  """Logits, un-normalised embeddings and prototypes, and pairs of which the last is un-mixed."""
  rng = np.random.default_rng(seed)
  z, x, m = (jnp.asarray(3 * rng.normal(size=s)) for s in ((B, C), (B, P), (C, P)))
  a, b = (jnp.asarray(rng.integers(0, C, B)) for _ in range(2))
  share = jnp.full(B, lam).at[-1].set(1.0)
  return Outputs(z[:, None], x, x, {'prototypes': m}), Targets(a, b, share)


def value(outs, pair, omega, epoch=7, mask=None, tau=0.9):
  (loss,) = LOSSES['rectified_la'].build(tau=tau, k=2, omega=omega, share=SHARE)
  context = Context(CLASSES, {}, Time(jnp.int32(0), jnp.int32(epoch), jnp.float32(epoch / 10)))
  on = jnp.ones(B) if mask is None else mask
  return pair_loss(loss, outs, pair, on, context, True, labels='pair')


def test_the_loss_against_numpy():
  outs, pair = batch()
  lam, eye = np.asarray(pair.lam)[:, None], np.eye(C)
  t = lam * eye[pair.a] + (1 - lam) * eye[pair.b]
  moved = by_hand(t, np.asarray(outs.embedding), np.asarray(outs.extra['prototypes']), COUNTS, 2, 2)
  t = np.where(lam < 1, moved, t)
  z = np.asarray(outs.logits[:, 0], float) + 0.9 * np.log(COUNTS / COUNTS.sum())
  want = -(t * (z - np.log(np.exp(z).sum(1, keepdims=True)))).sum(1)
  np.testing.assert_allclose(value(outs, pair, 2.0), want.mean(), rtol=1e-5)
  mask = np.arange(B) < 2
  np.testing.assert_allclose(value(outs, pair, 2.0, mask=jnp.asarray(mask)), want[:2].mean(), 1e-5)


@pytest.mark.parametrize('omega, epoch', [(0.0, 7), (2.0, 4)])
def test_without_omega_or_before_its_time_it_is_the_loss_of_the_area(omega, epoch):
  outs, pair = batch(1)
  own, other = (logit_adjustment(outs.logits[:, 0], y, COUNTS, 0.9) for y in (pair.a, pair.b))
  want = (pair.lam * own + (1 - pair.lam) * other).mean()
  np.testing.assert_allclose(value(outs, pair, omega, epoch), want, rtol=1e-5)


def test_omega_changes_loss_and_gradient_of_mixed_images_alone():
  outs, pair = batch(2)

  def both(omega, pair):
    return jax.value_and_grad(lambda z: value(outs._replace(logits=z), pair, omega))(outs.logits)

  (plain, by_plain), (moved, by_moved) = both(0.0, pair), both(2.0, pair)
  assert abs(moved - plain) > 1e-3
  changed = np.abs(by_moved - by_plain).max((1, 2))
  assert (changed[:-1] > 1e-4).all() and changed[-1] < 1e-7
  alone = pair._replace(lam=jnp.ones(B))
  np.testing.assert_allclose(both(2.0, alone)[0], both(0.0, alone)[0], rtol=1e-6)


def test_extremes_have_numbers_as_gradients():
  outs, pair = batch(3, lam=0.0)
  x = outs.embedding.at[0].set(outs.extra['prototypes'][0]).at[1].set(1e4)
  z = outs.logits.at[0].set(1e4).at[1].set(-1e4)

  def total(z, x, m):
    return value(outs._replace(logits=z, embedding=x, extra={'prototypes': m}), pair, 2.0)

  grads = jax.grad(total, (0, 1, 2))(z, x, outs.extra['prototypes'])
  assert all(np.isfinite(g).all() for g in grads) and np.abs(grads[0]).max() > 0
  assert (grads[1] == 0).all() and (grads[2] == 0).all()  # an image moves no centre


# in a step


def drawn(b, number):
  """Returns the views of a step."""
  recipe, state = bench.with_quick_chains(b.recipe), b.before(number)
  per = recipe.steps_per_epoch
  t = Time(jnp.int32(number), jnp.int32(number // per), jnp.float32(0))
  key, plan = jax.random.fold_in(state.key, number), b.plan(state)
  batch = draw_streams(recipe, {'natural'}, key, t, b.store, plan)['natural']
  return {n: build_view(recipe, n, batch, key, {}, t, b.store, plan) for n in recipe.views}


def test_one_coin_one_lambda_and_one_box_a_batch_and_the_contrast_is_never_cut():
  both = [
    bench.Bench(f'--config=digits_lt.py:{method}', batch=32, shared=True)
    for method in ('concutmix', 'concutmix_plain')
  ]
  cut, classes = [], []
  for number in range(24):
    views, whole = (drawn(b, number) for b in both)
    pair, view = views['natural'].targets, views['natural']
    (lam,) = set(np.asarray(pair.lam).tolist())
    np.testing.assert_array_equal(pair.a, whole['natural'].targets.a)
    changed = np.asarray(view.x != whole['natural'].x).any(-1)
    cut.append(bool(changed.any()))
    if cut[-1]:
      # one box, as large as the label says: some image of 32 differs from its partner at its edges
      rows, columns = changed.any((0, 2)), changed.any((0, 1))
      assert abs(rows.sum() * columns.sum() / 64 - (1 - lam)) < 1e-6
      classes += np.asarray(pair.b).tolist()
    for name in ('contrast1', 'contrast2'):
      np.testing.assert_array_equal(views[name].x, whole[name].x)
      np.testing.assert_array_equal(views[name].targets.a, pair.a)
      assert (views[name].targets.lam == 1).all()
  assert 6 < sum(cut) < 18
  share = np.bincount(classes, minlength=10) / len(classes)
  assert np.abs(share - 0.1).max() < 5 * 0.3 / len(classes) ** 0.5
  assert {view.group for view in both[0].recipe.views.values()} == {'contrast'}


def test_values_of_the_data_sets():
  def of(name, method='concutmix'):
    c = runs.config_of(f'--config={name}.py:{method}')
    r = c.loss_args.rectified_la
    return r.tau, r.k, round(r.omega * 255, 3), r.share[-1][0], c.net.projection

  assert of('cifar100_lt') == (0.9, 30, 20, 0.5, 128)
  assert of('cifar10_lt') == (0.85, 3, 2, 0.5, 128)
  assert of('imagenet_lt') == (0.99, 30, 200, 0.7, 1024)
  assert of('inat18') == (0.99, 30, 1628, 0.8, 1024)
  for name in ('cifar100_lt', 'cifar10_lt', 'imagenet_lt', 'inat18', 'digits_lt'):
    rows = [of(name, m) for m in ('concutmix', 'concutmix_area', 'concutmix_plain')]
    assert rows[1] == rows[2] == (*rows[0][:2], 0.0, *rows[0][3:])
  c = runs.config_of('--config=cifar100_lt.py:concutmix')
  assert (c.batch_size, c.optim.lr, c.optim.weight_decay, c.net.head) == (256, 0.15, 5e-4, 'cosine')
  assert c.augment.autoaugment and not c.augment.cutout
  assert (c.terms.natural.weight, c.terms.contrast.weight) == (2.0, 0.6)


def test_the_control_and_the_area_differ_by_one_thing():
  whole, area, plain = (methods()[f'concutmix{n}'] for n in ('', '_area', '_plain'))
  assert {k for k in whole if whole[k] != area[k]} == {'loss_args.rectified_la.omega'}
  assert {k.rpartition('.')[0] for k in area.keys() - plain.keys()} == {
    'streams.natural', 'views.natural',
  }  # fmt: skip
  assert plain.items() <= area.items()


@pytest.mark.parametrize(
  'words, message',
  [
    (['--config.epochs=1'], 'would never be corrected in 1 epochs; set more --config.epochs'),
    (['--config.loss_args.rectified_la.share=((0, 0.0),)'], 'would never be corrected'),
    (['--config.loss_args.rectified_la.k=0'], 'is not at least 1'),
  ],
)
def test_what_cannot_work_is_refused(words, message):
  with pytest.raises(UserError, match=message):
    bench.Bench('--config=digits_lt.py:concutmix', *words)


def test_a_network_without_a_projection_is_refused():
  with pytest.raises(UserError, match="The loss 'rectified_la' needs an embedding"):
    bench.Bench('--config=digits_lt.py:ce', '--config.loss=rectified_la')


def test_what_it_joins():
  for method in ('car+concutmix', 'concutmix+fass', 'concutmix+cuda'):
    assert bench.Bench(f'--config=digits_lt.py:{method}', shared=True).recipe.views
  for method in ('bcl+concutmix', 'cmo+concutmix', 'concutmix+ride', 'concutmix+drw'):
    with pytest.raises(UserError, match='drop one'):
      bench.Bench(f'--config=digits_lt.py:{method}')
