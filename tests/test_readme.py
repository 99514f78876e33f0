"""README.md: short, in plain words, with working links and examples."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from tests import runs

README = (runs.REPO / 'README.md').read_text()
PROSE = re.sub(r'```.*?```', '', README, flags=re.S)
# words of this field or of this code that a stranger does not know
TERMS = (
  'stream', 'view', 'term', 'signal', 'many-shot', 'medium-shot', 'few-shot', 'rho', 'lambda',
  'ledger',
)  # fmt: skip
PAGES = sorted((runs.REPO / 'docs').glob('*.md'))


def test_it_is_short():
  assert len(PROSE.split()) <= 1300


def test_its_first_commands_train_and_test():
  blocks = re.findall(r'```sh\n(.*?)```', README, re.S)
  assert blocks[0].strip() == 'pip install -e . && python -m fass_jax.main'
  assert blocks[1].strip() == "pip install -e '.[test]' && python -m pytest"


@pytest.mark.parametrize('term', TERMS)
def test_a_term_is_explained_at_its_first_use(term):
  """The first use stands in italics, and its sentence goes on to say what it is."""
  found = re.search(rf'\b{term}s?\b', PROSE, re.I)
  if found:
    before, after = PROSE[: found.start()], PROSE[found.end() :]
    assert before.endswith('*') and after.startswith('*'), f'{term}: not explained at its first use'
    assert len(after.split('.')[0].split()) > 3, term


def test_every_page_is_linked():
  for page in PAGES:
    assert f'(docs/{page.name})' in README, page.name


@pytest.mark.parametrize('page', [runs.REPO / 'README.md', *PAGES], ids=lambda p: p.name)
def test_links_lead_somewhere(page):
  """Files exist, and so do the headings of the page that a link names."""
  text = re.sub(r'```.*?```', '', page.read_text(), flags=re.S)
  for target in re.findall(r'\]\(([^)\s]+)\)', text):
    if not target.startswith('http'):
      name, _, heading = target.partition('#')
      there = page.parent / name if name else page
      assert there.exists(), target
      if heading:
        titles = re.findall(r'^#+ (.*)$', there.read_text(), re.M)
        slugs = {re.sub(r'[^\w\- ]', '', t.lower()).replace(' ', '-') for t in titles}
        assert heading in slugs, target


def test_every_picture_is_shown():
  shown = ''.join(page.read_text() for page in (runs.REPO / 'README.md', *PAGES))
  for picture in (runs.REPO / 'docs').glob('*.png'):
    assert f'{picture.name})' in shown, picture.name


def test_the_thesis_is_cited():
  for words in (
    'Fan, Che-Wei',
    'Adaptive Targeted Augmentation Strategy for Long-Tail Visual Recognition',
    'National Taiwan Normal University',
    '2025',
  ):
    assert words in README


def test_the_status_names_what_was_not_run():
  box = '\n'.join(line for line in README.splitlines() if line.startswith('>'))
  assert '**Status**' in box and 'not reproduced' in box
  for words in ('39.22', '39.74', '43.15', '44.03', 'ImageNet-LT', 'Places-LT', 'iNaturalist'):
    assert words in box


def test_the_generated_blocks_are_there():
  for name in ('results readme_full', 'results readme_small', 'equations'):
    begin, end = f'<!-- {name} -->', f'<!-- end {name.split()[-1]} -->'
    assert README.count(begin) == 1 and README.count(end) == 1
    assert README.index(begin) < README.index(end)


def test_the_example_of_the_balanced_softmax_runs():
  (code,) = re.findall(r'```python\n(from fass_jax import losses\n.*?)```', README, re.S)
  assert len(list(filter(None, code.splitlines()))) == 3
  found = {
    'logits': jnp.zeros((2, 3)),
    'labels': jnp.array([0, 2]),
    'counts': jnp.array([6, 3, 1]),
  }
  exec(code, found)
  # -log(n_y / N): the softmax of equal logits, weighted by the counts
  np.testing.assert_allclose(found['loss'], -np.log([0.6, 0.1]).mean(), rtol=1e-6)
