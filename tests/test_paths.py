"""Prefixes name whole parts."""

import pytest

from fass_jax.nets import paths
from fass_jax.types import UserError

TREE = {'body': {'conv1': {'kernel': 1}, 'conv10': {'kernel': 2}}, 'head': {'kernel': 3}}


def test_paths():
  assert paths.flat(TREE) == {'body/conv1/kernel': 1, 'body/conv10/kernel': 2, 'head/kernel': 3}
  inside = paths.mapped(lambda p, x: paths.inside(p, ('body/conv1', 'head/kernel')), TREE)
  assert list(paths.flat(inside).values()) == [True, False, True]
  assert paths.inside('head/kernel', ('',)) and not paths.inside('head/kernel', ())
  assert paths.prefixes('/head/') == ('head',) and paths.prefixes(['a/b/', '']) == ('a/b', '')


def test_a_part_that_is_none_lists_what_there_is():
  paths.check(('body', 'head/kernel', ''), TREE, 'optim.only')
  with pytest.raises(UserError) as caught:
    paths.check(('body', 'hea'), TREE, 'optim.only')
  assert str(caught.value) == (
    "--config.optim.only names 'hea', but the network has no such parameters; choose from "
    'body/conv1, body/conv10, head/kernel.'
  )
