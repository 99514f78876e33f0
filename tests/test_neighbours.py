"""The command that chooses auxiliary images: what it keeps, what it prints, what it refuses."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image

from fass_jax import neighbours
from fass_jax.command import console
from fass_jax.data.load import load
from fass_jax.data.sets.digits import load_digits
from fass_jax.recipe.images import normaliser_of
from fass_jax.report import candidates, neighbour_names
from fass_jax.types import UserError
from fass_jax.workdir.open import open_run
from tests import runs

SHOWN = 12  # images per candidate class


@pytest.fixture(scope='module', autouse=True)
def linear():
  with pytest.MonkeyPatch.context() as patch:
    runs.use_linear_net(patch)
    yield


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  """A run of seven digits, and candidates: images of 7 and 8, one of them in a folder deeper."""
  folder = tmp_path_factory.mktemp('neighbours')
  near = folder / 'aside.csv'
  near.write_text('target,neighbour\n1,7\n3,8\n4,9\n')
  config = runs.config_of(
    '--config=digits_lt.py:ce', '--config.epochs=2', '--config.data.auxiliary=own',
    f'--config.data.neighbours={near}', '--config.data.auxiliary_images=0',
  )  # fmt: skip
  runs.in_memory(config, folder / 'run', keep=True)
  whole = load_digits(1.0, 'balanced')
  for name, digit in (('Like seven', 7), ('eight', 8)):
    for i, k in enumerate(np.flatnonzero(whole.train_labels == digit)[:SHOWN]):
      path = folder / 'photos' / name / ('more' if i == 0 else '') / f'{i:02}.png'
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(whole.train_images[k]).save(path)
  (folder / 'photos' / 'eight' / 'broken.png').write_bytes(b'no image')
  return folder


def call(capsys, place, *args):
  code = neighbours.main([f'--workdir={place / "run"}', *map(str, args)])
  out, err = capsys.readouterr()
  assert 'Traceback' not in err
  return code, out, err


def near_of(place):
  """Returns the cosines `{name: [n, T]}` of the candidates, from the pixels."""
  run, data = open_run(str(place / 'run')), load(open_run(str(place / 'run')).config)
  normalise, whole = normaliser_of(run.preparation), load_digits(1.0, 'balanced')
  x = np.asarray(normalise(data.train_images)).reshape(len(data.train_labels), -1)
  means = np.stack([x[data.train_labels == c].mean(0) for c in range(7)])
  found = {}
  for name, digit in (('Like seven', 7), ('eight', 8)):
    own = whole.train_images[np.flatnonzero(whole.train_labels == digit)[:SHOWN]]
    z = np.asarray(normalise(own)).reshape(SHOWN, -1)
    dot = z @ means.T
    found[name] = dot / np.linalg.norm(z, axis=1)[:, None] / np.linalg.norm(means, axis=1)
  return found


def written(out):
  files = {str(p.relative_to(out)) for p in out.rglob('*.png')}
  with open(out / 'neighbours.csv') as file:
    return files, [(row['target'], row['neighbour']) for row in csv.DictReader(file)]


def name_of(name, i):
  return f'{name}/more/{i:02}.png' if i == 0 else f'{name}/{i:02}.png'


def test_images_within_the_bounds_of_their_target_are_kept(place, tmp_path, capsys):
  near = near_of(place)
  low, high = 0.55, 0.8
  out = tmp_path / 'more'
  code, said, err = call(
    capsys, place, f'--candidates={place / "photos"}', f'--out={out}', f'--low={low}',
    f'--high={high}',
  )  # fmt: skip
  assert code == 0, err
  assert 'broken.png cannot be read' in err
  # without an answer the target is the class with the largest mean cosine
  target = {name: int(x.mean(0).argmax()) for name, x in near.items()}
  want = {
    name_of(name, i)
    for name, x in near.items()
    for i, value in enumerate(x[:, target[name]])
    if low <= value <= high
  }
  files, pairs = written(out)
  assert 0 < len(want) < 2 * SHOWN and files == want
  assert pairs == [(str(target[name]), name) for name in near if any(name in f for f in want)]
  # the table has the distribution, and the flags are ready for a run
  for name, x in near.items():
    (line,) = [x for x in said.splitlines() if x.strip().startswith(name)]
    cells = [float(cell) for cell in line.split()[-8:-1]]
    cosine = np.percentile(x[:, target[name]], candidates.QUANTILES)
    np.testing.assert_allclose(cells, cosine, atol=1.1e-3)
  flags = said.split('Train with\n')[1].split()
  data = load(runs.config_of('--config=digits_lt.py:ce', *flags))
  assert data.auxiliary == len({f.split('/')[0] for f in files}) and data.num_tested == 10
  assert data.counts[10:].sum() == len(files)


def test_an_answer_names_the_targets_and_selects_the_folders(place, tmp_path, capsys):
  answer = tmp_path / 'answer.txt'
  answer.write_text('Here it is:\n```json\n{"1": ["like-seven", "owl"], "2": ["Like Seven"]}\n```')
  args = [f'--candidates={place / "photos"}', f'--answer={answer}', '--low=-1', '--high=1']
  code, _, err = call(capsys, place, *args, f'--out={tmp_path / "out"}')
  assert code == 0, err
  assert 'No folder has images of: owl.' in err and 'The answer does not name: eight.' in err
  files, pairs = written(tmp_path / 'out')
  assert len(files) == SHOWN and pairs == [('1', 'Like seven'), ('2', 'Like seven')]


def test_cosines_by_hand():
  x, means = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[2.0, 0.0], [0.0, 5.0], [-3.0, -4.0]])
  np.testing.assert_allclose(candidates.cosines(x, means), [[0.6, 0.8, -1.0], [0.0, 0.0, 0.0]])


def test_the_prompt_asks_more_for_rarer_classes(place, capsys):
  code, out, _ = call(capsys, place, '--prompt')
  assert code == 0 and '- 0: 114' in out and 'JSON' in out
  text = neighbour_names.prompt(['cat', 'dog', 'eel', 'fox'], [900, 100, 9, 1], 100, 20)
  asked = text.split('\n- eel: 9\n- fox: 1\n')[1]
  # round(sqrt(900 / n)): 10 at most; classes of 20 images and more are not asked for
  assert [line for line in asked.splitlines() if line[:2] == '- '] == ['- fox: 10', '- eel: 10']
  even = neighbour_names.prompt(['a', 'b'], [5, 5], 100, 20)
  assert even.count('- a: ') == 2 and '- b: 1' in even


BAD = [
  (['--low=.9', '--high=.7'], 'are out of order'),
  (['--low=.7', '--high=1.2'], 'are out of order'),
  (['--low=nan'], 'are out of order'),
  (['--low=near'], 'are not two numbers'),
  (['--candidates=none'], 'is no folder; give one with a folder of images per candidate class'),
  (['--candidates='], r'--candidates is missing'),
  (['--out='], r'--out is missing'),
  (['--low=.999', '--high=1'], r'No image has a cosine in \[0.999, 1\]; choose --low and --high'),
  (['photos'], "'photos' is no flag"),
  (['--config.epochs=3'], 'would make this another run'),
  (['--answer=none.json'], r'--answer=none.json cannot be read'),
]


@pytest.mark.parametrize(('args', 'message'), BAD, ids=[' '.join(a) for a, _ in BAD])
def test_mistakes_are_said_in_a_sentence(args, message, place, tmp_path, capsys):
  base = [f'--candidates={place / "photos"}', f'--out={tmp_path / "out"}']
  code, _, err = call(capsys, place, *base, *args)
  (line,) = [x for x in err.splitlines() if x.startswith('fass_jax: ')]
  assert code == 1 and re.search(message, line), line
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  ('answer', 'message'),
  [
    ({'x': ['owl']}, "names the class 'x', which does not exist"),
    ({'1': ['2']}, "has '2' as a neighbour of '1', but it is a class that is tested"),
    ({'1': 'owl'}, 'a string instead of a list'),
    (['owl'], 'cannot be read'),
  ],
)
def test_a_wrong_answer_is_said(answer, message, tmp_path):
  (tmp_path / 'a.json').write_text(json.dumps(answer))
  with pytest.raises(UserError, match=message):
    neighbour_names.read_answer(str(tmp_path / 'a.json'), ['1', '2'])


def test_candidates_that_are_tested_or_an_output_that_is_there_are_refused(place, tmp_path, capsys):
  (tmp_path / 'photos' / '3').mkdir(parents=True)
  Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / 'photos' / '3' / 'a.png')
  args = [f'--candidates={tmp_path / "photos"}', f'--out={tmp_path / "out"}']
  code, _, err = call(capsys, place, *args)
  assert code == 1 and "The folder '3'" in err and 'cannot be auxiliary' in err
  args = [f'--candidates={place / "photos"}', f'--out={tmp_path}']
  code, _, err = call(capsys, place, *args)
  assert code == 1 and 'exists already and is not empty' in err


def test_help_and_the_console_know_the_command(capsys):
  assert neighbours.main(['--help']) == 0
  assert '--candidates=DIR' in capsys.readouterr().out
  assert console.run(['neighbours', '--help']) == 0
  assert '--prompt' in capsys.readouterr().out
