"""Test-time classifiers: identities, constants by hand, laws, and NumPy as the oracle."""

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import optimize

from fass_jax import classifiers
from fass_jax.classifiers import base, calibrate, ncm, prior_shift, tau_norm
from fass_jax.config.keys import CLASSIFIER, NET
from fass_jax.types import Outputs, UserError
from tests.losses import oracle


def setting(held=True, head='linear', counts=(6, 3, 1), implied=None, **args):
  n = np.asarray(counts, float)
  return base.Setting(
    ConfigDict({**CLASSIFIER, **args}), '--config.classifier_args.',
    ConfigDict({**NET, 'head': head}),
    n / n.sum() if implied is None else np.asarray(implied), 'abc'[: len(n)], counts, held,
  )  # fmt: skip


def outputs(features, w, bias):
  """Outputs of linear heads: features [B, E, D], w [E, C, D]."""
  logits = jnp.einsum('bed,ecd->bec', features, w) + bias
  return Outputs(logits, features if w.shape[0] > 1 else features[:, 0])


def once(features, labels):
  """A pass over a set as one batch, with a filler that is no number."""
  x = np.concatenate([features, np.full_like(features[:1], np.nan)])
  y, mask = np.append(labels, 0), np.arange(len(x)) < len(labels)
  outs = Outputs(jnp.zeros((len(x), 1, 3)), jnp.asarray(x))
  return lambda observe, acc: observe(acc, outs, jnp.asarray(y), jnp.asarray(mask))


def random(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# tau-normalisation


def test_tau_zero_changes_nothing_and_one_gives_unit_rows():
  w = random(0, 2, 4, 5) * np.array([1, 10, 0.1, 3])[None, :, None]
  np.testing.assert_allclose(tau_norm.tau_norm(w, 0.0), w, rtol=1e-6)
  unit = tau_norm.tau_norm(w, 1.0)
  np.testing.assert_allclose(np.linalg.norm(unit, axis=-1), np.ones((2, 4)), rtol=1e-5)
  np.testing.assert_allclose(
    tau_norm.tau_norm(jnp.array([[3.0, 4.0]]), 0.5), [[3 / 5**0.5, 4 / 5**0.5]], rtol=1e-6
  )


@pytest.mark.parametrize('experts', [1, 3])
def test_tau_norm_of_a_head_with_and_without_experts(experts):
  x, w = random(1, 6, experts, 5), random(2, experts, 3, 5)
  heads = [{'linear': {'kernel': k.T, 'bias': random(3, 3)}} for k in w]
  head = heads[0] if experts == 1 else {f'heads_{e}': h for e, h in enumerate(heads)}
  # parts that are no head are left alone
  params = {'head': {**head, 'router': {'shared': {'kernel': random(4, 2, 2)}}}}
  for tau in (0.0, 0.7):
    made = classifiers.build('tau_norm', setting(tau=str(tau)))
    fitted = made.fit({'params': params}, None)
    got = made.scores(outputs(x, w, 7.0), fitted)
    want = np.mean([x[:, e] @ (k.T / np.linalg.norm(k, axis=1) ** tau) for e, k in enumerate(w)], 0)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert made.fitted_values(fitted) == {'tau': tau}


def test_the_grid_of_taus():
  np.testing.assert_allclose(tau_norm.GRID, np.arange(21) / 10, atol=1e-12)


def test_ten_experts_keep_their_order():
  w = random(0, 12, 3, 2)
  head = {f'heads_{e}': {'linear': {'kernel': w[e].T}} for e in range(12)}
  np.testing.assert_array_equal(tau_norm.rows({'head': head}), w)


def test_tau_is_the_best_on_the_held_out_part():
  """Two classes; the weights of the first are 4 times as long: tau = .5 and more is right."""
  w = jnp.array([[[4.0, 0.0], [0.0, 1.0]]])
  params = {'head': {'linear': {'kernel': w[0].T, 'bias': jnp.zeros(2)}}}
  # class 1 is right once 4^(1 - tau) * .5 < 1, from tau = .6 on; class 0 until 4^(1 - tau) > .2
  x = np.array([[1, 0.2], [1, 0.2], [1, 0.2], [0.5, 1.0]], np.float32)
  y = np.array([0, 0, 0, 1])
  made = classifiers.build('tau_norm', setting(counts=(8, 2)))
  sets = base.Sets(None, once(x, y), jnp.asarray(y), 2)
  fitted = made.fit({'params': params}, sets)
  # all of .6 .. 2 are right
  assert made.fitted_values(fitted) == {'tau': 1.3}
  np.testing.assert_allclose(fitted['w'], tau_norm.tau_norm(w, 1.3), rtol=1e-6)


def test_the_best_tau_is_by_class_and_the_middle_of_equals():
  labels = np.array([0] * 8 + [1] * 2)  # class 2 has no image
  right = np.array([[8, 0, 0], [6, 1, 0], [5, 2, 0], [5, 2, 0]])  # means .5, .625, .8125, .8125
  assert tau_norm.best_tau(right, labels) == 2
  assert tau_norm.best_tau(np.concatenate([right, right[2:3]]), labels) == 3


# nearest class mean


@pytest.mark.parametrize('kind', ncm.KINDS)
def test_separated_gaussians_are_told_apart(kind):
  rng = np.random.default_rng(0)
  centres = 20 * np.eye(4) + 3
  y = np.repeat(np.arange(4), (100, 30, 10, 2))
  z = (centres[y] + rng.normal(size=(142, 4))).astype(np.float32)
  mean, means = ncm.ncm_fit(z, y, 4, kind)
  test_y = np.repeat(np.arange(4), 50)
  test = (centres[test_y] + rng.normal(size=(200, 4))).astype(np.float32)
  assert (ncm.ncm_logits(test, mean, means, kind).argmax(-1) == test_y).all()


def in_numpy(z, y, query, kind):
  mean = z.mean(0)

  def placed(x):
    x = x - mean if kind == 'cl2n' else x
    return x if kind == 'un' else x / np.linalg.norm(x, axis=1, keepdims=True)

  means = np.stack([placed(z)[y == c].mean(0) for c in range(3)])
  if kind == 'cosine':
    return placed(query) @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
  return -np.square(placed(query)[:, None] - means[None]).sum(-1)


@pytest.mark.parametrize('kind', ncm.KINDS)
def test_ncm_against_numpy_and_as_a_pass_with_experts(kind):
  z, query, y = random(0, 40, 6) + 1, random(1, 9, 6) + 1, np.arange(40) % 3
  want = in_numpy(np.float64(z), y, np.float64(query), kind)
  got = ncm.ncm_logits(query, *ncm.ncm_fit(z, y, 3, kind), kind)
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
  # the same features as those of two experts, and a filler
  made = classifiers.build('ncm', setting(counts=tuple(np.bincount(y).tolist()), ncm=kind))
  fitted = made.fit({}, base.Sets(once(z.reshape(40, 2, 3), y), None, None, 6))
  outs = Outputs(jnp.zeros((9, 2, 3)), jnp.asarray(query.reshape(9, 2, 3)))
  np.testing.assert_allclose(made.scores(outs, fitted), want, rtol=1e-4, atol=1e-5)


def test_cl2n_by_hand():
  z = jnp.array([[1.0, 0.0], [3.0, 0.0], [2.0, 3.0], [2.0, -3.0]])
  mean, means = ncm.ncm_fit(z, jnp.array([0, 0, 1, 1]), 2)
  # around (2, 0) the classes point left and right, and up and down: both means are 0
  np.testing.assert_allclose(mean, [2, 0])
  np.testing.assert_allclose(means, np.zeros((2, 2)), atol=1e-6)
  np.testing.assert_allclose(ncm.ncm_logits(z[:1], mean, means), [[-1, -1]], rtol=1e-6)


# post-hoc


def test_post_hoc_to_the_implied_prior_is_the_identity():
  z = random(0, 5, 1, 3)
  made = classifiers.build('post_hoc', setting(prior='train'))
  fitted = base.Fitted({}, jnp.ones(()))
  got = base.logits(made, Outputs(jnp.asarray(z), jnp.zeros((5, 2))), fitted)
  np.testing.assert_allclose(got, z[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('tau', [0.5, 1.0, 2.0])
def test_post_hoc_takes_out_what_logit_adjustment_put_in(tau):
  pi, z = np.array([0.6, 0.3, 0.1]), random(1, 50, 3)
  moved = jnp.asarray(z + tau * np.log(pi), jnp.float32)[:, None]
  made = classifiers.build('post_hoc', setting(tau=str(tau), implied=pi))
  got = base.logits(made, Outputs(moved, jnp.zeros((50, 2))), base.Fitted({}, jnp.ones(())))
  np.testing.assert_array_equal(got.argmax(-1), z.argmax(-1))
  assert (moved[:, 0].argmax(-1) != z.argmax(-1)).any()
  np.testing.assert_allclose(oracle.softmax(np.float64(got)), oracle.softmax(z), rtol=1e-4)


def test_the_temperature_acts_before_the_prior():
  z = random(2, 4, 1, 3)
  made = classifiers.build('post_hoc', setting(calibrate=True))
  got = base.logits(
    made, Outputs(jnp.asarray(z), jnp.zeros((4, 2))), base.Fitted({}, jnp.asarray(2.0))
  )
  want = prior_shift.post_hoc(z[:, 0] / 2, np.array([6.0, 3, 1]), np.ones(3))
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


# calibration


def test_the_temperature_is_the_least_of_the_nll():
  rng = np.random.default_rng(0)
  z = rng.normal(size=(400, 3)).astype(np.float32)
  p = oracle.softmax(np.float64(z))
  y = np.array([rng.choice(3, p=row) for row in p])
  shift = np.log([0.5, 0.3, 0.2])

  def nll(log_t):
    return -np.log(oracle.softmax(np.float64(z) * 3 / np.exp(log_t) + shift))[range(400), y].mean()

  want = np.exp(optimize.minimize_scalar(nll, (-1.0, 2.0)).x)
  got = float(calibrate.temperature(3 * z, jnp.asarray(y), jnp.asarray(shift, jnp.float32)))
  np.testing.assert_allclose(got, want, rtol=1e-2)
  plain = float(calibrate.temperature(3 * z, jnp.asarray(y), jnp.zeros(3)))
  assert 2.4 < plain < 3.6  # the labels came from z itself, which is 3 times as flat


def test_no_temperature_without_a_mistake_and_absent_classes_do_not_matter():
  z, y = 5 * jnp.eye(3), jnp.arange(3)
  assert float(calibrate.temperature(z, y, jnp.zeros(3))) == 1
  z, y = random(0, 30, 3), jnp.arange(30) % 2
  shift = jnp.array([0.0, 0.0, -jnp.inf])
  want = calibrate.temperature(z[:, :2], y, jnp.zeros(2))
  np.testing.assert_allclose(calibrate.temperature(z, y, shift), want, rtol=1e-2)


# what cannot be


@pytest.mark.parametrize(
  'name, how, words',
  [
    ('ncmm', {}, ['--config.classifier', "did you mean 'ncm'"]),
    ('ncm', {'ncm': 'cl2'}, ["did you mean 'cl2n'"]),
    ('tau_norm', {'held': False}, ['--config.data.held_out=0.1', '--config.classifier_args.tau=1']),
    ('tau_norm', {'head': 'cosine'}, ['needs a linear head', 'unit norm already']),
    ('tau_norm', {'tau': '-1'}, ['tau=-1', "number of 0 or more nor 'auto'"]),
    ('post_hoc', {'tau': 'much'}, ['tau=much']),
    ('post_hoc', {'prior': 'unifrom'}, ['classifier_args.prior=unifrom', "mean 'uniform'"]),
    ('trained', {'held': False, 'calibrate': True}, ['--config.data.held_out=0.1', 'leave']),
  ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(name, how, words):
  with pytest.raises(UserError) as error:
    classifiers.build(name, setting(**how))
  for word in words:
    assert word in str(error.value)


def test_a_network_without_a_linear_head():
  made = classifiers.build('tau_norm', setting(tau='1'))
  with pytest.raises(UserError, match='no linear head'):
    made.fit({'params': {'head': {'kernel': jnp.ones((2, 2))}}}, None)


def test_every_classifier_says_what_it_reads():
  kinds = classifiers.CLASSIFIERS.values()
  assert {key for kind in kinds for key in kind.reads} | {'calibrate'} == set(CLASSIFIER)


# what would change nothing, or be no number


def test_a_post_hoc_adjustment_that_changes_nothing_is_said(caplog):
  classifiers.build('post_hoc', setting(implied=[1 / 3] * 3))
  classifiers.build('post_hoc', setting(prior='train'))
  assert [r.message for r in caplog.records] == 2 * [
    'post_hoc has no effect here: the logits already imply the requested class prior.'
  ]
  caplog.clear()
  classifiers.build('post_hoc', setting())
  assert not caplog.records


def test_a_large_tau_is_a_number_or_refused():
  counts = (500, 50, 5)
  made = classifiers.build('post_hoc', setting(counts=counts, tau='15'))
  z = base.logits(made, Outputs(jnp.zeros((1, 1, 3)), jnp.zeros((1, 2))), base.Fitted((), 1.0))
  np.testing.assert_allclose(z[0] - z[0, 0], 15 * np.log([1, 10, 100]), rtol=1e-5)
  with pytest.raises(UserError, match=r'tau=20 would move logits by 92 nats.*at most 17.4'):
    classifiers.build('post_hoc', setting(counts=counts, tau='20'))
