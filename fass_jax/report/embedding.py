"""The features of a test set in the plane, by t-SNE and PCA, as files and pictures."""

from __future__ import annotations

import csv
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

matplotlib.use('Agg')  # works without a display

import matplotlib.pyplot as plt

from fass_jax.command.overrides import override
from fass_jax.engine import compiler, devices
from fass_jax.report.finished import load_data, material_of
from fass_jax.report.judge import Material
from fass_jax.report.metrics import groups_of
from fass_jax.report.pictures import COLOURS
from fass_jax.types import Array, PyTree, UserError
from fass_jax.workdir.open import FinishedRun

log = logging.getLogger('fass_jax')

NAMED = 10  # classes that a picture names, at most; of more, the most and the least frequent
SECONDS = 0.006  # of t-SNE per point, on two cores: 5,000 points of 64 numbers take half a minute


class How(NamedTuple):
  """What a picture is drawn with."""

  points: int  # test images, at most
  perplexity: float  # of t-SNE
  seed: int  # of t-SNE and of the draw of the points
  sets: Sequence[tuple[str, str]] = ()  # config keys that say where the data are


class Cloud(NamedTuple):
  """The features of one network for some test images, and where they lie in the plane."""

  title: str  # of the run
  positions: np.ndarray  # int [n], in the test set
  labels: np.ndarray  # int [n]
  features: np.ndarray  # float32 [n, D], the input of the head; the experts' beside each other
  plane: Mapping[str, np.ndarray]  # by projection: float [n, 2]


def features_of(material: Material, variables: PyTree, batch_size: int) -> np.ndarray:
  """Returns the input of the head for all test images, float32 `[M, D]`, in evaluation mode.

  Args:
    material: the passes over the run's data.
    variables: the network's.
    batch_size: of the pass, at most.
  """
  images, labels = material.test
  shape = (1, *material.image_shape)

  def width(variables: PyTree) -> Array:
    return material.net.embed(variables, jnp.zeros(shape, jnp.float32), False)[0].reshape(1, -1)

  size = jax.eval_shape(width, variables).shape[1]

  def observe(acc: tuple[Array, Array], outs: Any, labels: Array, mask: Array) -> Any:
    at, found = acc
    rows = jnp.asarray(outs.features.reshape(len(labels), -1), jnp.float32)
    return at + len(labels), jax.lax.dynamic_update_slice_in_dim(found, rows, at, 0)

  # the last batch is padded
  room = len(labels) + 2 * batch_size
  empty = jnp.zeros((), jnp.int32), jnp.zeros((room, size), jnp.float32)
  return np.asarray(material.fold(observe, empty, variables, images, labels)[1])[: len(labels)]


def choose(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
  """Draws at most `most` positions of a test set, each class in proportion, at least one of each.

  Args:
    labels: int `[M]`.
    most: >= 1.
    seed: of the draw.

  Returns:
    int `[n]`, ascending.
  """
  if len(labels) <= most:
    return np.arange(len(labels))
  rng, share = np.random.default_rng(seed), most / len(labels)
  parts = []
  for c in np.unique(labels):
    own = np.flatnonzero(labels == c)
    parts.append(rng.permutation(own)[: max(1, int(len(own) * share))])
  return np.sort(np.concatenate(parts))[:most]


def project(features: np.ndarray, perplexity: float, seed: int) -> dict[str, np.ndarray]:
  """Returns the points in the plane, float `[n, 2]`, by 'tsne' and 'pca' (scikit-learn).

  Reference: van der Maaten and Hinton, Visualizing Data using t-SNE, JMLR 9, 2008.

  Raises:
    UserError: if a feature is not finite.
  """
  n = len(features)
  if not np.isfinite(features).all():
    raise UserError('The network gives features that are not finite; use --which=best.')
  from sklearn.decomposition import PCA  # late: importing it takes a second
  from sklearn.manifold import TSNE

  log.info('t-SNE of %d points takes about %.0f s on two cores.', n, 2 + SECONDS * n)
  tsne = TSNE(perplexity=perplexity, random_state=seed, init='pca', n_jobs=-1)
  return {
    'tsne': tsne.fit_transform(features),
    'pca': PCA(2, random_state=seed).fit_transform(features),
  }


def named_classes(counts: np.ndarray) -> list[int]:
  """Returns the classes that a picture names: all, or of many the most and the least frequent."""
  order = [int(c) for c in np.argsort(-counts, kind='stable')]
  half = NAMED // 2
  return order if len(order) <= NAMED else order[:half] + order[-half:]


def _panel(axes: Any, points: np.ndarray, parts: Sequence[tuple[str, Any, np.ndarray]]) -> None:
  """Scatters points by part, `(label, colour, bool [n])`; the others are grey."""
  rest = ~np.logical_or.reduce([members for _, _, members in parts])
  size = float(np.clip(6000 / len(points), 2, 14))
  axes.scatter(*points[rest].T, s=size, color='0.85', linewidths=0)
  for label, colour, members in parts:
    axes.scatter(*points[members].T, s=size, color=colour, linewidths=0, label=label)
  axes.set(xticks=[], yticks=[])


def draw(
  path: pathlib.Path,
  clouds: Sequence[Cloud],
  projection: str,
  names: Sequence[str],
  counts: np.ndarray,
  groups: Mapping[str, np.ndarray],
) -> None:
  """Draws a projection: one column per run; above by class, below by shot group.

  Args:
    path: of the PNG file.
    clouds: of the runs.
    projection: 'tsne' or 'pca'.
    names: of the classes.
    counts: `[C]`, training images per class.
    groups: bool masks `[C]` for 'many', 'medium', 'few'.
  """
  shown = named_classes(counts)
  colours = plt.get_cmap('tab10')
  figure, grid = plt.subplots(
    2, len(clouds), figsize=(1.8 + 5 * len(clouds), 9.6), layout='constrained', squeeze=False
  )
  for column, cloud in zip(grid.T, clouds):
    labels, points = cloud.labels, cloud.plane[projection]
    by_class = [(f'{names[c]} ({counts[c]})', colours(i), labels == c) for i, c in enumerate(shown)]
    by_group = [(f'{g}-shot', COLOURS[g], m[labels]) for g, m in groups.items() if m.any()]
    _panel(column[0], points, by_class)
    _panel(column[1], points, by_group)
    column[0].set_title(cloud.title)
  title = 'class (training images)' + (', some of' * (len(shown) < len(names)))
  for axes, words in zip(grid[:, -1], (title, 'training images of the class')):
    axes.legend(
      title=words, loc='center left', bbox_to_anchor=(1, 0.5), frameon=False, markerscale=3
    )
  figure.savefig(path, dpi=110)
  plt.close(figure)


def write(folder: pathlib.Path, stem: str, cloud: Cloud, names: Sequence[str]) -> None:
  """Writes STEM.npz and STEM.csv: position in the test set, label, features and points."""
  np.savez_compressed(
    folder / f'{stem}.npz',
    index=cloud.positions,
    labels=cloud.labels,
    features=cloud.features,
    class_names=np.asarray(names),
    tsne=cloud.plane['tsne'],
    pca=cloud.plane['pca'],
  )
  numbers = [f'f{i}' for i in range(cloud.features.shape[1])]
  places = [f'{p}_{axis}' for p in cloud.plane for axis in 'xy']
  with open(folder / f'{stem}.csv', 'w', newline='', encoding='utf-8') as file:
    rows = csv.writer(file)
    rows.writerow(['index', 'label', 'class', *places, *numbers])
    plane = np.concatenate([*cloud.plane.values()], axis=1)
    for i, label, at, x in zip(cloud.positions, cloud.labels, plane, cloud.features):
      rows.writerow([i, label, names[label], *(f'{v:.6g}' for v in (*at, *x))])


def embed(
  runs: Sequence[FinishedRun], places: Sequence[str], how: How, folder: pathlib.Path
) -> None:
  """Writes the features of runs and their pictures to a folder, and prints the files' names.

  Args:
    runs: one or two, with the same classes and test images.
    places: their work directories.
    how: number of points, perplexity, seed.
    folder: is made if it is missing.

  Raises:
    UserError: if the runs have other classes or test images, or the folder cannot be written.
  """
  first = runs[0]
  for run, place in zip(runs, places):
    if run.classes != first.classes:
      raise UserError(
        f'--workdir={place} has other classes than --workdir={places[0]}; give two runs on the '
        'same data.'
      )
  log.info('Perplexity %g, seed %d.', how.perplexity, how.seed)
  clouds: list[Cloud] = []
  for run, place in zip(runs, places):
    clouds.append(_cloud(run, how))
    if not np.array_equal(clouds[0].labels, clouds[-1].labels):
      raise UserError(
        f'--workdir={place} has other test images than --workdir={places[0]}; give two runs on the '
        'same data.'
      )
  counts = np.asarray(first.counts)
  groups = groups_of(first.config.eval, counts)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    for k, cloud in enumerate(clouds, 1):
      stem = 'features' if len(clouds) == 1 else f'features-{k}'
      write(folder, stem, cloud, first.classes)
      print(f'{folder / stem}.npz and .csv: {cloud.title}')
    for projection in clouds[0].plane:
      draw(folder / f'{projection}.png', clouds, projection, first.classes, counts, groups)
      print(folder / f'{projection}.png')
  except OSError as error:
    raise UserError(
      f'--out={folder} cannot be written ({error.strerror}); give a folder that can be.'
    ) from error


def _cloud(run: FinishedRun, how: How) -> Cloud:
  """Returns the features of a run's first seed for the chosen test images."""
  config = override(run.config, how.sets)
  compiler.use_cache(config.engine.cache)
  kept, where = load_data(run, config, train=False), devices.place(config.engine.devices)
  material = material_of(run, config, kept, where, train=False)
  labels = np.asarray(kept.data.test_labels)
  index = choose(labels, how.points, how.seed)
  if not 0 < how.perplexity < len(index):  # before the pass, which may take long
    raise UserError(
      f'--perplexity={how.perplexity:g} must be above 0 and below the number of points, '
      f'{len(index)}; it is about the number of neighbours of a point.'
    )
  variables = devices.replicate(run.variables[0], where)
  features = features_of(material, variables, config.eval.batch_size)[index]
  seed = f', seed {run.config.seed}' if len(run.variables) > 1 else ''
  title = f'{config.name}, {config.method}, {run.at}{seed}'
  return Cloud(title, index, labels[index], features, project(features, how.perplexity, how.seed))
