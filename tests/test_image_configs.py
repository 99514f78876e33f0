"""The configs of image sets: with every method, the recipes' own values, and without data."""

import runpy

import numpy as np
import pytest
from PIL import Image

from fass_jax import main
from fass_jax.config.deltas import config_dir, methods
from fass_jax.data.load import DATASETS
from fass_jax.report import pictures
from fass_jax.report.metrics import shot_groups

NAMES = ('imagenet_lt', 'places_lt', 'inat18', 'folder')


def config_of(name, method='fass'):
  return runpy.run_path(str(config_dir() / f'{name}.py'))['get_config'](method)


@pytest.mark.parametrize('name', NAMES)
def test_every_method_fits(name):
  for method in methods():
    config = config_of(name, method)
    assert config.data.kind in DATASETS and config.method == method
    assert config.net.backbone == 'resnet' and config.data.image_size == 224


def test_methods_have_their_imagenet_values():
  plain = config_of('imagenet_lt', 'ce')
  assert (plain.epochs, plain.batch_size, plain.optim.lr) == (100, 256, 0.1)
  assert plain.optim.weight_decay == 2e-4 and plain.optim.warmup_fraction * plain.epochs == 5
  ride = config_of('imagenet_lt', 'ride+cmo')
  assert ride.optim.nesterov and ride.optim.weight_decay == 2e-4 and not ride.augment.rotation15
  assert (ride.loss_args.ride.diversity, ride.loss_args.ride.diversity_factor) == (-0.2, 0.02)
  assert config_of('imagenet_lt', 'cuda+fass').signals.levels.accept == 0.4
  bcl = config_of('imagenet_lt', 'bcl')
  assert (bcl.terms.natural.weight, bcl.terms.contrast.weight) == (1.0, 0.35)
  assert (bcl.net.projection, bcl.loss_args.balanced_contrastive.temperature) == (1024, 0.07)
  # and the CIFAR recipe keeps its own
  assert config_of('cifar100_lt', 'ride').optim.weight_decay == 5e-4


@pytest.mark.parametrize('name', NAMES)
def test_without_data_the_command_says_what_to_do(name, tmp_path, capsys):
  words = [f'--config=configs/{name}.py', f'--workdir={tmp_path / "w"}',
           f'--config.data.cache={tmp_path / "c"}']  # fmt: skip
  assert main.main(words) == 1
  text = capsys.readouterr().err
  assert 1 <= len(text.splitlines()) <= 8 and 'Traceback' not in text
  assert ('--config.data.root=DIR' if name == 'folder' else '--config.data.dir=DIR') in text


def test_class_counts_are_drawn(tmp_path):
  counts = np.array([5, 300, 40, 100, 101, 19])
  groups = shot_groups(counts)
  figure, axes = pictures.plt.subplots()
  pictures.class_counts(axes, counts, groups)
  bars = {round(p.get_x() + 0.5): (p.get_height(), p.get_facecolor()) for p in axes.patches}
  assert [bars[i][0] for i in range(6)] == sorted(counts, reverse=True)
  colour = {n: pictures.matplotlib.colors.to_rgba(c) for n, c in pictures.COLOURS.items()}
  assert [bars[i][1] for i in range(6)] == [
    colour[n] for n in ('many', 'many', 'medium', 'medium', 'few', 'few')
  ]
  assert axes.get_yscale() == 'log' and len(axes.get_legend().get_texts()) == 3
  pictures.plt.close(figure)
  pictures.draw_counts(tmp_path, counts, groups)
  with Image.open(tmp_path / 'class_counts.png') as image:
    assert image.size == (780, 480) and np.asarray(image).std() > 10
