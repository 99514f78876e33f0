"""From a config to the views of a step, and to the signals that watch them."""

from __future__ import annotations

from collections.abc import Mapping

from ml_collections import ConfigDict

from fass_jax.augment import chain
from fass_jax.augment.cam import ActivationMap
from fass_jax.augment.mixes import LABELS, MIXES
from fass_jax.recipe.images import build_chain
from fass_jax.recipe.terms import ops_of
from fass_jax.recipe.text import named
from fass_jax.sampling.named import PARTNERS
from fass_jax.signals import SIGNALS
from fass_jax.types import Dataset, Signal, Stream, UserError, View


def _check_mix(c: ConfigDict, key: str, stream: ConfigDict) -> None:
  """Refuses a mix whose stream has no partners, or partners that it cannot mix."""
  if stream.partner == 'none':
    raise UserError(f"--config.{key}.mix='{c.mix}' needs --config.streams.{c.stream}.partner.")
  partner = PARTNERS.get(stream.partner)
  if MIXES[c.mix].of_features and not (partner and partner.in_batch):
    inside = ' or '.join(name for name, kind in PARTNERS.items() if kind.in_batch)
    raise UserError(
      f'--config.{key}.mix={c.mix} needs --config.streams.{c.stream}.partner={inside}: it mixes '
      'features of one batch.'
    )


def _check_rows(c: ConfigDict, name: str, config: ConfigDict, data: Dataset) -> None:
  """Refuses what needs images where the examples are rows."""
  if not data.is_rows:
    return
  op, mix = chain.needs_images(ops_of(c, config)), MIXES.get(c.mix)
  there = f'the examples of {data.name} are rows of {data.image_shape[0]} numbers'
  if op:
    key = f'augment.{op}'
    if op in tuple(c.augment):
      key = f'views.{name}.augment'
    elif op in config.data.augment:
      key = 'data.augment'
    raise UserError(
      f'--config.{key} has {op}, which needs images, but {there}; drop it, or the method that sets '
      'it.'
    )
  if mix and mix.of_pixels:
    others = ' or '.join(n for n, m in MIXES.items() if not m.of_pixels)
    raise UserError(
      f'--config.views.{name}.mix={c.mix} needs images, but {there}; use {others}, or drop the '
      'method that sets it.'
    )


def build(
  c: ConfigDict, name: str, config: ConfigDict, data: Dataset, activation_map: ActivationMap | None
) -> tuple[View, str]:
  """Fills a view: its stream, its augmentations, its mix.

  Args:
    c: the view's section.
    name: its name.
    config: the whole config.
    data: the data set, for how its images are stored.
    activation_map: what ops that ask a trained network ask, None without a teacher.

  Returns:
    The view, and the line that says what it is.

  Raises:
    UserError: for a mix that does not fit its stream, or a piece that needs images on rows.
  """
  stream = config.streams[c.stream]
  mix = MIXES.get(c.mix)  # None for 'none'
  if mix:
    _check_mix(c, f'views.{name}', stream)
  _check_rows(c, name, config, data)
  asked = ops_of(c, config)
  names = tuple(op for op in chain.OPS if op in asked)
  label = LABELS[c.label] if mix else None
  view = View(
    stream=c.stream,
    augment=build_chain(names, config, data, activation_map),
    augment_name='+'.join(names) + (f'#{c.draw}' if c.draw else ''),
    mix=mix and mix.apply,
    label=label and label.of,
    mixed_label=label is not None and label.both,
    group='all' if config.forward == 'joint' else c.group or name,
    random=chain.cuts(names),
    mixes_features=mix is not None and mix.of_features,
  )
  text = f'stream {c.stream}; {", ".join(names) or "no ops"}'
  if mix:
    text += f'; {c.mix}, {c.label} label'
  return view, text + (f'; one pass with group {view.group}' if view.group != name else '')


def check_active(views: Mapping[str, View], streams: Mapping[str, Stream], epochs: int) -> None:
  """Refuses a view that is off in all epochs.

  Raises:
    UserError: with its name.
  """
  for name, view in views.items():
    if epochs == 1 and streams[view.stream].off_in_first_epoch:
      raise UserError(
        f"View '{name}' would never be active: it is off in the first epoch and the run has one; "
        f'set --config.epochs=2 or --config.streams.{view.stream}.start=on.'
      )


def score_of(config: ConfigDict) -> str:
  """Names the signal that keeps a score matrix, '' for none."""
  kinds = {name: SIGNALS.get(c.kind) for name, c in config.signals.items()}
  return next((name for name, kind in kinds.items() if kind and kind.keeps_scores), '')


def build_signal(c: ConfigDict, name: str, config: ConfigDict, width: int) -> tuple[Signal, str]:
  """Fills a signal.

  Args:
    c: the signal's section.
    name: its name.
    config: the whole config.
    width: numbers per feature of the trunk; 0: each expert has features of its own.

  Returns:
    The signal, and the line that says what it is.

  Raises:
    UserError: for a signal that would never learn anything.
  """
  kind, view = SIGNALS[c.kind], config.views[c.view]
  if kind.unmixed and view.mix != 'none' and config.streams[view.stream].chance == ((0, 1.0),):
    raise UserError(
      f"The signal '{name}' would never be active: it reads the un-mixed view '{c.view}', which "
      f'{config.method} mixes in every step; drop one of the methods.'
    )
  if kind.reads_width and not width:
    raise UserError(
      f"The signal '{name}' needs one feature per example, but --config.net.experts="
      f'{config.net.experts} gives each expert its own; set it to 1.'
    )
  sizes = [config.epochs] * kind.reads_epochs + [width] * kind.reads_width
  signal = kind.build(c.view, *[c[k] for k in kind.reads], *sizes)
  if signal.held and not config.data.held_out:
    raise UserError(
      f"The signal '{name}' reads images held out from training, and this run has none; set "
      '--config.data.held_out=0.1, say.'
    )
  return signal, f'{c.kind} of view {c.view}; {named(c, kind.reads)}'
