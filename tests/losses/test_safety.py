"""Every loss there is, with logits and class counts at their limits: gradients stay numbers."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fass_jax.config.keys import LOSS_KEYS
from fass_jax.losses import LOSSES, reweight
from fass_jax.losses.kinds import needs_cosine
from fass_jax.losses.weights import effective_number_weights, inverse_frequency_weights
from fass_jax.recipe.terms import loss_parameters
from fass_jax.signals.confusion import Confusion
from fass_jax.types import Classes, Context, Outputs, Time
from tests import runs
from tests.by_hand import examples

few_examples = hypothesis.settings(max_examples=20, deadline=None, database=None, derandomize=True)
B, E, C = 4, 2, 3
NEAR = np.eye(C, k=1, dtype=bool) | np.eye(C, k=-1, dtype=bool)  # auxiliary classes
SCALE = 30.0  # of a cosine head, whose logits end there
CASES = [(name, {}) for name in LOSSES]
# below 1, where the power has no derivative at 0
CASES += [('focal', {'gamma': 0.5}), ('focal_sigmoid', {'gamma': 0.5, 'alpha': 0.25})]
CASES += [('two_rate', {'tau1': 1.0, 'tau2': 0.5}), ('logit_adjustment', {'tau': 2.0})]
WEIGHTS = {
  'effective_number': functools.partial(effective_number_weights, beta=0.9999),
  'inverse': functools.partial(inverse_frequency_weights, power=1.0),
}
CASES += [('ce', {'weights': w}) for w in WEIGHTS] + [('focal_sigmoid', {'weights': 'inverse'})]

extremes = st.sampled_from([1e4, -1e4]) | st.floats(-1e4, 1e4, width=32)
counts = st.sampled_from([1, 2, 10**6]) | st.integers(1, 10**6)


def rows(*shape):
  """Arrays of which most entries are equal, so that ties and equal samples come up."""
  return arrays(np.float32, shape, elements=extremes, fill=st.sampled_from([0.0, 1.0, 1e4, -1e4]))


SIGNALS = {'confusion': Confusion(jnp.full((C, C), 0.1), jnp.ones(C, bool))}


@functools.cache
def gradient(name, given):
  """The gradient of a loss's parts by all that a network gives it, and the parts themselves."""
  # with the parameters of the signal that a loss reads
  config = runs.config_of('--config=digits_lt.py:car', f'--config.net.scale={SCALE}')
  given = dict(given)
  weights = given.pop('weights', None)
  parts = LOSSES[name].build(**(loss_parameters(config, name) | given))
  if weights:
    parts = (reweight(parts[0], WEIGHTS[weights], lambda t: jnp.ones(())), *parts[1:])
  cosine = needs_cosine in LOSSES[name].refuses

  def value(given, labels, n, epoch):
    z, x, embedding, teacher, route = given
    z = jnp.clip(z, -SCALE, SCALE) if cosine else z
    # the prototypes of a contrast, the noise of numbers that are predicted
    extra = {'prototypes': jnp.eye(C, dtype=z.dtype), 'noise': jnp.zeros(())}
    outs = Outputs(z, x, embedding, extra, route, teacher)
    shown = examples(labels)
    # the bins of numbers as numbers, with their mean and standard deviation
    shown = shown._replace(targets=shown.targets._replace(value=jnp.asarray(labels, float)))
    classes = Classes(n, None, None, NEAR, jnp.array([1.0, 2.0]))
    context = Context(classes, SIGNALS, Time(epoch, epoch, epoch / 200))
    found = [part(outs, shown, context) for part in parts]
    return sum((v * w).sum() for v, w in found), found

  return jax.jit(jax.grad(value, has_aux=True))


@pytest.mark.parametrize(
  'name, given', CASES, ids=lambda x: x if isinstance(x, str) else '-'.join(map(str, x.values()))
)
@few_examples
@hypothesis.given(
  rows(B, E, C), rows(B, E, 2), rows(B, C), rows(B, C), rows(B, E - 1),
  st.lists(st.integers(0, C - 1), min_size=B, max_size=B), st.lists(counts, min_size=C, max_size=C),
  st.sampled_from([0, 199]),
)  # fmt: skip
def test_gradients_are_numbers(name, given, z, x, embedding, teacher, route, labels, n, epoch):
  for dtype in (jnp.float32, jnp.bfloat16):
    outs = tuple(jnp.asarray(part, dtype) for part in (z, x, embedding, teacher, route))
    grads, found = gradient(name, tuple(given.items()))(
      outs, jnp.array(labels), jnp.array(n), jnp.int32(epoch)
    )
    for g in grads:
      assert g.dtype == dtype and np.isfinite(np.asarray(g, np.float32)).all()
    for values, weights in found:
      assert values.shape == weights.shape and values.dtype == jnp.float32
      assert np.isfinite(values).all() and (np.asarray(weights) >= 0).all()


def test_every_parameter_is_read_by_a_loss():
  read = {key for kind in LOSSES.values() for key in kind.reads.values()}
  assert {f'loss_args.{key}' for key in LOSS_KEYS} == {k for k in read if k.startswith('loss_args')}
