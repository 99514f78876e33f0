"""Against PyTorch's networks and steps; they need the extra `parity`."""

import pytest


def marks(there):
  """Returns the marks of a module that needs packages which may not be there.

  A module that skips itself where it is read would count as skipped where its marker leaves it out.
  """
  why = 'needs the extra parity: pip install -e .[parity]'
  return [pytest.mark.parity, pytest.mark.real_net, pytest.mark.skipif(not there, reason=why)]
