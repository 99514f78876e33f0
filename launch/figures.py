"""Draws two pictures of the documentation from finished runs.

    python launch/figures.py --workdir=FASS_RUN --data=DIR     docs/fass_mixes.png
    python launch/figures.py --ce=CE_RUN --better=OTHER_RUN    docs/rare_recall.png

The first shows real training images as FASS mixes them: the partner class and lambda follow from
the score matrix in the newest checkpoint of the work directory. `--data` is the folder of the
original images. The second shows the test recall of each class, rarest classes right, under two
runs of the same setting. Both print their setting and figures.

docs/rare_recall.png is made of `python -m fass_jax.main --config=configs/digits_lt.py:METHOD
--config.imb_factor=50 --config.seeds=5`, METHOD `ce` and `logit_adjustment`. Of logit_adjustment,
ldam and fass it has the highest few-shot recall at imbalance factor 20 (table digits_methods of
docs/results.md); no other method was run at 50.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import orbax.checkpoint as ocp

matplotlib.use('Agg')  # no window, whatever the machine

import matplotlib.pyplot as plt

REPO = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # the checkout this script belongs to, installed or not

from fass_jax import mixing, score
from fass_jax.data.load import load
from fass_jax.types import UserError
from fass_jax.workdir.open import FinishedRun, open_run

# Okabe and Ito's colours differ for colour-blind readers too; the markers differ for all
SERIES = (('#D55E00', 's'), ('#0072B2', 'o'))


class Pair(NamedTuple):
  """A class and the class that FASS mixes into it."""

  own: int
  target: int
  own_score: float  # S[b, b]
  target_score: float  # S[b, t]
  lam: float


def read_scores(workdir: pathlib.Path) -> np.ndarray:
  """Returns the score matrix S `[C, C]` of the first seed, from the newest checkpoint.

  Raises:
    UserError: if the run keeps no score matrix.
  """
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  options = ocp.CheckpointManagerOptions(read_only=True, create=False, step_prefix='step')
  handlers = {'tree': ocp.PyTreeCheckpointHandler()}
  folder = (workdir / 'checkpoints').absolute()
  with ocp.CheckpointManager(folder, options=options, item_handlers=handlers) as manager:
    step = max(manager.all_steps())
    saved = [x['state']['signals'] for x in manager.item_metadata(step)['tree'].tree]
    if 'matrix' not in saved[0].get('score', {}):
      raise UserError(f'{workdir} keeps no score matrix; give a run of the method fass.')
    wanted = [{'state': {'signals': {'score': {'matrix': x['score']['matrix']}}}} for x in saved]
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), wanted)
    where = jax.tree.map(lambda a: ocp.ArrayRestoreArgs(sharding=device), shapes)
    asked = ocp.args.PyTreeRestore(item=shapes, restore_args=where, partial_restore=True)
    got = manager.restore(step, args=ocp.args.Composite(tree=asked))['tree']
  return np.asarray(got[0]['state']['signals']['score']['matrix'])


def choose_ratios(matrix: np.ndarray) -> np.ndarray:
  """Returns lambda of each class with its target class, float `[C]`."""
  values = jnp.asarray(matrix)
  return np.asarray(
    score.mixing_ratio(values, jnp.arange(len(values)), score.select_targets(values))
  )


def choose_pairs(matrix: np.ndarray, most: int) -> list[Pair]:
  """Returns pairs with the smallest lambda first, each class in one pair at most."""
  targets, lam = score.select_targets(jnp.asarray(matrix)), choose_ratios(matrix)
  found: list[Pair] = []
  for b in np.argsort(lam, kind='stable'):
    t = int(targets[b])
    if not {int(b), t} & {c for pair in found for c in pair[:2]}:
      found.append(Pair(int(b), t, float(matrix[b, b]), float(matrix[b, t]), float(lam[b])))
  return found[:most]


def mixes(
  pairs: list[Pair], images: np.ndarray, labels: np.ndarray, seed: int
) -> Iterator[tuple[np.ndarray, ...]]:
  """Yields x_b, x_t, their MixUp and their CutMix as images in [0, 1], pair by pair."""
  for i, pair in enumerate(pairs):
    at_b, at_t, box = jax.random.split(jax.random.fold_in(jax.random.key(seed), i), 3)

    def draw(key: jax.Array, label: int) -> jax.Array:
      return jnp.asarray(images[jax.random.choice(key, np.flatnonzero(labels == label))]) / 255.0

    x_b, x_t = draw(at_b, pair.own)[None], draw(at_t, pair.target)[None]
    mixed = [mix(box, x_b, x_t, jnp.array([pair.lam]))[0] for mix in (mixing.mixup, mixing.cutmix)]
    yield tuple(np.asarray(x[0]) for x in (x_b, x_t, *mixed))


def words_of(config: Any) -> str:
  """Returns the setting of a run: data set, imbalance factor, network, length."""
  name = {'digits_lt': 'Digits', 'cifar10_lt': 'CIFAR-10-LT', 'cifar100_lt': 'CIFAR-100-LT'}
  return (
    f'{name.get(config.name, config.name)}, imbalance factor {config.imb_factor:g}, '
    f'ResNet-{config.net.depth}, {config.epochs} epochs'
  )


def draw_mixes(workdir: pathlib.Path, data: str, seed: int, path: pathlib.Path) -> None:
  """Draws fass_mixes.png: a row per pair of classes.

  Raises:
    UserError: if the run keeps no score matrix, or its images are files.
  """
  matrix, run = read_scores(workdir), open_run(str(workdir))
  config = run.config
  config.data.dir = data
  found = load(config)
  if found.is_rows or not isinstance(found.train_images, np.ndarray):
    raise UserError(
      'The pictures need a data set of images as arrays, such as cifar100_lt or digits_lt.'
    )
  pairs = choose_pairs(matrix, 5)
  figure, axes = plt.subplots(
    len(pairs), 5, figsize=(8.6, 1.62 * len(pairs) + 0.7), layout='constrained',
    width_ratios=(1.5, 1, 1, 1, 1),
  )  # fmt: skip
  heads = ('', 'own class\n$x_b$', 'target class\n$x_t$', 'MixUp', 'CutMix')
  rows = mixes(pairs, found.train_images, found.train_labels, seed)
  for row, pair, shown in zip(axes, pairs, rows):
    own, target = (run.classes[c].replace('_', ' ') for c in pair[:2])
    row[0].text(
      0.0, 0.5,
      f'$S$({own}, {own}) = {pair.own_score:.2f}\n$S$({own}, {target}) = {pair.target_score:.2f}\n'
      f'$\\lambda$ = {pair.lam:.2f}',
      va='center', fontsize=9, linespacing=1.5, transform=row[0].transAxes,
    )  # fmt: skip
    row[0].axis('off')
    names = (
      f'{own} ({run.counts[pair.own]})', f'{target} ({run.counts[pair.target]})',
      f'label: {own}', f'label: {own}',
    )  # fmt: skip
    for ax, image, name in zip(row[1:], shown, names):
      ax.imshow(image, interpolation='nearest')
      ax.set_xlabel(name, fontsize=9)
      ax.set(xticks=[], yticks=[])
  for ax, head in zip(axes[0], heads):
    ax.set_title(head, fontsize=10)
  figure.suptitle(
    f'How FASS mixes at the end of a run: {words_of(config)}, seed {config.seed}', fontsize=10.5
  )
  figure.savefig(path, dpi=130)
  plt.close(figure)
  lam = choose_ratios(matrix)
  print(
    f'{path.name}: {words_of(config)}, method {config.method}, seed {config.seed}, {run.at}; '
    'training images of the class in brackets. Pairs with the smallest lambda, each class once. '
    f'Lambda over all classes: least {lam.min():.2f}, median {np.median(lam):.2f}.'
  )


def recalls(workdir: pathlib.Path) -> np.ndarray:
  """Returns the test recall of each class after the last epoch, float `[seeds, C]`."""
  summary = json.loads((workdir / 'summary.json').read_text())
  return np.array([run['last']['per_class'] for run in summary.get('runs', [summary])])


def group(values: np.ndarray, order: np.ndarray, most: int = 20) -> np.ndarray:
  """Returns columns in an order; where there are more than `most` classes, means of ten groups."""
  values = values[:, order]
  if values.shape[1] <= most:
    return values
  return np.stack([part.mean(1) for part in np.array_split(values, 10, axis=1)], 1)


def ticks(run: FinishedRun, order: np.ndarray, most: int = 20) -> list[str]:
  """Returns what stands under each point: training images, and the class if it is one."""
  counts = np.asarray(run.counts)[order]
  if len(counts) <= most:
    return [f'{n}\n"{run.classes[c]}"' for n, c in zip(counts, order)]
  parts = np.array_split(counts, 10)
  return [f'{part.max()} to {part.min()}\n{len(part)} classes' for part in parts]


def draw_recall(first: pathlib.Path, second: pathlib.Path, path: pathlib.Path) -> None:
  """Draws rare_recall.png: the recall of each class under two runs, rarest classes right.

  Raises:
    UserError: if the runs are of different settings.
  """
  runs = [open_run(str(workdir)) for workdir in (first, second)]
  settings = [(words_of(r.config), r.classes, r.counts) for r in runs]
  if settings[0] != settings[1]:
    raise UserError(f'{first} and {second} are of different settings; give two runs that compare.')
  order = np.argsort(-np.asarray(runs[0].counts), kind='stable')
  figure, ax = plt.subplots(figsize=(8, 3.8), layout='constrained')
  seeds = 0
  for run, workdir, (colour, marker), shift in zip(runs, (first, second), SERIES, (-0.09, 0.09)):
    values = 100 * group(recalls(workdir), order)
    seeds, x = len(values), np.arange(values.shape[1]) + shift
    mean = values.mean(0)
    ax.vlines(x, values.min(0), values.max(0), color=colour, lw=2, alpha=0.45)
    label = 'cross-entropy (ce)' if run.config.method == 'ce' else run.config.method
    ax.plot(x, mean, color=colour, marker=marker, ms=7, lw=1.8, label=label)
    print(f'{path.name}: {run.config.method}: {" ".join(f"{v:.1f}" for v in mean)}')
  ax.set_xticks(range(values.shape[1]), ticks(runs[0], order), fontsize=9)
  ax.set_xlabel('training images of the class, and the class; rarest classes right')
  ax.set_ylabel('test recall (%)')
  ax.set_ylim(0, 104)
  ax.grid(axis='y', alpha=0.3)
  ax.spines[['top', 'right']].set_visible(False)
  ax.legend(frameon=False, loc='lower left')
  note = f'mean and range of {seeds} seeds' if seeds > 1 else 'one seed'
  title = f'Test recall after the last epoch, {note}\n{words_of(runs[0].config)}'
  ax.set_title(title, fontsize=10.5, loc='left')
  figure.savefig(path, dpi=130)
  plt.close(figure)


def main(argv: list[str] | None = None) -> int:
  """Runs the command line; returns the exit code."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--workdir', type=pathlib.Path, help='of a finished run of FASS')
  parser.add_argument('--data', default='', help='folder of the original images of that run')
  parser.add_argument('--seed', type=int, default=0, help='of the images that are drawn')
  parser.add_argument('--ce', type=pathlib.Path, help='work directory of a run of CE')
  parser.add_argument('--better', type=pathlib.Path, help='work directory of another method')
  parser.add_argument('--out', type=pathlib.Path, default=REPO / 'docs', help='folder of pictures')
  args = parser.parse_args(argv)
  if not args.workdir and not (args.ce and args.better):
    parser.error('give --workdir, or --ce and --better')
  try:
    if args.workdir:
      draw_mixes(args.workdir, args.data, args.seed, args.out / 'fass_mixes.png')
    if args.ce and args.better:
      draw_recall(args.ce, args.better, args.out / 'rare_recall.png')
  except UserError as error:
    print(f'figures: {error}', file=sys.stderr)
    return 1
  return 0


if __name__ == '__main__':
  sys.exit(main())
