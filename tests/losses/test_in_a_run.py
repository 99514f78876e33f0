"""The losses in real runs of two epochs on the digits: each one trains, and not as CE does."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from fass_jax import nets
from fass_jax.config.keys import STREAM, TERM, VIEW
from tests import runs


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """Trains a changed config once with a linear net; two branches where a config has them."""
  known = {}

  def get(name, change=lambda config: None, method='ce'):
    if name not in known:
      config = runs.config_of(f'--config=digits_lt.py:{method}', '--config.epochs=2')
      config.unlock()
      change(config)
      with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nets, 'build', lambda *args, **how: two(args[-1], config.net.experts))
        known[name] = runs.in_memory(config, tmp_path_factory.mktemp('run'))
    return known[name]

  return get


def two(num_classes, branches):
  """The linear net with its classes once for each branch."""
  net = runs.linear_net(branches * num_classes)

  def head(variables, features, is_training):
    outs, stats = net.head(variables, features, is_training)
    return outs._replace(logits=outs.logits.reshape(-1, branches, num_classes)), stats

  return net._replace(head=head)


@pytest.mark.parametrize('name', ['weighted_la', 'focal_sigmoid'])
def test_a_loss_of_logits(trained, name):
  def change(config):
    config.loss = name

  state, rows = trained(name, change)
  assert np.isfinite(rows[0]['loss']) and rows[1]['loss'] < rows[0]['loss']
  assert not np.array_equal(state.params['w'], trained('ce')[0].params['w'])


def add_range(config):
  config.terms.range = ConfigDict(dict(TERM, loss='range', weight=1e-3))


def test_range_loss_beside_the_host(trained):
  """The linear net's features are its pixels: the term is there, and has nothing to move."""
  plain, run = trained('ce'), trained('range', add_range)
  np.testing.assert_array_equal(run[0].params['w'], plain[0].params['w'])
  extra = [a['loss'] - b['loss'] for a, b in zip(run[1], plain[1])]
  assert min(extra) > 1e-3


def reverse(config):
  """BBN but for its network; a class-balanced stream stands for the reversed one."""
  config.loss, config.net.experts = 'bbn', 2
  config.streams.other = ConfigDict(dict(STREAM, sampler='class_balanced'))
  config.views.other = ConfigDict(dict(VIEW, stream='other'))
  config.terms.natural.views = ('natural', 'other')


@pytest.mark.parametrize('method', ['ce', 'mixup'])
def test_two_branches(trained, method):
  """With mixed labels in its natural view too; its first epoch asks the first branch alone."""
  state, rows = trained(f'bbn+{method}', reverse, method)
  assert np.isfinite([row['loss'] for row in rows]).all()
  w = np.asarray(state.params['w'])
  c = w.shape[1] // 2
  # alpha = 1 in the first epoch and 3/4 in the second: the second branch has moved less
  first, second = np.abs(w[:, :c]).mean(), np.abs(w[:, c:]).mean()
  assert first > 1.2 * second > 0.01
