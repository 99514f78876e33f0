"""The shapes that every piece of the package agrees on; imports nothing of the package.

Letters: B batch, C classes, E experts (1 for a plain net), D feature size, N training images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

Array = jax.Array
PyTree = Any


class UserError(Exception):
  """A mistake the user can mend; the text is one sentence that says what and how.

  `main` prints the text without a traceback and exits with a non-zero code.
  """


class Diverged(UserError):
  """A loss or gradient that is no number any more; other runs may still be well."""


class Pictures(Protocol):
  """Encoded images (JPEG, PNG, ...), each read when it is needed, from many threads at once."""

  def __len__(self) -> int:
    """Returns N."""

  def __getitem__(self, i: int) -> bytes:
    """Returns the bytes of image `i`, as they were encoded."""

  def name(self, i: int) -> str:
    """Returns what a person would look for: a path, or the name in an archive."""


class Squares(NamedTuple):
  """Whole images, each squeezed into a square; crops are cut in the shape that they had."""

  images: Any  # uint8 [N, S, S, 3]
  aspect: Any  # float32 [N], width / height before


class Dataset(NamedTuple):
  """A whole data set on the host, as the stores read it."""

  name: str
  train_images: np.ndarray | Squares | Pictures  # uint8 [N, H, W, 3], squares, or encoded
  train_labels: np.ndarray  # int32 [N], 0 .. C-1
  train_index: np.ndarray  # int32 [N], position in the original training set
  test_images: np.ndarray | Pictures  # uint8 [M, H, W, 3], or encoded
  test_labels: np.ndarray  # int32 [M]
  class_names: tuple[str, ...]  # C names
  side: int = 0  # of the square that the network sees; 0: the arrays are shown as they are
  # of the training set, not trained on: what is chosen without the test set is chosen here
  held_images: np.ndarray | Squares | Pictures | None = None
  held_labels: np.ndarray | None = None  # int32 [H]

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """The shape of an image as the network sees it, `(H, W, 3)`."""
    if self.side:
      return self.side, self.side, 3
    assert isinstance(self.train_images, np.ndarray)
    return self.train_images.shape[1:]


class Classes(NamedTuple):
  """The class index of a training set in CSR form: a random image of class c in O(1)."""

  count: Array  # type: ignore[assignment]  # int32 [C], training images of each class
  start: Array  # int32 [C], where class c begins in `order`
  order: Array  # int32 [N], image positions sorted by class


class Targets(NamedTuple):
  """What a view is trained on: label `a` with weight `lam`, label `b` with `1 - lam`."""

  a: Array  # int32 [B]
  b: Array  # int32 [B]
  lam: Array  # float32 [B], in [0, 1]
  value: Array | None = None  # float32 [B], the number behind the bin `a` (regression)


class Outputs(NamedTuple):
  """What a network returns for a batch."""

  logits: Array  # float32 [B, E, C], at the scale used at test time
  features: Array  # float32 [B, D], or [B, E, D]: input of the head
  embedding: Array | None = None  # float32 [B, P] of length 1, what a contrast compares
  extra: dict[str, Array] = {}  # whatever a loss of its own needs (prototypes, ...); no rows
  route: Array | None = None  # float32 [B, E - 1], above 0: ask the next expert too
  teacher: Array | None = None  # float32 [B, C], a teacher's logits for the same images


class Time(NamedTuple):
  """Where a run is; scalars, traced inside the step."""

  step: Array  # int32, optimiser steps done
  epoch: Array  # int32, epochs done (0-based index of the running one)
  fraction: Array  # float32, share of all epochs that is done


class Implied(NamedTuple):
  """The class prior that trained logits imply."""

  prior: np.ndarray  # float64 [C], > 0, sums to 1
  guesses: tuple[str, ...]  # why it is an approximation; empty where it is exact


class Sampler(NamedTuple):
  """How a stream draws image positions.

  Scope 'epoch': `draw(key, classes, epoch, steps, n) -> (int32 [steps, n], mask [steps, n])`,
  planned once per epoch. Scope 'step': `draw(key, classes, n, t) -> int32 [n]`, inside the step.
  Scope 'copy': no `draw`; the stream takes the first n positions of the natural stream.
  """

  scope: str
  draw: Callable[..., Any] | None = None


class Stream(NamedTuple):
  """A sequence of image positions, each with a partner to mix in, if the stream has one."""

  sampler: Sampler
  size: int  # samples drawn in a step
  mix_share: float  # below 1: each sample is mixed with this probability, masked out otherwise
  on_share: float  # below 1: the views of this stream are on in this share of the steps
  off_in_first_epoch: bool  # the views of this stream are off in the first epoch
  partner: Callable[..., Array] | None  # (key, index, labels, matrix, classes) -> int32 [n]
  ratio: Callable[..., Array] | None  # (key, matrix, labels, partner labels) -> lam [n]
  shared: bool  # all views of the stream see one partner; otherwise each draws its own
  chance: Callable[[Time], Array]  # share of the batches whose views are mixed at all
  score: str  # the signal whose matrix `partner` and `ratio` read, '' for none


class View(NamedTuple):
  """A batch as a network sees it."""

  stream: str
  augment: Callable[..., Array]  # (key, uint8 images, {op: strength [B]}) -> images
  augment_name: str  # views of a stream with equal names see the same pixels
  mix: Callable[..., tuple[Array, Array]] | None  # (key, x, partner, lam) -> (mixed, lam_real)
  label: Callable[..., tuple[Array, Array, Array]] | None  # (y_b, y_t, lam_real) -> pair target
  mixed_label: bool  # False: the second label is the first, its loss is not computed
  group: str  # views of a group share one forward pass and its batch statistics
  random: bool = False  # images that are decoded when they are needed: by a random crop
  mixes_features: bool = (
    False  # `mix` is one of the features, of rows of one batch; images stay as they are
  )


class Term(NamedTuple):
  """A weighted loss over views."""

  views: tuple[str, ...]
  # each (outs, labels, classes, signals, t) -> (values, weights), averaged by itself; their sum
  # is the loss
  losses: tuple[Callable[..., tuple[Array, Array]], ...]
  joint: bool  # the views are one batch to the loss
  weight: Callable[[Time], Array]
  per_batch: bool  # divide by the batch size instead of the sum of the weights
  batch_size: int
  needs_teacher: bool = False  # its loss reads a teacher's logits


class Inspector(NamedTuple):
  """How a signal may look at the network between two epochs, in evaluation mode."""

  # (observe, acc) -> acc: every training image once, see `passes.make_fold`
  fold: Callable[..., PyTree]
  # (key, rng, classes [n], op, strengths [n]) -> bool [n], host arrays: a random image of each
  # class, augmented as in training with that strength of the op; right by every expert?
  probe: Callable[..., np.ndarray]


class Signal(NamedTuple):
  """A piece with memory; its state lives in `state.signals[name]`."""

  view: str  # the view that `observe` is shown
  init: Callable[[int], PyTree]  # (C) -> state
  observe: Callable[..., PyTree]  # (state, outs, targets, mask) -> state, each step
  refresh: Callable[..., PyTree]  # (state, look, key, epoch) -> state, at an epoch's end
  describe: Callable[..., dict[str, float]]  # (old, new) -> diagnostics
  op: str = ''  # the augmentation whose strength it sets
  strength: Callable[..., Array] | None = None  # (state, key, labels [n]) -> float32 [n]


class Placement(NamedTuple):
  """The devices of a run as two shardings; None on a single device, which needs neither."""

  whole: Any = None  # a copy on every device
  rows: Any = None  # the first axis in equal parts

  def spread(self, x: Array) -> Array:
    """Spreads a batch over the devices by rows, inside a compiled function.

    A batch that the devices do not divide is padded by the compiler, which its sums leave out.
    """
    return x if self.rows is None else jax.lax.with_sharding_constraint(x, self.rows)


ALONE = Placement()  # a single device


class TrainState(NamedTuple):
  """Everything a run remembers from one step to the next.

  Arrays only, so that it can be donated, checkpointed and compared.
  """

  step: Array  # int32, steps done
  params: PyTree  # float32
  batch_stats: PyTree  # float32, running statistics of batch normalisation
  opt_state: PyTree
  signals: dict[str, PyTree]  # state of each signal, the score matrix among them
  tally: PyTree  # sums of the running epoch, for its line in metrics.jsonl
  key: Array  # the run's PRNG key, never advanced: draws fold in the step and the site's name
