"""The pieces of the benchmark: what the device could do, how costs grow, the PyTorch loops."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax import score
from launch.benchmarks import growth, report, roofline
from tests import runs

# what the device could do


def test_counts_of_resnet_32_by_hand():
  got = roofline.analytic_step(32, 128, 100)
  assert 68e6 < got['macs'] < 70e6
  # stem and stage 1: 11 outputs of 32 x 32 x 16; then 10 of 16 x 16 x 32 and 10 of 8 x 8 x 64
  assert got['activation_bytes'] == 4 * (11 * 16384 + 10 * 8192 + 10 * 4096) == 1_212_416
  assert got['flops'] == 6 * 128 * got['macs']
  assert got['bytes'] == 10 * 128 * got['activation_bytes']
  assert roofline.analytic_step(32, 128, 100, bytes_per_value=2)['bytes'] == got['bytes'] / 2


def test_counts_follow_depth_classes_and_side():
  small = roofline.analytic_step(8, 1, 10, side=8)
  # stem, two convolutions a stage; the first of stages 2 and 3 has half the inputs
  stem, first = 9 * 3 * 16 * 64, 2 * 9 * 16 * 16 * 64
  others = (9 * 16 * 32 + 9 * 32 * 32) * 16 + (9 * 32 * 64 + 9 * 64 * 64) * 4
  assert small['macs'] == stem + first + others + 640
  more = roofline.analytic_step(8, 1, 110, side=8)
  assert more['macs'] - small['macs'] == 6400
  assert more['activation_bytes'] == small['activation_bytes']


@pytest.mark.parametrize('depth', [2, 9, 33])
def test_a_depth_that_is_none(depth):
  with pytest.raises(ValueError, match='6n'):
    roofline.analytic_step(depth, 1, 10)


def test_limits_by_hand():
  got = roofline.limits(flops=6e9, bytes_moved=4e9, bandwidth=2e9, rate=12e9)
  assert got == {'memory_s': 2.0, 'arithmetic_s': 0.5, 'limit_s': 2.0}
  assert roofline.share_of_limit(8.0, got) == 0.25
  assert roofline.limits(6e9, 4e9, 2e9, 1e9)['limit_s'] == 6.0


def test_cost_of_a_matrix_product():
  n = 64
  compiled = jax.jit(jnp.matmul).lower(*[jnp.ones((n, n))] * 2).compile()
  got = roofline.cost(compiled)
  assert got['flops'] == pytest.approx(2 * n**3, rel=0.01)
  assert got['bytes'] == pytest.approx(3 * 4 * n * n, rel=0.1)


@pytest.mark.parametrize('answer', [None, [], {}, [{'flops': 3.0}]])
def test_cost_where_little_is_known(answer):
  class Compiled:
    def cost_analysis(self):
      return answer

  got = roofline.cost(Compiled())
  assert math.isnan(got['bytes'])
  assert got['flops'] == 3.0 if answer else math.isnan(got['flops'])


def test_rates_are_measured():
  assert roofline.copy_bandwidth(2**20, rounds=1) > 1e6
  assert roofline.matmul_rate('float32', n=64, rounds=1) > 1e6


@pytest.mark.parametrize('depth, giga', [(18, 1.814), (34, 3.664), (50, 4.089), (152, 11.514)])
def test_multiply_adds_are_those_that_torchvision_states(depth, giga):
  assert roofline.resnet_macs(depth) / 1e9 == pytest.approx(giga, abs=5e-4)


# how costs grow


def test_cost_of_the_score(monkeypatch):
  monkeypatch.setattr(growth, 'BUDGET', 0.01)
  got = growth.score_cost(10, batch=16, pairs=5)
  assert got.keys() == {'observe', 'choice', 'refresh', 'step'}
  assert all(x > 0 for x in got.values())
  assert got['step'] == got['observe'] + got['choice']


def test_cost_beside_a_step_and_of_a_larger_set(monkeypatch):
  runs.use_tiny_net(monkeypatch)
  monkeypatch.setattr(growth, 'BUDGET', 0.01)
  monkeypatch.setattr(growth, 'missing_memory', lambda c: 'too many' if c == 77 else '')
  got = growth.class_cost((10, 77), depth=8, batch=4)
  assert got['77'] == {'skipped': 'too many'}
  assert got['10']['share'] == pytest.approx(got['10']['step'] / got['10']['ce_step'])
  assert got['10']['goal'] == 0.02
  found = growth.set_cost((200,), batch=4)
  assert found.keys() == {'200'} and all(x > 0 for x in found['200'].values())
  assert found['200']['plan_per_step'] == pytest.approx(found['200']['plan'] / 50)


def test_memory_is_asked_for_at_many_classes_only(monkeypatch):
  assert growth.missing_memory(1000) == ''
  monkeypatch.setattr(growth, 'SPARE', 2**60)
  assert growth.missing_memory(1000) == ''
  assert '10000 classes need' in growth.missing_memory(10_000)


def test_goals():
  assert [growth.goal(c) for c in (10, 1000, 10_000)] == [0.02, 0.02, 0.1]


def test_the_step_touches_rows_of_the_score_and_not_all_of_it():
  c, batch = 2048, 16
  state = score.init_score(c)
  labels, logits = jnp.zeros((batch,), jnp.int32), jnp.zeros((batch, c))
  add = jax.jit(score.observe, donate_argnums=0).lower(state, logits, labels).compile()
  # a second matrix would be 16 MiB
  assert add.memory_analysis().temp_size_in_bytes < c * c
  classes = growth.index_classes(np.arange(c), c)
  pick = jax.jit(growth.choose).lower(jax.random.key(0), labels, state.matrix, classes).compile()
  # an operation for each entry would be 4 million; the bytes count a gather's whole operand
  assert roofline.cost(pick)['flops'] < c * c


def test_the_page_of_figures_is_made_from_the_results():
  page = (runs.REPO / 'docs' / 'performance.md').read_text()
  assert report.renewed(page, runs.REPO / 'results') == page


# the loops of PyTorch


@pytest.fixture
def loops():
  pytest.importorskip('torch', reason='needs the extra parity: pip install -e .[parity]')
  from launch.benchmarks import torch_loops

  return torch_loops


def small_set():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
  return images, (np.arange(40) % 4).astype(np.int32), 4, 8, 16


@pytest.mark.parity
@pytest.mark.parametrize('method', ['ce', 'fass'])
def test_the_loop_with_loaders(loops, method):
  run = loops.LoaderRun(*small_set(), method=method, num_workers=0)
  run.run(4)  # an epoch of 3, the last batch short, and one more
  first = run.loss.item()
  run.fill_scores()
  run.run(1)
  assert np.isfinite(first) and run.loss.item() > first
  # the scores name the partners' classes to whoever loads them
  if method == 'fass':
    assert ((run.choice >= 0) & (run.choice != loops.torch.arange(4))).all()
  run.close()


@pytest.mark.parity
def test_the_loader_shows_pairs_of_the_target_class(loops):
  images, labels = small_set()[:2]
  images = np.broadcast_to(labels.astype(np.uint8)[:, None, None, None] * 60, images.shape)
  pairs = loops.Pairs(np.ascontiguousarray(images), labels, 2, loops.torch.tensor([2, -1, 0, 1]))

  def middle(x):
    mean, std = (loops.torch.tensor(v)[:, None, None] for v in (loops.MEAN, loops.STD))
    return round(((x * std + mean) * 255 / 60)[:, 8, 8].mean().item())

  for i in range(40):
    x, x_t, y = pairs[i]
    assert x.shape == (3, 16, 16) and middle(x) == y == labels[i]
    assert middle(x_t) == {0: 2, 2: 0, 3: 1}.get(y, middle(x_t)) != y


@pytest.mark.parity
@pytest.mark.parametrize('method, bfloat16', [('ce', False), ('mixup', False), ('fass', True)])
def test_the_loop_on_the_device(loops, method, bfloat16):
  run = loops.DeviceRun(*small_set(), method=method, bfloat16=bfloat16)
  run.run(4)
  assert np.isfinite(run.loss.item()) and run.loss.item() > 0
  assert run.place == 16  # the second epoch's first batch
  # an epoch shows every image once; its last batch is filled from its head
  order = run.order[:48].tolist()
  assert sorted(order[:40]) == list(range(40)) and order[40:] == order[:8]
  run.close()


@pytest.mark.parity
def test_graphs_count_on_the_device(loops, monkeypatch):
  """What a graph captures, run eagerly: the same batches as the host would count."""
  run = loops.DeviceRun(*small_set())
  run.mode, seen = 'graphs', []
  monkeypatch.setattr(run, 'load', lambda index: seen.append(index.clone()) or index)
  for _ in range(4):
    run.plan()
    run.natural()
    want = run.order[run.place - 16 : run.place]
    assert seen[-1].tolist() == want.tolist()


@pytest.mark.parity
def test_graphs_need_a_gpu(loops, monkeypatch):
  monkeypatch.setattr(loops.torch.cuda, 'is_available', lambda: False)
  with pytest.raises(RuntimeError, match='needs an NVIDIA GPU'):
    loops.DeviceRun(*small_set(), mode='graphs')
  with pytest.raises(ValueError, match='eager, compile, graphs'):
    loops.DeviceRun(*small_set(), mode='fast')
