"""Variants of FASS that keep S unsure, or act where it is, one by one against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.nets.base import apply
from fass_jax.sampling.named import KEEPS, PARTNERS
from fass_jax.sampling.samplers import index_classes
from fass_jax.score import draw_targets, init_score, observe
from fass_jax.types import UserError
from tests import runs
from tests.bench import LONG, Bench, digits, steps_of

MATRIX = np.array([[0.6, 0.1, 0.3], [0.0, 1.0, 0.0], [0.45, 0.05, 0.5]], np.float32)
EACH = 4000
LABELS = np.repeat(np.arange(3), EACH)


def within(shares, expected, n=EACH):
  """Whether shares of n draws fit probabilities."""
  expected = np.asarray(expected)
  return (np.abs(shares - expected) <= 5 * np.sqrt(expected * (1 - expected) / n) + 1e-9).all()


def test_targets_are_drawn_from_the_rest_of_their_row():
  """Row 0: .1 and .3 of .4. Row 1 is confused with none: all others alike. Never the own class."""
  drawn = np.asarray(jax.jit(draw_targets)(jax.random.key(0), MATRIX, LABELS))
  shares = [np.bincount(drawn[c == LABELS], minlength=3) / EACH for c in range(3)]
  for got, want in zip(shares, ([0, 0.25, 0.75], [0.5, 0, 0.5], [0.9, 0.1, 0])):
    assert within(got, want)


def test_a_drawn_partner_is_any_image_of_the_drawn_class():
  image_class = np.repeat(np.arange(3), [4, 3, 2])
  choose = jax.jit(PARTNERS['score_drawn'].choose)
  labels = jnp.zeros(EACH, jnp.int32)
  classes = index_classes(image_class, 3)
  drawn = np.asarray(choose(jax.random.key(1), labels, labels, jnp.asarray(MATRIX), classes))
  assert within(np.bincount(drawn, minlength=9) / EACH, [0] * 4 + [0.25 / 3] * 3 + [0.75 / 2] * 2)


def test_temperature_divides_the_logits():
  logits = np.array([[2.0, 0.0], [0.0, 4.0]], np.float32)
  got = observe(init_score(2), logits, jnp.array([0, 1]), temperature=2.0).sums
  e = np.exp(np.array([1.0, 2.0]))
  np.testing.assert_allclose(np.diagonal(got), e / (e + 1), rtol=1e-6)


def test_what_is_confused_is_kept_more_often():
  keep = KEEPS['confused'].of
  kept = np.asarray(keep(jax.random.key(2), jnp.asarray(MATRIX), LABELS, None))
  assert within(kept.reshape(3, EACH).mean(1), [0.4, 0, 0.5])


def test_a_mix_that_is_mostly_another_image_is_left_out():
  kept = KEEPS['majority'].of(None, None, None, jnp.array([0.2, 0.5, 0.9]))
  np.testing.assert_array_equal(kept, [False, True, True])


def drawn_of(run, view='mixup'):
  return sum(r['mixed'][view]['drawn'] for r in run.rows)


def test_kept_mixes_are_those_of_the_step():
  """All images of the pair stream are drawn either way; what is left out is masked."""
  every = steps_of('fass', 4, (), 3)
  majority = steps_of('fass', 4, (('streams.pair.keep', 'majority'),), 3)
  below = sum(r['mixed']['mixup']['lam_below_half_all'] * 20 for r in every.rows)
  assert drawn_of(every) == 60 and 0 < below < 60
  # the first step alone has the same parameters and so the same scores behind it
  first = every.rows[0]['mixed']['mixup'], majority.rows[0]['mixed']['mixup']
  assert first[1]['drawn'] == first[0]['drawn'] * (1 - first[0]['lam_below_half_all'])
  assert first[1]['lam_below_half_all'] == 0


def test_scores_of_every_forward_hold_the_mixed_images_too():
  overrides = (('signals.score.source', 'every'),)
  b = Bench('--config=digits_lt.py:fass', f'--config.epochs={LONG}',
            *(f'--config.{k}={v}' for k, v in overrides), batch=64, shared=True)  # fmt: skip
  first = b.recipe.steps_per_epoch * 5
  run = b.go(first, 1)
  before, after = run.began['score'].count, run.state.signals['score'].count
  # 64 natural images, and 20 in each of two views
  assert float((after - before).sum()) == 64 + 2 * 20
  plain = steps_of('fass', 4, (), 1)
  assert plain.recipe.signals['score'].every is False


def test_scores_of_held_out_images():
  """S is the mean softmax over the held-out images of a class, with the network of the epoch."""
  b = Bench('--config=digits_lt.py:fass', f'--config.epochs={LONG}', '--config.data.held_out=0.2',
            '--config.signals.score.source=held_out', batch=64, shared=True)  # fmt: skip
  run = b.go(5 * b.recipe.steps_per_epoch - 1, 1)
  now = {'params': run.state.params, 'batch_stats': run.state.batch_stats}
  x = run.recipe.normalise(jnp.asarray(b.data.held_images))
  p = np.asarray(jax.nn.softmax(apply(run.recipe.net, now, x, False)[0].logits.mean(1)))
  for c, row in enumerate(np.asarray(run.state.signals['score'].matrix)):
    np.testing.assert_allclose(row, p[b.data.held_labels == c].mean(0), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
  ('sets', 'says'),
  [
    (['signals.score.source=held_out'], 'this run has none; set --config.data.held_out=0.1'),
    (['streams.natural.keep=majority'], 'this stream has no partners'),
  ],
)
def test_what_cannot_be_is_refused(sets, says):
  with pytest.raises(UserError, match=says):
    Bench('--config=digits_lt.py:fass', *(f'--config.{s}' for s in sets), data=digits())


def test_a_run_with_each_of_them(tmp_path):
  sets = {
    'data.held_out': 0.2,
    'signals.score.source': 'held_out',
    'signals.score.temperature': 2.0,
    'streams.pair.partner': 'score_drawn',
    'streams.pair.keep': 'confused',
    'terms.fs.divisor': 'batch',
  }
  config = runs.config_of(
    '--config=digits_lt.py:fass',
    '--config.epochs=3',
    *(f'--config.{k}={v}' for k, v in sets.items()),
  )
  with pytest.MonkeyPatch.context() as patch:
    runs.use_linear_net(patch)
    rows = runs.in_memory(config, tmp_path)[1]
  drawn = [r['mixed']['mixup']['drawn'] for r in rows]
  assert drawn[0] == 0 and 0 < drawn[2] < 20 * 6
