"""Names of neighbours: the text that asks a language model for them, and its answer."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence

import numpy as np

from fass_jax.config.lookup import did_you_mean
from fass_jax.report.metrics import shot_edges, shot_groups
from fass_jax.types import UserError

MOST = 10  # neighbours that the prompt asks for, per class
PROMPT = """\
An image classifier has these classes, with this number of training images each:
{classes}

For each of the following classes, name fine-grained neighbours, as many as the number behind it:
things that look so much like it that an untrained person could take one for the other. A neighbour
must not be one of the classes above, and neither another name nor a kind nor a part of one. Choose
names under which photos can be found.
{wanted}

Answer with JSON alone, a list of names for each class:
{{"class": ["neighbour", "neighbour"]}}"""


def prompt(names: Sequence[str], counts: Sequence[int], many: int, few: int) -> str:
  """Returns a text that asks a language model for neighbours of the few-shot classes.

  Class c gets round(sqrt(n_max / n_c)) neighbours, from 1 to 10: rarer classes get more.

  Args:
    names: T names.
    counts: `[T]`, training images per class.
    many: classes with more images are many-shot.
    few: classes with fewer images are few-shot; where there is none, the last third of the classes
      counts as few-shot.
  """
  n = np.asarray(counts)
  tail = shot_groups(n, *shot_edges(n, many, few))['few']
  tail = tail if tail.any() else np.ones(len(n), bool)  # all classes are equally large
  wanted = np.clip(np.rint(np.sqrt(n.max() / n)), 1, MOST).astype(int)
  rows = [f'- {name}: {count}' for name, count in zip(names, n)]
  asked = [f'- {names[c]}: {wanted[c]}' for c in np.argsort(n, kind='stable') if tail[c]]
  return PROMPT.format(classes='\n'.join(rows), wanted='\n'.join(asked))


def plain(name: str) -> str:
  """Returns a name as folders and language models may both write it."""
  return '_'.join(name.lower().replace('-', ' ').replace('_', ' ').split())


def read_answer(path: str, names: Sequence[str]) -> dict[str, list[int]]:
  """Returns the targets of each neighbour in a model's answer, `{plain name: targets}`.

  Text around the JSON object is ignored.

  Args:
    path: the file, as the user gave it.
    names: T names.

  Raises:
    UserError: if there is no such file or object in it, a class is unknown, or a neighbour is a
      class that is tested.
  """
  try:
    text = pathlib.Path(path).expanduser().read_text(encoding='utf-8-sig')
    found = json.loads(text[text.find('{') : text.rfind('}') + 1])
    lists = {target: [plain(name) for name in near] for target, near in found.items()}
    if any(isinstance(near, str) for near in found.values()):
      raise ValueError('a class has a string instead of a list')
  except (OSError, ValueError, TypeError, AttributeError) as error:
    raise UserError(
      f'--answer={path} cannot be read ({error}); it must hold a JSON object with a list of names '
      'for each class, as --prompt asks for.'
    ) from error
  number = {plain(name): c for c, name in enumerate(names)}
  targets: dict[str, list[int]] = {}
  for target, near in lists.items():
    if plain(target) not in number:
      raise UserError(
        f"--answer={path} names the class '{target}', which does not exist"
        f'{did_you_mean(target, names)}'
      )
    for name in near:
      if name in number:
        raise UserError(
          f"--answer={path} has '{name}' as a neighbour of '{target}', but it is a class that is "
          'tested; delete it there.'
        )
      targets.setdefault(name, []).append(number[plain(target)])
  return targets
