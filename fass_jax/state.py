"""The train state: arrays only, so that it can be donated, checkpointed and compared."""

from __future__ import annotations

from typing import NamedTuple

from fass_jax.types import Array, PyTree


class TrainState(NamedTuple):
  """Everything a run remembers from one step to the next."""

  step: Array  # int32, steps done
  params: PyTree  # float32
  batch_stats: PyTree  # float32, running statistics of batch normalisation
  opt_state: PyTree
  signals: dict[str, PyTree]  # state of each signal, the score matrix among them
  tally: PyTree  # sums of the running epoch, for its line in metrics.jsonl
  key: Array  # the run's PRNG key, never advanced: draws fold in the step and the site's name
