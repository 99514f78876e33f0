"""Keys that were renamed: what old ledgers, old work directories and old commands still say."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fass_jax.config.nested import flatten, nest, split_stage

# old key: its homes now; one of several losses belongs to the losses that a run uses
RENAMED: dict[str, tuple[str, ...]] = {
  f'loss_args.{old}': tuple(f'loss_args.{home}' for home in homes)
  for old, homes in {
    'max_margin': ('ldam.max_margin', 'ride.max_margin'),
    'diversity': ('ride.diversity',),
    'diversity_factor': ('ride.diversity_factor',),
    'tau': ('logit_adjustment.tau',),
    'weighted_tau': ('weighted_la.tau',),
    'tau1': ('two_rate.tau1',),
    'tau2': ('two_rate.tau2',),
    'adaptive_margin': ('la_adaptive.factor',),
    'equalised_share': ('equalised.share',),
    'equalised_below': ('equalised.below',),
    'smoothing': ('label_smoothing.smoothing',),
    'cdt_gamma': ('cdt.gamma',),
    'gamma': ('focal.gamma',),
    'sigmoid_gamma': ('focal_sigmoid.gamma',),
    'sigmoid_alpha': ('focal_sigmoid.alpha',),
    'range_k': ('range.k',),
    'range_margin': ('range.margin',),
    'range_intra': ('range.intra',),
    'range_inter': ('range.inter',),
    'temperature': ('balanced_contrastive.temperature',),
    'distill_temperature': ('distillation.temperature',),
    'distill_power': ('distillation.power',),
    'router_positive': ('router.positive',),
  }.items()
}


def losses_of(flat: Mapping[str, Any]) -> set[str]:
  """Returns the losses that a run and its stages name."""
  return {v for key, v in flat.items() if key.split('.')[-1] == 'loss' and isinstance(v, str)}


def homes(key: str, losses: Collection[str] = ()) -> tuple[str, ...]:
  """Returns what a renamed key is called now, () for a key that was not renamed.

  Args:
    key: dotted, of a run or of a stage.
    losses: those in use; a key of none of them has all its homes.
  """
  stage, rest = split_stage(key)
  new = RENAMED.get(rest, ())
  used = tuple(home for home in new if home.split('.')[1] in losses)
  return tuple(stage + home for home in used or new)


def instead(key: str, losses: Collection[str] = ()) -> str:
  """Returns the end of a sentence about a key that there is not, '' if it was not renamed."""
  new = ' or '.join(f"'{home}'" for home in homes(key, losses))
  return f' any more; it is called {new} now.' if new else ''


def renew(flat: Mapping[str, Any], everywhere: bool = False) -> dict[str, Any]:
  """Returns `{dotted key: value}` with today's keys; a key that is there already stays.

  Args:
    flat: settings of a run, old or new.
    everywhere: gives a value to all homes of its key, and not only to the losses in use.
  """
  losses = () if everywhere else losses_of(flat)
  found = {key: value for key, value in flat.items() if not homes(key)}
  for key, value in flat.items():
    for home in homes(key, losses):
      found.setdefault(home, value)
  return found


def renew_config(nested: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a whole config, such as the config.json of a work directory, with today's keys."""
  new = nest(renew(flatten(nested, tuples=True), everywhere=True))
  # sections without a key are sections all the same
  return {key: new.get(key, value) for key, value in nested.items()}


def without_unread(flat: Mapping[str, Any], losses: Collection[str] = ()) -> dict[str, Any]:
  """Leaves out the parameters of losses that a run does not use: they change nothing.

  Args:
    flat: `{dotted key: value}` with today's keys.
    losses: losses that count as used beside those that `flat` names.
  """
  used = {*losses_of(flat), *losses}

  def read(key: str) -> bool:
    section, _, rest = split_stage(key)[1].partition('.')
    return section != 'loss_args' or rest.partition('.')[0] in used

  return {key: value for key, value in flat.items() if read(key)}
