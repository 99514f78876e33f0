"""Types that the whole package shares; this module imports nothing else from the package.

Letters: B batch, C classes, E experts (1 for a plain network), D feature size, N training images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

Array = jax.Array
PyTree = Any


class UserError(Exception):
  """An error that the user can fix; the text is one sentence with the cause and the fix.

  `main` prints the text without a traceback and exits with a non-zero code.
  """


class Diverged(UserError):
  """A loss or gradient is NaN or infinite; other seeds of the run may be unaffected."""


class Pictures(Protocol):
  """Encoded images (JPEG, PNG, ...), read on demand and from several threads at once."""

  def __len__(self) -> int:
    """Returns N."""

  def __getitem__(self, i: int) -> bytes:
    """Returns the encoded bytes of image `i`."""

  def name(self, i: int) -> str:
    """Returns the path of image `i`, or its name in the archive, for messages."""


class Squares(NamedTuple):
  """Whole images, each resized to a square; crops account for the original aspect ratio."""

  images: Any  # uint8 [N, S, S, 3]
  aspect: Any  # float32 [N], width / height of the original


class Column(NamedTuple):
  """A column of a table that rows are read from."""

  name: str
  words: tuple[str, ...] = ()  # each is a column of zeros and ones; (): the column has numbers


class Dataset(NamedTuple):
  """A data set on the host; its examples are images, or rows of numbers.

  A row is a row of a table, or features that an earlier network has computed.
  """

  name: str
  # uint8 [N, H, W, 3], squares, or encoded; rows: float32 [N, F]
  train_images: np.ndarray | Squares | Pictures
  train_labels: np.ndarray  # int32 [N], 0 .. C-1
  train_index: np.ndarray  # int32 [N], position in the original training set
  test_images: np.ndarray | Pictures  # uint8 [M, H, W, 3], or encoded; rows: float32 [M, F]
  test_labels: np.ndarray  # int32 [M]
  class_names: tuple[str, ...]  # C names
  side: int = 0  # pixels per side of the network's input; 0: the size of the arrays
  # images held out from training, for choosing hyper-parameters without the test set
  held_images: np.ndarray | Squares | Pictures | None = None
  held_labels: np.ndarray | None = None  # int32 [H]
  # images of no class, for open-set evaluation; as test_images
  open_images: np.ndarray | Pictures | None = None
  columns: tuple[Column, ...] = ()  # of the table that the rows come from; (): from no table
  # A: the last A of the C classes are auxiliary: they are trained, and never tested
  auxiliary: int = 0
  neighbours: np.ndarray | None = None  # bool [C, C], True for two neighbours; symmetric
  # regression: the number to predict, float32, in its unit; the labels are its bins
  train_values: np.ndarray | None = None  # [N]
  test_values: np.ndarray | None = None  # [M]
  held_values: np.ndarray | None = None  # [H]

  @property
  def image_shape(self) -> tuple[int, ...]:
    """The shape of an input of the network: `(H, W, 3)`, or `(F,)` for rows."""
    if self.side:
      return self.side, self.side, 3
    assert isinstance(self.train_images, np.ndarray)
    return self.train_images.shape[1:]

  @property
  def num_tested(self) -> int:
    """T, the number of classes that are tested: the first T of the C classes."""
    return len(self.class_names) - self.auxiliary

  @property
  def counts(self) -> np.ndarray:
    """The number of training examples per class, `[C]`, of auxiliary classes too."""
    return np.bincount(self.train_labels, minlength=len(self.class_names))

  @property
  def outputs(self) -> int:
    """The width of the network's head: C, or 1 where the target is a number."""
    return len(self.class_names) if self.train_values is None else 1

  @property
  def is_rows(self) -> bool:
    """Whether the examples are rows of numbers instead of images."""
    return len(self.image_shape) == 1

  @property
  def noun(self) -> str:
    """What messages call the examples: 'images' or 'rows'."""
    return 'rows' if self.is_rows else 'images'


class Classes(NamedTuple):
  """The training images by class in CSR form, for drawing a random image of a class in O(1)."""

  count: Array  # type: ignore[assignment]  # int32 [C], training images per class
  start: Array  # int32 [C], start of class c in `order`
  order: Array  # int32 [N], image positions sorted by class
  neighbours: Array | None = None  # bool [C, C], see `Dataset`; None: the data set has none
  scale: Array | None = None  # float32 [2], of the numbers; None: the labels are classes


class Targets(NamedTuple):
  """The targets of a view: label `a` with weight `lam`, label `b` with weight `1 - lam`."""

  a: Array  # int32 [B]
  b: Array  # int32 [B]
  lam: Array  # float32 [B], in [0, 1]
  value: Array | None = None  # float32 [B], the continuous target of bin `a` (regression)

  def unmixed(self, mask: Array) -> Array:
    """Returns bool `[B]`: the samples that count in `mask` and are not mixed."""
    return mask.astype(bool) & (self.lam == 1.0)


class Examples(NamedTuple):
  """A batch as a loss sees it, beside the network's outputs."""

  labels: Array  # int32 [B], the labels that this call of the loss is about
  targets: Targets  # the pair targets of the view
  mask: Array  # bool or float [B], 0 excludes a sample; a loss that compares samples reads it


class Context(NamedTuple):
  """What a loss reads of the run."""

  classes: Classes
  signals: dict[str, PyTree]  # the states of the signals before the step
  time: Time


class Outputs(NamedTuple):
  """The outputs of a network for a batch."""

  logits: Array  # float32 [B, E, C], at the scale used at test time
  features: Array  # float32 [B, D], or [B, E, D]: input of the head
  embedding: Array | None = None  # float32 [B, P], a projection, before it is normalised
  # other inputs of a loss, not per sample: prototypes [C, P] before they are normalised, ...
  extra: dict[str, Array] = {}
  route: Array | None = None  # float32 [B, E - 1]; above 0: the next expert is used too
  teacher: Array | None = None  # float32 [B, C], a teacher's logits for the same images
  trunk: Array | None = None  # the features before a mix or a signal changed them


class Time(NamedTuple):
  """The progress of a run: scalars, traced inside the step."""

  step: Array  # int32, optimiser steps done
  epoch: Array  # int32, epochs done, i.e. the 0-based index of the current epoch
  fraction: Array  # float32, the completed share of all epochs


class Implied(NamedTuple):
  """The class prior that trained logits imply."""

  prior: np.ndarray  # float64 [C], > 0, sums to 1
  guesses: tuple[str, ...]  # reasons why it is an approximation; empty if it is exact


class Sampler(NamedTuple):
  """Draws the image positions of a stream.

  Scope 'epoch': `draw(key, classes, epoch, steps, n) -> (int32 [steps, n], mask [steps, n])`, once
  per epoch. Scope 'step': `draw(key, classes, n, t) -> int32 [n]`, inside the step. Scope 'copy':
  no `draw`; the stream uses the first n positions of the natural stream.
  """

  scope: str
  draw: Callable[..., Any] | None = None


class Stream(NamedTuple):
  """A sequence of image positions, and how partners for mixing are drawn."""

  sampler: Sampler
  size: int  # samples drawn per step
  mix_share: float  # probability per sample of entering the views; others are masked out
  on_share: float  # the share of steps with the views of this stream
  off_in_first_epoch: bool  # the views of this stream are off in the first epoch
  partner: Callable[..., Array] | None  # (key, index, labels, matrix, classes) -> int32 [n]
  ratio: Callable[..., Array] | None  # (key, matrix, labels, partner labels) -> lam [n]
  shared: bool  # True: all views of the stream use the same partners; False: each draws its own
  chance: Callable[[Time], Array]  # probability per batch that its views are mixed
  score: str  # the signal with the matrix for `partner`, `ratio` and `keep`; '': none
  keep: Callable[..., Array] | None = None  # (key, matrix, labels, lam) -> bool [n]; None: all


class View(NamedTuple):
  """An augmented and possibly mixed batch of a stream, the network's input."""

  stream: str
  augment: Callable[..., Array]  # (key, images or rows as stored, {op: strength [B]}) -> the same
  augment_name: str  # views of a stream with equal names have the same pixels
  mix: Callable[..., tuple[Array, Array]] | None  # (key, x, partner, lam) -> (mixed, lam_real)
  label: Callable[..., tuple[Array, Array, Array]] | None  # (y_b, y_t, lam_real) -> pair target
  mixed_label: bool  # False: both labels are equal, and the loss of the second is not computed
  group: str  # views of a group share one forward pass and its batch statistics
  random: bool = False  # True: images that are decoded on demand are decoded as random crops
  mixes_features: bool = False  # True: `mix` acts on features within the batch, not on images


class Term(NamedTuple):
  """A weighted loss over views."""

  views: tuple[str, ...]
  # each (outs, examples, context) -> (values, weights) has its own mean; the term's loss is the sum
  # of the means
  losses: tuple[Callable[..., tuple[Array, Array]], ...]
  joint: bool  # True: the loss takes all views as one batch
  weight: Callable[[Time], Array]
  per_batch: bool  # True: divide by the batch size instead of the sum of the weights
  batch_size: int
  needs_teacher: bool = False  # True: the loss reads a teacher's logits
  labels: str = 'both'  # which labels of a mixed image the loss is about, see `combine.pair_loss`


class Inspector(NamedTuple):
  """Access to the network in evaluation mode, for signals at the end of an epoch."""

  fold: Callable[..., PyTree]  # (observe, acc) -> acc: over the training set, see `make_fold`
  # (key, rng, classes [n], op, strengths [n]) -> bool [n], host arrays: whether all experts are
  # right about a random image per class, augmented as in training with this strength of the op
  probe: Callable[..., np.ndarray]
  held: Callable[..., PyTree] | None = None  # as `fold`, over the held-out images; None: not asked
  outputs: Callable[..., PyTree] | None = None  # as `fold`; `observe` receives all `Outputs`


class Signal(NamedTuple):
  """A statistic that a run updates while it trains; its state is `state.signals[name]`."""

  view: str  # the view that `observe` receives
  init: Callable[[int], PyTree]  # (C) -> state
  observe: Callable[..., PyTree]  # (state, outs, targets, mask) -> state, per step
  refresh: Callable[..., PyTree]  # (state, inspector, key, epoch) -> state, at the end of an epoch
  describe: Callable[..., dict[str, float]]  # (old, new) -> diagnostics
  op: str = ''  # the augmentation op with a strength from this signal; '': none
  strength: Callable[..., Array] | None = None  # (state, key, labels [n]) -> float32 [n]
  every: bool = False  # True: `observe` receives all active views, one after another
  held: bool = False  # True: `refresh` passes over the held-out images
  # (state, features, targets, t) -> the head's features, in training only
  between: Callable[..., Array] | None = None


class Placement(NamedTuple):
  """The shardings of a run; both are None on a single device."""

  whole: Any = None  # replicated on every device
  rows: Any = None  # sharded along the first axis

  def spread(self, x: Array) -> Array:
    """Shards a batch along its first axis, inside a compiled function.

    The compiler pads a batch that is not divisible by the number of devices, and excludes the
    padding from sums.
    """
    return x if self.rows is None else jax.lax.with_sharding_constraint(x, self.rows)


ALONE = Placement()  # a single device


class TrainState(NamedTuple):
  """The complete state of a run between two steps.

  All leaves are arrays, so that the state can be donated, checkpointed and compared.
  """

  step: Array  # int32, steps done
  params: PyTree  # float32
  batch_stats: PyTree  # float32, running statistics of batch normalisation
  opt_state: PyTree
  signals: dict[str, PyTree]  # states of the signals, e.g. the score matrix
  tally: PyTree  # sums over the current epoch, for its line in metrics.jsonl
  key: Array  # the run's PRNG key, constant: draws fold in the step and a name
