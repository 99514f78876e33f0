"""The features of a test set in the plane, by t-SNE and PCA, as files and pictures."""

from __future__ import annotations

import csv
import logging
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.command.overrides import override
from fass_jax.data.held_out import chosen
from fass_jax.engine import compiler, devices
from fass_jax.report.finished import load_data, material_of, place_data
from fass_jax.report.judge import Material
from fass_jax.report.metrics import groups_of
from fass_jax.report.scatter import Cloud, draw
from fass_jax.types import Array, PyTree, Squares, UserError
from fass_jax.workdir.open import FinishedRun

log = logging.getLogger('fass_jax')

SECONDS = 0.0075  # of t-SNE per point, on a core: 2,000 points of 64 numbers took 15 s


class How(NamedTuple):
  """What a picture is drawn with."""

  points: int  # test images, at most
  perplexity: float  # of t-SNE
  seed: int  # of t-SNE and of the draw of the points
  sets: Sequence[tuple[str, str]] = ()  # config keys that say where the data are


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
  # with one of each class there can be too many
  return np.sort(rng.permutation(np.concatenate(parts))[:most])


def project(features: np.ndarray, perplexity: float, seed: int) -> dict[str, np.ndarray]:
  """Returns the points in the plane, float `[n, 2]`, by 'tsne' and 'pca' (scikit-learn).

  Reference: van der Maaten and Hinton, Visualizing Data using t-SNE, JMLR 9, 2008.

  Raises:
    UserError: if a feature is not finite, or all points have the same features.
  """
  n = len(features)
  if not np.isfinite(features).all():
    raise UserError('The network gives features that are not finite; use --which=best.')
  if (features == features[:1]).all():
    raise UserError(
      f'The network gives all {n} points the same features, so there is nothing to draw; give '
      'another run.'
    )
  # one number is a point on a line
  features = np.pad(features, ((0, 0), (0, max(0, 2 - features.shape[1]))))
  from sklearn.decomposition import PCA  # late: importing it takes a second
  from sklearn.manifold import TSNE
  from threadpoolctl import threadpool_limits

  log.info('t-SNE of %d points takes about %.0f s on an idle core.', n, SECONDS * n)
  tsne = TSNE(perplexity=perplexity, random_state=seed, init='pca')
  with threadpool_limits(1):  # where other work runs, threads that wait take ten times as long
    return {
      'tsne': tsne.fit_transform(features),
      'pca': PCA(2, random_state=seed).fit_transform(features),
    }


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
    UserError: if a run is not finished, the runs have other classes or test images, or the folder
      cannot be written.
  """
  first = runs[0]
  for run, place in zip(runs, places):
    if not run.is_finished:
      raise UserError(
        f'--workdir={place} is not finished, it is at {run.at}; start that run again with its own '
        'command until it ends.'
      )
    if run.classes != first.classes:
      raise UserError(
        f'--workdir={place} has other classes than --workdir={places[0]}; give two runs on the '
        'same data.'
      )
    if run.counts != first.counts:
      log.warning(
        '%s and %s have other training images; counts and shot groups are those of %s.',
        places[0],
        place,
        places[0],
      )
  _make(folder)
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
    for k, cloud in enumerate(clouds, 1):
      stem = 'features' if len(clouds) == 1 else f'features-{k}'
      write(folder, stem, cloud, first.classes)
      print(f'{folder / stem}.npz and .csv: {cloud.title}')
    for projection in clouds[0].plane:
      draw(folder / f'{projection}.png', clouds, projection, first.classes, counts, groups)
      print(folder / f'{projection}.png')
  except OSError as error:
    raise _unwritable(folder, error) from error


def _make(folder: pathlib.Path) -> None:
  """Makes the folder before anything is computed."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / '.writable'
    probe.write_text('')
    probe.unlink()
  except OSError as error:
    raise _unwritable(folder, error) from error


def _unwritable(folder: pathlib.Path, error: OSError) -> UserError:
  return UserError(
    f'--out={folder} cannot be written ({error.strerror}); give a folder that can be.'
  )


def _cloud(run: FinishedRun, how: How) -> Cloud:
  """Returns the features of a run's first seed for the chosen test images."""
  config = override(run.config, how.sets)
  compiler.use_cache(config.engine.cache)
  data, where = load_data(run, config), devices.place(config.engine.devices)
  index = choose(data.test_labels, how.points, how.seed)
  if not 0 < how.perplexity < len(index):  # before the pass, which may take long
    raise UserError(
      f'--perplexity={how.perplexity:g} must be above 0 and below the number of points, '
      f'{len(index)}; it is about the number of neighbours of a point.'
    )
  images, labels = chosen(data.test_images, index), data.test_labels[index]
  assert not isinstance(images, Squares)
  # the others are not decoded
  data = data._replace(test_images=images, test_labels=labels, open_images=None)
  kept = place_data(config, data, train=False)
  material = material_of(run, config, kept, where, train=False)
  variables = devices.replicate(run.variables[0], where)
  features = features_of(material, variables, config.eval.batch_size)
  seed = f', seed {run.config.seed}' if len(run.variables) > 1 else ''
  title = f'{config.name}, {config.method}, {run.at}{seed}'
  return Cloud(title, index, labels, features, project(features, how.perplexity, how.seed))
