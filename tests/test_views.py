"""Several views as one batch to a joint loss: rows, masks, labels, and what it is divided by."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.engine import step
from fass_jax.engine.forward import join
from fass_jax.engine.views import Input
from fass_jax.types import Context, Outputs, Targets, Term


class Seen(NamedTuple):
  mixed_label: bool


class Recipe(NamedTuple):
  """What a term reads of the recipe."""

  views: dict[str, Seen]


def view(a, b=None, lam=None, mask=None):
  a = jnp.asarray(a)
  targets = Targets(a, a if b is None else jnp.asarray(b), jnp.ones(len(a)))
  targets = targets if lam is None else targets._replace(lam=jnp.asarray(lam))
  on = jnp.ones(len(a), bool) if mask is None else jnp.asarray(mask)
  return Input(jnp.zeros((len(a), 1)), targets, on, a, targets.lam, targets.lam)


def outputs(values):
  x = jnp.asarray(values, jnp.float32)
  return Outputs(x[:, None, None], x[:, None], x[:, None], {'prototypes': jnp.eye(2)})


ONE, TWO = view([0, 1]), view([1, 1], [0, 2], [0.25, 0.5], [True, False])
OUT = {'one': outputs([1, 2]), 'two': outputs([3, 4])}


def test_rows_masks_and_pair_targets_are_joined():
  out, targets, mask = join(list(OUT.values()), [ONE, TWO])
  np.testing.assert_array_equal(out.features[:, 0], [1, 2, 3, 4])
  np.testing.assert_array_equal(out.embedding[:, 0], [1, 2, 3, 4])
  np.testing.assert_array_equal(mask, [1, 1, 1, 0])
  assert set(out.extra) == {'prototypes'} and out.route is None and targets.value is None
  np.testing.assert_array_equal(targets.a, [0, 1, 1, 1])
  np.testing.assert_array_equal(targets.b, [0, 1, 0, 2])
  np.testing.assert_allclose(targets.lam, [1, 1, 0.25, 0.5])


def test_views_that_do_not_mix_have_their_own_labels_alone():
  """As a contrast has them, and the step asks for one label only."""
  _, targets, _ = join(list(OUT.values()), [view([0, 1]), view([2, 2])])
  np.testing.assert_array_equal(targets.a, [0, 1, 2, 2])
  np.testing.assert_array_equal(targets.a, targets.b)
  np.testing.assert_array_equal(targets.lam, np.ones(4))


def part_of(mixed, per_batch=False):
  """The scalar of a joint loss whose value is 10 (label + 1) + feature, and the calls it took."""
  calls: list[Any] = []

  def loss(outs, examples, context):
    calls.append(examples.labels)
    return 10.0 * (examples.labels + 1) + outs.features[:, 0], jnp.ones(examples.labels.shape)

  term = Term(('one', 'two'), (loss,), True, lambda t: jnp.ones(()), per_batch, 2)
  recipe = Recipe({'one': Seen(False), 'two': Seen(mixed)})
  (value,) = step.term_parts(recipe, term, OUT, {'one': ONE, 'two': TWO}, Context(None, {}, None))
  return float(value), len(calls)


def test_mixed_labels_are_both_asked():
  # rows that count: 11, 22, and a of the third 23 with .25, b 13 with .75
  value, calls = part_of(True)
  assert calls == 2
  np.testing.assert_allclose(value, (11 + 22 + 0.25 * 23 + 0.75 * 13) / 3, rtol=1e-6)


def test_single_labels_are_asked_once():
  value, calls = part_of(False)
  assert calls == 1
  np.testing.assert_allclose(value, (11 + 22 + 23) / 3, rtol=1e-6)


@pytest.mark.parametrize('mixed, total', [(True, 11 + 22 + 5.75 + 9.75), (False, 56)])
def test_divided_by_the_rows_of_both_views(mixed, total):
  np.testing.assert_allclose(part_of(mixed, per_batch=True)[0], total / 4, rtol=1e-6)
