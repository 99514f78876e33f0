"""Methods together: each pair builds or says why not, and combinations of them trace as they run.

Every pair that builds stands in some combination, whose train step is traced: that finds what only
comes out where two pieces meet in a step, such as shapes, without compiling anything.
"""

import functools
import itertools
import json
import os
import pathlib

import jax
import pytest

from fass_jax.config import stages
from fass_jax.config.deltas import flatten, methods
from fass_jax.recipe.build import build
from fass_jax.types import UserError
from tests import bench, runs

# the methods that need no earlier run; those for numbers are in test_regression_run.py
ALONE = sorted(methods().keys() - runs.NEEDS_RUN - runs.OF_NUMBERS)
MOST = 6  # methods in a combination
PARTS = 8  # tests that the combinations are dealt to
SEEDS, CHUNK = 3, 3  # of those that are traced as several seeds in chunks of steps


def config_of(names):
  return runs.config_of(f'--config=digits_lt.py:{"+".join(names)}')


def parts_of(config):
  """Returns the configs of the stages of a combination."""
  return [part.config for part in stages.split(config, pathlib.Path('w'))]


def keys_of(config):
  """Returns a config as {key: value}, but for its method string."""
  return {key: value for key, value in flatten(config).items() if key != 'method'}


@functools.cache
def keys_alone(name):
  return keys_of(config_of([name]))


def check_swallowed(a, b, config):
  """Where a pair is one of its two, the other is a part of that one and not another value."""
  both = keys_of(config)
  for one, other in ((a, b), (b, a)):
    if both == keys_alone(one):
      assert methods()[other].items() <= methods()[one].items(), f'{one} swallows {other}'


def verdict(a, b):
  """Builds a pair; returns '' or the reason why it is refused.

  Raises:
    AssertionError: if one of the two is lost in the other.
  """
  try:
    config = config_of([a, b])
    for part in parts_of(config):
      assert build(part, bench.digits()).views
  except UserError as error:
    return str(error)
  check_swallowed(a, b, config)
  return ''


@functools.cache
def verdicts():
  """Returns {pair: [verdict, whether something is wrong with it]}; one worker is enough."""
  file = pathlib.Path(runs.memo()) / 'pairs.json'
  if not file.exists():
    found = {}
    with bench.using('tiny', shared=True):
      for a, b in itertools.combinations(ALONE, 2):
        try:
          found[f'{a}+{b}'] = [verdict(a, b), False]
        except Exception as error:  # reported by the test of the pair's first method
          found[f'{a}+{b}'] = [f'{type(error).__name__}: {error}', True]
    part = file.with_suffix(f'.{os.getpid()}')
    part.write_text(json.dumps(found))
    part.rename(file)
  return json.loads(file.read_text())


@pytest.mark.parametrize('a', ALONE)
def test_pairs_with_a_method_build_or_are_refused_with_their_reason(a):
  mine = {pair: got for pair, got in verdicts().items() if a in pair.split('+')}
  assert len(mine) == len(ALONE) - 1
  wrong = [
    f'{pair}: {said}' for pair, (said, broken) in mine.items()
    if broken or (said and 'drop one' not in said)
  ]  # fmt: skip
  assert not wrong, '\n'.join(wrong)


def compatible():
  """Returns the pairs that build."""
  return {frozenset(pair.split('+')) for pair, (said, _) in verdicts().items() if not said}


def pairs_in(names):
  return {frozenset(pair) for pair in itertools.combinations(names, 2)}


@functools.cache
def combinations():
  """Returns combinations of compatible methods that together hold every compatible pair.

  Greedily: each begins with the open pair whose methods have the most open pairs, and takes the
  method that closes the most until none closes any.
  """
  fits, found = compatible(), []
  todo = set(fits)
  while todo:
    often = {n: sum(n in pair for pair in todo) for n in ALONE}
    chosen = sorted(max(todo, key=lambda pair: (sum(often[n] for n in pair), sorted(pair))))
    while len(chosen) < MOST:
      closes = {
        n: sum(frozenset((n, m)) in todo for m in chosen) for n in ALONE
        if n not in chosen and all(frozenset((n, m)) in fits for m in chosen)
      }  # fmt: skip
      best = max(closes, key=lambda n: (closes[n], often[n], n), default=None)
      if best is None or not closes[best]:
        break
      chosen.append(best)
    found.append(tuple(sorted(chosen)))
    todo -= pairs_in(chosen)
  return found


def holding_all(found):
  """Returns few of some combinations that together hold every method, greedily."""
  todo, few = set(ALONE), []
  while todo:
    few.append(max(found, key=lambda names: (len(todo & set(names)), names)))
    todo -= set(few[-1])
  return few


def test_every_compatible_pair_stands_in_a_combination():
  found = combinations()
  assert 0 < len(compatible()) < len(verdicts())
  assert set().union(*map(pairs_in, found)) == compatible()
  assert {n for names in holding_all(found) for n in names} == set(ALONE)
  assert all(len(names) <= MOST for names in found)


def shapes(tree):
  return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@pytest.mark.parametrize('part', range(PARTS))
def test_the_train_step_of_combinations_is_traced(part):
  """On two convolutions; some as several seeds in a loop of steps, with every method in them."""
  found, wrong, known = combinations(), [], set()
  several = holding_all(found)
  for names in found[part::PARTS]:
    try:
      for config in parts_of(config_of(names)):
        like = json.dumps(keys_of(config), sort_keys=True, default=str)
        seeds, chunk = (SEEDS, CHUNK) if names in several else (0, 1)
        if (like, seeds) in known:  # the first stage of two methods may be the same
          continue
        known.add((like, seeds))
        before, after = bench.Bench(config=config, shared=True).traced(seeds=seeds, chunk=chunk)
        assert shapes(after) == shapes(before)
    except Exception as error:
      wrong.append(f'{"+".join(names)}: {type(error).__name__}: {error}')
  assert not wrong, '\n'.join(wrong)
