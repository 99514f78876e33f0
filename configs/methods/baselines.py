"""Plain training: losses that know nothing of the class counts."""

import pathlib
import runpy

from fass_jax.config import Method

_SHARED = runpy.run_path(str(pathlib.Path(__file__).parents[1] / 'shared.py'))
_PAPERS = _SHARED['PAPERS']

FAMILY = 'Plain training'

METHODS = {
  'ce': Method({}, 'Cross-entropy, the plain recipe.', '-', 'nothing'),
  'label_smoothing': Method(
    {'loss': 'label_smoothing'},
    'Cross-entropy with a share of the label spread over all classes.',
    _PAPERS['Szegedy 2016'],
    'loss',
  ),
}
