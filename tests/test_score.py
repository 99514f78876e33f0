"""The score matrix: Eq. 3 to 5 by hand, against NumPy, and as laws over random input."""

import ast
import pathlib
import sys

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from fass_jax import mixing, score
from fass_jax.score import Score, init_score, mixing_ratio, observe, refresh, select_targets
from fass_jax.signals import SIGNALS
from fass_jax.types import Inspector, Outputs, Targets

C = 4
# the worked example of section 3.2: the row of class C (index 2) is (.55, .10, .35)
EXAMPLE = np.array([[0.8, 0.15, 0.05], [0.3, 0.5, 0.2], [0.55, 0.10, 0.35]], np.float32)
few_examples = hypothesis.settings(max_examples=25, deadline=None, database=None, derandomize=True)
jit_observe, jit_refresh = jax.jit(observe), jax.jit(refresh)
jit_targets, jit_ratio = jax.jit(select_targets), jax.jit(mixing_ratio)


def log(probs):
  return jnp.log(jnp.asarray(probs, jnp.float32))


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def class_means(logits, labels, num_classes):
  """Eq. 3 as the paper writes it, sample by sample; a row of zeros for a class without one."""
  rows = np.zeros((num_classes, num_classes))
  for c in range(num_classes):
    own = [softmax(z) for z, y in zip(np.asarray(logits, np.float64), labels) if y == c]
    if own:
      rows[c] = sum(own) / len(own)
  return rows


def random_batch(seed, n=23, c=C):
  rng = np.random.default_rng(seed)
  return rng.normal(0, 3, (n, c)).astype(np.float32), rng.integers(0, c, n).astype(np.int32)


# Eq. 3


def test_init_is_zero_and_its_buffers_are_apart():
  s = init_score(5)
  assert [x.shape for x in s] == [(5, 5), (5, 5), (5,)]
  assert all(x.dtype == jnp.float32 and not np.any(x) for x in s)
  assert s.matrix.unsafe_buffer_pointer() != s.sums.unsafe_buffer_pointer()


def test_means_by_hand():
  probs = [[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]
  s = observe(init_score(3), log(probs), jnp.array([0, 0, 1]))
  np.testing.assert_array_equal(s.count, [2, 1, 0])
  np.testing.assert_array_equal(s.matrix, np.zeros((3, 3)))  # the matrix in use does not move
  s = refresh(s)
  np.testing.assert_allclose(
    s.matrix, [[0.6, 0.25, 0.15], [0.1, 0.8, 0.1], [0, 0, 0]], rtol=0, atol=1e-6
  )
  assert not np.any(s.sums) and not np.any(s.count)


def test_two_classes_by_hand():
  # softmax(0, ln 3) = (1/4, 3/4), softmax(0, 0) = (1/2, 1/2): their mean is (3/8, 5/8)
  logits = jnp.array([[0.0, np.log(3)], [7.0, 7.0]], jnp.float32)
  s = refresh(observe(init_score(2), logits, jnp.array([1, 1])))
  np.testing.assert_allclose(s.matrix, [[0, 0], [0.375, 0.625]], rtol=0, atol=1e-6)


@few_examples
@hypothesis.given(st.integers(0, 2**32 - 1))
def test_means_against_numpy(seed):
  logits, labels = random_batch(seed)
  s = jit_refresh(jit_observe(init_score(C), logits, labels))
  np.testing.assert_allclose(s.matrix, class_means(logits, labels, C), rtol=0, atol=2e-6)
  # a row is a distribution, or zero for a class that was not there
  rows = np.asarray(s.matrix).sum(-1)
  np.testing.assert_allclose(rows, np.isin(range(C), labels).astype(float), rtol=0, atol=2e-6)


def test_batches_add_up():
  logits, labels = random_batch(1, 24)
  whole = observe(init_score(C), logits, labels)
  parts = init_score(C)
  for rows in (slice(0, 5), slice(5, 6), slice(6, 24)):
    parts = observe(parts, logits[rows], labels[rows])
  np.testing.assert_allclose(parts.sums, whole.sums, rtol=1e-5)
  np.testing.assert_array_equal(parts.count, whole.count)
  np.testing.assert_array_equal(parts.count, np.bincount(labels, minlength=C))


def test_sums_are_one_hot_transposed_times_softmax():
  logits, labels = random_batch(2)
  s = observe(init_score(C), logits, labels)
  np.testing.assert_allclose(s.sums, np.eye(C)[labels].T @ softmax(logits), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('dtype', [bool, np.float32, np.int32])
def test_mask_leaves_samples_out(dtype):
  logits, labels = random_batch(3)
  mask = np.arange(len(labels)) % 3 > 0
  got = observe(init_score(C), logits, labels, jnp.asarray(mask.astype(dtype)))
  want = observe(init_score(C), logits[mask], labels[mask])
  np.testing.assert_allclose(got.sums, want.sums, rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(got.count, want.count)


def test_no_gradient_flows():
  logits, labels = random_batch(4)
  base = init_score(C)

  def value(z):
    return jnp.square(refresh(observe(base, z, labels)).matrix).sum()

  assert value(jnp.asarray(logits)) > 0.1
  np.testing.assert_array_equal(jax.grad(value)(jnp.asarray(logits)), np.zeros_like(logits))


def test_half_precision_logits_are_summed_in_float32():
  s = observe(init_score(2), jnp.zeros((3, 2), jnp.bfloat16), jnp.array([0, 0, 1]))
  assert s.sums.dtype == s.count.dtype == jnp.float32
  np.testing.assert_array_equal(s.sums, [[1, 1], [0.5, 0.5]])


# the end of an epoch


def observed(rows, count):
  return jnp.asarray(rows, jnp.float32) * jnp.asarray(count, jnp.float32)[:, None]


def test_a_class_without_samples_keeps_its_row():
  old = jnp.array([[0.9, 0.1], [0.4, 0.6]])
  s = refresh(Score(old, observed([[0.2, 0.8], [0, 0]], [4, 0]), jnp.array([4.0, 0.0])))
  np.testing.assert_allclose(s.matrix, [[0.2, 0.8], [0.4, 0.6]], rtol=0, atol=1e-7)
  s = refresh(s)  # an epoch that saw nothing changes nothing
  np.testing.assert_allclose(s.matrix, [[0.2, 0.8], [0.4, 0.6]], rtol=0, atol=1e-7)


def test_no_memory_beyond_the_last_epoch():
  logits, labels = random_batch(5)
  old = jnp.full((C, C), 1 / C)
  s = refresh(observe(Score(old, jnp.zeros((C, C)), jnp.zeros(C)), logits, labels))
  np.testing.assert_allclose(s.matrix, class_means(logits, labels, C), rtol=0, atol=2e-6)


def test_decay_is_a_moving_average():
  fresh = [[0.2, 0.8], [0.5, 0.5]]
  s = Score(jnp.array([[0.6, 0.4], [0.0, 0.0]]), observed(fresh, [5, 2]), jnp.array([5.0, 2.0]))
  # row 0: .75 * (.6, .4) + .25 * (.2, .8); row 1 is seen for the first time
  np.testing.assert_allclose(
    refresh(s, decay=0.75).matrix, [[0.5, 0.5], [0.5, 0.5]], rtol=0, atol=1e-6
  )
  # without a sample neither row decays
  idle = Score(s.matrix, jnp.zeros((2, 2)), jnp.zeros(2))
  np.testing.assert_array_equal(refresh(idle, decay=0.75).matrix, s.matrix)


def test_decay_over_epochs_against_numpy():
  s, want = init_score(C), None
  for epoch in range(4):
    logits, labels = random_batch(epoch, 40)
    s = refresh(observe(s, logits, labels), decay=0.9)
    new = class_means(logits, labels, C)
    want = new if want is None else 0.9 * want + 0.1 * new
  np.testing.assert_allclose(s.matrix, want, rtol=0, atol=2e-6)


def test_vector_form_is_the_diagonal_in_every_row():
  s = Score(jnp.zeros((3, 3)), observed(EXAMPLE, [2, 3, 4]), jnp.array([2.0, 3.0, 4.0]))
  got = refresh(s, form='vector').matrix
  np.testing.assert_allclose(got, [[0.8, 0.5, 0.35]] * 3, rtol=0, atol=1e-6)
  # all classes but the best rank their targets alike
  np.testing.assert_array_equal(select_targets(got), [1, 0, 0])


def test_unknown_form():
  with pytest.raises(ValueError, match='diagonal'):
    refresh(init_score(2), form='diagonal')


# Eq. 4


def test_worked_example():
  targets = select_targets(jnp.asarray(EXAMPLE))
  assert targets.dtype == jnp.int32
  assert targets[2] == 0  # class A
  lam = mixing_ratio(jnp.asarray(EXAMPLE), jnp.array([2]), targets[2:])
  assert lam.dtype == jnp.float32
  np.testing.assert_allclose(lam, [0.35 / 0.90], rtol=1e-6)
  assert round(float(lam[0]), 3) == 0.389


def test_own_class_is_no_target():
  # the own class has the largest score in every row
  np.testing.assert_array_equal(select_targets(jnp.asarray(EXAMPLE)[:2, :2]), [1, 0])
  matrix = jnp.eye(5) * 0.9 + jnp.diag(jnp.full(4, 0.1), 1)
  np.testing.assert_array_equal(select_targets(matrix), [1, 2, 3, 4, 0])


def test_lowest_index_wins_a_tie():
  matrix = jnp.array([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.3, 0.3, 0.4]])
  np.testing.assert_array_equal(select_targets(matrix), [1, 0, 0])
  np.testing.assert_array_equal(select_targets(jnp.zeros((3, 3))), [1, 0, 0])


def test_negative_scores_still_exclude_the_own_class():
  np.testing.assert_array_equal(select_targets(jnp.array([[5.0, -1.0], [-2.0, 3.0]])), [1, 0])


# Eq. 5


def test_ratio_by_hand():
  matrix = jnp.asarray(EXAMPLE)
  lam = mixing_ratio(matrix, jnp.array([0, 0, 1, 2]), jnp.array([1, 2, 0, 1]))
  want = [0.8 / 0.95, 0.8 / 0.85, 0.5 / 0.8, 0.35 / 0.45]
  np.testing.assert_allclose(lam, want, rtol=1e-6)


def test_ratio_is_not_clamped():
  matrix = jnp.array([[0.02, 0.98], [0.0, 1.0]])
  lam = mixing_ratio(matrix, jnp.array([0, 1]), jnp.array([1, 0]))
  np.testing.assert_allclose(lam, [0.02, 1.0], rtol=1e-6)
  matrix = jnp.array([[0.0, 1.0], [1.0, 0.0]])
  np.testing.assert_array_equal(mixing_ratio(matrix, jnp.array([0]), jnp.array([1])), [0.0])


def test_minimum_is_a_lower_bound():
  matrix = jnp.asarray(EXAMPLE)
  lam = mixing_ratio(matrix, jnp.array([2, 0]), jnp.array([0, 1]), 0.5)
  np.testing.assert_allclose(lam, [0.5, 0.8 / 0.95], rtol=1e-6)
  np.testing.assert_array_equal(mixing_ratio(matrix, jnp.array([2]), jnp.array([0]), 1.0), [1.0])


def test_no_scores_give_a_half():
  zero = jnp.zeros((2, 2))
  np.testing.assert_array_equal(mixing_ratio(zero, jnp.array([0]), jnp.array([1])), [0.5])
  np.testing.assert_allclose(mixing_ratio(zero, jnp.array([0]), jnp.array([1]), 0.7), [0.7])
  # two tiny scores are scores
  tiny = jnp.array([[3e-30, 1e-30], [0.0, 0.0]])
  np.testing.assert_allclose(mixing_ratio(tiny, jnp.array([0]), jnp.array([1])), [0.75], rtol=1e-6)
  # and the gradient of 0/0 is no NaN
  grad = jax.grad(lambda m: mixing_ratio(m, jnp.array([0]), jnp.array([1])).sum())(zero)
  assert np.isfinite(grad).all()


@few_examples
@hypothesis.given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_ratio_and_target_laws(seed, minimum):
  rng = np.random.default_rng(seed)
  matrix = softmax(rng.normal(0, 4, (C, C))).astype(np.float32)
  targets = np.asarray(jit_targets(matrix))
  others = np.where(np.eye(C, dtype=bool), -1, matrix)
  np.testing.assert_array_equal(targets, others.argmax(-1))
  labels = np.arange(C, dtype=np.int32)
  lam = np.asarray(jit_ratio(matrix, labels, targets, np.float32(minimum)))
  assert (lam >= np.float32(minimum)).all() and (lam <= 1).all()
  own, other = matrix[labels, labels].astype(float), matrix[labels, targets].astype(float)
  np.testing.assert_allclose(lam, np.maximum(own / (own + other), minimum), rtol=1e-5)
  # below one half exactly where the network takes b for t more often than for itself
  free = np.asarray(jit_ratio(matrix, labels, targets, np.float32(0)))
  apart = np.abs(own - other) > 1e-5
  np.testing.assert_array_equal((free < 0.5)[apart], (own < other)[apart])


# transforms


def test_jit_changes_nothing():
  logits, labels = random_batch(6)
  eager = refresh(observe(init_score(C), logits, labels))
  jitted = jit_refresh(jit_observe(init_score(C), logits, labels))
  np.testing.assert_allclose(jitted.matrix, eager.matrix, rtol=1e-5, atol=1e-7)
  np.testing.assert_array_equal(jit_targets(eager.matrix), select_targets(eager.matrix))


def test_vmap_over_scores():
  logits, labels = (np.stack(x) for x in zip(*(random_batch(s) for s in range(3))))
  empty = jax.vmap(lambda _: init_score(C))(jnp.arange(3))
  stack = jax.vmap(refresh)(jax.vmap(observe)(empty, logits, labels))
  targets = jax.vmap(select_targets)(stack.matrix)
  lam = jax.vmap(mixing_ratio, (0, None, 0))(stack.matrix, jnp.arange(C), targets)
  assert lam.shape == targets.shape == (3, C)
  for i in range(3):
    one = refresh(observe(init_score(C), logits[i], labels[i]))
    np.testing.assert_allclose(stack.matrix[i], one.matrix, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(targets[i], select_targets(one.matrix))
    np.testing.assert_allclose(
      lam[i], mixing_ratio(one.matrix, jnp.arange(C), targets[i]), rtol=1e-5
    )


@pytest.mark.parametrize('module', [score, mixing])
def test_imports_nothing_of_the_package(module):
  tree = ast.parse(pathlib.Path(module.__file__).read_text())
  found = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      found |= {alias.name.split('.')[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, ast.unparse(node)
      found.add(node.module.split('.')[0])
  assert 'jax' in found
  assert found <= {'jax', *sys.stdlib_module_names}


# the score as a signal of a run


def outputs(logits):
  return Outputs(jnp.asarray(logits)[:, None, :], jnp.zeros((len(logits), 1)))


def test_signal_counts_only_unmixed_and_unmasked_samples():
  logits, labels = random_batch(7, 6)
  signal = SIGNALS['score_matrix'].build('natural', 'matrix', 'running', 0.0, 1.0)
  lam = jnp.array([1.0, 1.0, 0.5, 1.0, 0.0, 1.0])
  mask = jnp.array([True, True, True, True, True, False])
  got = signal.observe(signal.init(C), outputs(logits), Targets(labels, labels, lam), mask)
  want = observe(init_score(C), logits[[0, 1, 3]], labels[[0, 1, 3]])
  np.testing.assert_allclose(got.sums, want.sums, rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(got.count, want.count)


def test_signal_reads_the_mean_of_the_experts():
  logits = jnp.array([[[4.0, 0.0], [0.0, 4.0]]])  # one sample, two experts
  signal = SIGNALS['score_matrix'].build('natural', 'matrix', 'running', 0.0, 1.0)
  targets = Targets(jnp.array([0]), jnp.array([0]), jnp.ones(1))
  got = signal.observe(signal.init(2), Outputs(logits, jnp.zeros((1, 1))), targets, jnp.ones(1))
  np.testing.assert_allclose(got.sums, [[0.5, 0.5], [0, 0]], atol=1e-7)


def test_signal_by_a_pass_ignores_the_running_forwards():
  logits, labels = random_batch(8)
  signal = SIGNALS['score_matrix'].build('natural', 'matrix', 'pass', 0.0, 1.0)
  targets = Targets(labels, labels, jnp.ones(len(labels)))
  state = signal.observe(signal.init(C), outputs(logits), targets, jnp.ones(len(labels)))
  assert not np.any(state.count)

  def fold(observe, acc):
    return observe(acc, logits, labels, jnp.ones(len(labels), bool))

  state = signal.refresh(state, Inspector(fold, None), jax.random.key(0), jnp.int32(0))
  np.testing.assert_allclose(state.matrix, class_means(logits, labels, C), rtol=0, atol=2e-6)


def test_signal_describes_the_move():
  describe = SIGNALS['score_matrix'].build('natural', 'matrix', 'running', 0.0, 1.0).describe
  host = jax.tree.map(np.asarray, init_score(3))
  new = host._replace(matrix=EXAMPLE)
  first = describe(host, new)
  assert np.isnan(first['targets_changed']) and np.isnan(first['target_stability'])
  np.testing.assert_allclose(first['lambda_below_half'], 1 / 3)  # class C alone
  # class A moves from target B to C, the others stay
  moved = EXAMPLE.copy()
  moved[0] = [0.8, 0.05, 0.15]
  row = describe(new, host._replace(matrix=moved))
  assert row['targets_changed'] == 1
  np.testing.assert_allclose(row['target_stability'], 2 / 3)


def test_vector_form_keeps_the_score_of_a_class_without_samples():
  """s = (.8, .7, .5): class 2 had no sample in the epoch, so its .5 stays, in every row."""
  old = jnp.asarray([[0.1, 0.2, 0.5]] * 3)
  sums = jnp.asarray([[1.6, 0.2, 0.2], [0.3, 0.7, 0.0], [0.0, 0.0, 0.0]])
  new = refresh(Score(old, sums, jnp.asarray([2.0, 1.0, 0.0])), form='vector')
  np.testing.assert_allclose(new.matrix, [[0.8, 0.7, 0.5]] * 3, rtol=1e-6)


def test_observe_leaves_out_what_is_not_a_number():
  logits = jnp.asarray([[0.0, 0.0], [jnp.nan, 1.0]])
  out = observe(init_score(2), logits, jnp.asarray([0, 0]), jnp.asarray([1.0, 0.0]))
  np.testing.assert_allclose(out.sums, [[0.5, 0.5], [0.0, 0.0]])
