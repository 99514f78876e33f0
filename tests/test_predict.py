"""The command that names the classes of image files, on a run of the real program."""

import csv
import importlib.util
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fass_jax import main, predict
from fass_jax.data.sets.digits import load_digits
from fass_jax.engine import passes
from fass_jax.run import resume, session
from fass_jax.workdir.open import open_run
from tests import runs
from tests.losses import oracle

ARGS = ['--config=digits_lt.py:ce', *runs.SHORT]
SHOWN = range(0, 600, 15)  # test digits that lie there as files


def write_digits(folder):
  """Writes the shown test digits as PNG files, `<position>.png`, some deeper."""
  (folder / 'more').mkdir(parents=True)
  images = load_digits().test_images
  for i in SHOWN:
    Image.fromarray(images[i]).save(folder / ('more' if i % 2 else '') / f'{i}.png')
  (folder / 'notes.txt').write_text('no image')


def logits_of(args, path):
  """Returns what evaluation computes for the test set, [600, 10]."""
  s = session.open_session(runs.config_of(*args), path, lambda: '')
  with s.manager:
    (seed_run,) = resume.begin(s)
  fold = passes.make_fold(s.recipe, 600)
  out = fold(
    lambda acc, logits, labels, mask: logits, np.zeros((600, 10), np.float32),
    session.variables(seed_run.state), *s.test,
  )  # fmt: skip
  return np.asarray(out)


@pytest.fixture(scope='module')
def trained_once(tmp_path_factory):
  """A short run of the linear net, the digits' files, and the logits of evaluation."""
  path = tmp_path_factory.mktemp('predict')
  with pytest.MonkeyPatch.context() as patch:
    runs.use_linear_net(patch)
    assert main.main([*ARGS, f'--workdir={path / "run"}']) == 0
    z = logits_of(ARGS, path / 'run')
  write_digits(path / 'digits')
  return path, z


@pytest.fixture
def finished(trained_once, monkeypatch):
  """The folder of a run, `run`, and of images, `digits`; networks are linear meanwhile."""
  runs.use_linear_net(monkeypatch)
  return trained_once[0]


@pytest.fixture
def logits(trained_once):
  return trained_once[1]


def call(capsys, *args):
  """Runs the command in this process; returns (code, stdout, the sentence on stderr)."""
  code = predict.main([*map(str, args)])
  out, err = capsys.readouterr()
  lines = [x for x in err.splitlines() if x.startswith('fass_jax: ')]
  assert 'Traceback' not in err and len(lines) <= 1
  return code, out, ''.join(lines)


def table(text):
  """Returns probabilities [files, 10] by class from CSV, and the files' positions."""
  rows = list(csv.DictReader(text.splitlines()))
  files = list(dict.fromkeys(row['file'] for row in rows))
  p = np.full((len(files), 10), np.nan)
  for row in rows:
    p[files.index(row['file']), int(row['class'])] = float(row['probability'])
  ranks = [int(row['rank']) for row in rows]
  assert ranks == [*range(1, len(rows) // len(files) + 1)] * len(files)
  return p, [int(f.split('/')[-1].removesuffix('.png')) for f in files]


def probabilities(capsys, finished, *args):
  code, out, err = call(
    capsys, f'--workdir={finished / "run"}', '--csv=-', '--top=10', *args, finished / 'digits'
  )
  assert code == 0, err
  return table(out)


@pytest.mark.process
@pytest.mark.real_net
def test_the_command_names_what_evaluation_names(tmp_path):
  run = shutil.copytree(runs.digits_run(), tmp_path / 'run')
  write_digits(tmp_path / 'digits')
  done = subprocess.run(
    [sys.executable, '-m', 'fass_jax.predict', f'--workdir={run}', '--csv=-',
     '--top=99', '--batch', '16', str(tmp_path / 'digits')],
    cwd=runs.REPO, capture_output=True, text=True,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert '10 classes; the network of step 30 (last).' in done.stderr
  assert_as_evaluated(done.stdout, logits_of(runs.EVERY, run))


def assert_as_evaluated(out, logits):
  p, at = table(out)
  assert sorted(at) == list(SHOWN)
  np.testing.assert_allclose(p, oracle.softmax(logits[at]), rtol=1e-3, atol=1e-6)
  np.testing.assert_array_equal(p.argmax(1), logits[at].argmax(1))
  # best first
  listed = [float(row['probability']) for row in csv.DictReader(out.splitlines())]
  assert (np.diff(np.reshape(listed, (-1, 10))) <= 0).all()


def test_priors_act_as_by_hand(finished, logits, capsys, tmp_path):
  n = np.bincount(load_digits().train_labels)
  plain, at = probabilities(capsys, finished)
  z = logits[at]
  np.testing.assert_allclose(plain, oracle.softmax(z), rtol=1e-3, atol=1e-6)
  # cross-entropy: the training counts come out, the wanted prior comes in
  w = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 90.0])
  (tmp_path / 'w.csv').write_text('class,weight\n' + ''.join(f'{c},{w[c]}\n' for c in range(10)))
  (tmp_path / 'w.json').write_text(json.dumps({str(c): w[c] for c in range(10)}))
  for prior, model, move in [
    ('train', 'auto', np.ones(10)),
    ('uniform', 'auto', 1 / n),
    ('uniform', 'uniform', np.ones(10)),
    ('train', 'uniform', n),
    (tmp_path / 'w.csv', 'train', w / n),
    (tmp_path / 'w.json', 'auto', w / n),
  ]:
    got, _ = probabilities(capsys, finished, f'--prior={prior}', f'--model-prior={model}')
    with np.errstate(divide='ignore'):
      want = oracle.softmax(z + np.log(move))
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-6, err_msg=str(prior))
  assert (got[:, 0] == 0).all()  # a class that cannot come
  assert (got.argmax(1) != plain.argmax(1)).mean() > 0.2


def test_a_csv_file_holds_what_stdout_would(finished, capsys, tmp_path):
  # the faster decoder is an extra
  there = all(importlib.util.find_spec(name) for name in ('simplejpeg', 'cv2'))
  args = [
    f'--workdir={finished / "run"}',
    '--which',
    'best',
    '--top=3',
    f'--decoder={"fast" if there else "pillow"}',
  ]
  code, out, _ = call(capsys, *args, '--csv=-', finished / 'digits')
  assert code == 0 and len(out.splitlines()) == 1 + 3 * len(SHOWN)
  target = tmp_path / 'out.csv'
  code, nothing, _ = call(capsys, *args, f'--csv={target}', finished / 'digits')
  assert code == 0 and nothing == '' and target.read_text() == out


def test_the_table_for_people(finished, logits, capsys):
  one, two = finished / 'digits' / '0.png', finished / 'digits' / '30.png'
  code, out, _ = call(capsys, f'--workdir={finished / "run"}', '--top=2', one, two, one)
  p = oracle.softmax(logits)
  best = {i: np.argsort(-p[i])[:2] for i in (0, 30)}
  want = [
    [str(one), '1', str(best[0][0]), f'{100 * p[0].max():.2f}', '%'],
    ['2', str(best[0][1]), f'{100 * p[0][best[0][1]]:.2f}', '%'],
    [str(two), '1', str(best[30][0]), f'{100 * p[30].max():.2f}', '%'],
    ['2', str(best[30][1]), f'{100 * p[30][best[30][1]]:.2f}', '%'],
  ]
  assert code == 0 and [line.split() for line in out.splitlines()] == want


def test_a_broken_image_is_named_and_the_others_are_there(finished, capsys, tmp_path, caplog):
  runs.listen(caplog)
  (tmp_path / 'bad.jpg').write_text('no image')
  code, out, err = call(
    capsys, f'--workdir={finished / "run"}', '--csv=-', tmp_path, finished / 'digits' / '0.png'
  )
  assert code == 1 and err == '' and len(out.splitlines()) == 6
  (line,) = {x for x in caplog.messages if 'bad.jpg' in x}
  assert 'cannot be read' in line and '1 of 2 images could not be read.' in caplog.messages


def test_the_log_says_what_a_prior_takes_out(finished, caplog):
  runs.listen(caplog)
  run = open_run(str(finished / 'run'))
  run.config.unlock()
  assert predict.choose_prior(run, '', 'auto') is None
  predict.choose_prior(run, 'uniform', 'auto')
  assert 'approximate' not in caplog.text
  run.config.loss = 'focal'
  run = run._replace(implied=None)  # as of a run that is older than the note: from its config
  implied, wanted = predict.choose_prior(run, 'uniform', 'auto')
  assert 'is approximate' in caplog.text and '--model_prior' in caplog.text
  np.testing.assert_allclose(implied, np.asarray(run.counts) / 383)
  np.testing.assert_allclose(wanted, 0.1)


def test_a_classifier_that_is_not_asked_is_said(finished, caplog):
  runs.listen(caplog)
  run = open_run(str(finished / 'run'))
  run.config.unlock()
  predict.warn_of_classifier(run)
  # orbax may have its say too
  assert not [r for r in caplog.records if r.name.startswith('fass_jax')]
  run.config.classifier = 'post_hoc'
  predict.warn_of_classifier(run)
  assert 'the classifier post_hoc; here its network answers as it was trained' in caplog.text
  assert '--prior=uniform does what post_hoc does' in caplog.text
  caplog.clear()
  run.config.classifier, run.config.classifier_args.calibrate = 'trained', True
  predict.warn_of_classifier(run)
  assert 'classifier with calibrated probabilities' in caplog.text and '--prior' not in caplog.text


@pytest.mark.parametrize(
  'args, words',
  [
    (['--workdr=RUN', 'IMAGE'], ["no flag '--workdr=RUN'", "did you mean '--workdir'"]),
    (['--workdir=RUN', '--which=first', 'IMAGE'], ["no 'first' for --which", 'last']),
    (['--workdir=RUN', '--decoder=pilow', 'IMAGE'], ["did you mean 'pillow'"]),
    (['--workdir=RUN', '--top=0', 'IMAGE'], ['--top=0', 'a whole number of 1 or more']),
    (['--workdir=RUN', '--batch=1.5', 'IMAGE'], ['--batch=1.5']),
    (['--workdir=RUN', '--workers=-1', 'IMAGE'], ['--workers=-1', 'of 0 or more']),
    (['--workdir=RUN', 'IMAGE', '--top'], ['--top needs a value']),
    (['IMAGE'], ['give --workdir=DIR']),
    (['--workdir=RUN'], ['No image was named']),
    (['--workdir=RUN', 'nowhere.jpg'], ["no file or folder 'nowhere.jpg'"]),
    (['--workdir=RUN', '--', '--odd.jpg'], ["no file or folder '--odd.jpg'"]),
    (['--workdir=RUN', 'EMPTY'], ['No image was found in', '.webp']),
    (['--workdir=EMPTY', 'IMAGE'], ['is not the work directory of a run']),
    (['--workdir=RUN', '--model_prior=train', 'IMAGE'], ['does nothing without --prior']),
    (['--workdir=RUN', '--prior=unifrom', 'IMAGE'], ["did you mean 'uniform'"]),
    (['--workdir=RUN', '--csv=EMPTY/no/out.csv', 'IMAGE'], ['out.csv cannot be written']),
    (['--workdir=RUN', '--csv=/dev/full', 'IMAGE'], ['disk of /dev/full is full', 'begins anew']),
  ],
)
def test_a_mistake_is_one_sentence(finished, capsys, tmp_path, args, words):
  named = {'RUN': finished / 'run', 'EMPTY': tmp_path, 'IMAGE': finished / 'digits' / '0.png'}
  said = list(args)
  for name, path in named.items():
    said = [a.replace(name, str(path)) for a in said]
    words = [w.replace(name, str(path)) for w in words]
  code, out, err = call(capsys, *said)
  assert code == 1 and out == ''
  for word in words:
    assert word in err


def test_help_needs_nothing(capsys):
  code, out, _ = call(capsys, '--workdir=nowhere', '--help')
  assert code == 0
  for flag in predict.DEFAULTS:
    assert flag in out
