"""Terms from a config: what is refused, and when class weights begin."""

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from fass_jax.config.keys import STREAM, VIEW
from fass_jax.data.load import load
from fass_jax.losses.weights import effective_number_weights
from fass_jax.recipe import terms
from fass_jax.recipe.build import build
from fass_jax.types import Classes, Context, Outputs, Time, UserError
from tests import runs
from tests.by_hand import examples

COUNTS = jnp.array([100, 10, 1])
CLASSES = Classes(COUNTS, jnp.array([0, 100, 110]), jnp.arange(111))


def recipe_of(method, *args):
  config = runs.config_of(f'--config=digits_lt.py:{method}', *args)
  return build(config, load(config))


def weights_at(recipe, epoch, part=0):
  logits = jnp.zeros((3, 3 if recipe.terms['natural'].losses[1:] else 1, 3))
  outs = Outputs(logits, jnp.zeros((3, 1)))
  t = Time(jnp.asarray(0), jnp.asarray(epoch), jnp.asarray(0.0))
  return recipe.terms['natural'].losses[part](
    outs, examples(jnp.arange(3)), Context(CLASSES, {}, t)
  )[1]


def test_deferred_weights_begin_in_the_last_fifth():
  recipe = recipe_of('drw', '--config.epochs=10')
  np.testing.assert_array_equal(weights_at(recipe, 7), [1, 1, 1])
  want = effective_number_weights(COUNTS, 0.9999)
  np.testing.assert_allclose(weights_at(recipe, 8), want, rtol=1e-6)
  np.testing.assert_allclose(weights_at(recipe_of('cb'), 0), want, rtol=1e-6)


def test_experts_are_weighted_and_their_diversity_is_not():
  recipe = recipe_of('ride', '--config.epochs=10')
  assert len(recipe.terms['natural'].losses) == 2
  assert float(weights_at(recipe, 9)[2]) > 1.5
  np.testing.assert_array_equal(weights_at(recipe, 9, 1), [1, 1, 1])


@pytest.mark.parametrize(
  'method, args, words',
  [
    (
      'drw+balanced_softmax',
      [],
      'twice, which gives the tail too much (two that give 1 / n make 1 / n^2); drop one',
    ),
    (
      'ens+drw',
      [],
      'twice, which gives the tail too much (two that give 1 / n make 1 / n^2); drop one',
    ),
    (
      'ens+balanced_softmax',
      [],
      'twice, which gives the tail too much (two that give 1 / n make 1 / n^2); drop one',
    ),
    ('ldam', ['--config.net.head=linear'], 'needs --config.net.head=cosine'),
    ('ride', ['--config.net.experts=1'], 'needs --config.net.experts=2'),
    ('bcl', ['--config.net.projection=0'], 'needs an embedding'),
    ('bcl', ['--config.net.experts=2'], 'cannot be combined'),
    ('drw', ['--config.epochs=3'], 'would never be active in 3 epochs'),
    ('drw', ['--config.reweight.beta=1.0'], 'is not in [0, 1)'),
    ('cmo', ['--config.epochs=1'], 'would never be active in 1 epochs'),
    ('drs', ['--config.epochs=4'], 'stream natural would never be active in 4 epochs'),
    ('cuda', ['--config.signals.levels.accept=2.0'], 'is not in [0, 1]'),
    ('ldam+ride', [], 'drop one of them'),
    (
      'drw',
      ['--config.loss=la_adaptive'],
      'twice, which gives the tail too much (two that give 1 / n make 1 / n^2); drop one',
    ),
    (
      'ens',
      ['--config.loss=two_rate'],
      'twice, which gives the tail too much (two that give 1 / n make 1 / n^2); drop one',
    ),
    (
      'drw',
      ['--config.loss=weighted_la'],
      'twice, which gives the tail too much (two that give 1 / n make 1 / n^2); drop one',
    ),
    # half of its labels are those of partners, of reversed frequencies
    ('bbn_mixup+balanced_softmax', [], 'streams.natural.partner=reversed correct the class prior'),
    ('bbn', ['--config.epochs=1'], "second branch of the loss 'bbn' would never be active"),
    ('progressive', ['--config.epochs=1'], 'progressive of stream natural would never be active'),
    ('ce', ['--config.loss=bbn'], "The loss 'bbn' blends two branches: set --config.net.experts=2"),
    ('ce', ['--config.loss=bbn', '--config.net.experts=2'], 'blends two whole batches'),
    ('ens', ['--config.loss=bbn', '--config.net.experts=2'], 'correct the class prior twice'),
    (
      'ce',
      ['--config.loss=label_smoothing', '--config.loss_args.label_smoothing.smoothing=1.0'],
      'not in [0, 1)',
    ),
    ('ce', ['--config.loss=equalised', '--config.loss_args.equalised.share=1.5'], 'not in [0, 1]'),
    (
      'ce',
      ['--config.loss=focal_sigmoid', '--config.loss_args.focal_sigmoid.alpha=1.0'],
      'not in [0, 1)',
    ),
    (
      'ce',
      ['--config.loss=focal_sigmoid', '--config.loss_args.focal_sigmoid.gamma=-1.0'],
      'at least 0',
    ),
    ('range', ['--config.loss_args.range.k=0'], 'is not at least 1'),
    ('range', ['--config.streams.groups.images=1'], 'range loss would never be active on stream'),
    ('range', ['--config.streams.groups.images=32'], 'images to 2 or more, and below 32'),
    ('equalised+class_balanced', [], 'correct the class prior twice'),
    ('cb', ['--config.loss=equalised'], 'correct the class prior twice'),
    ('ce', ['--config.loss=range'], 'would train no classifier; give it a term of its own'),
  ],
)
def test_contradictions_are_refused_with_their_reason(method, args, words):
  with pytest.raises(UserError) as caught:
    recipe_of(method, *args)
  assert words in str(caught.value)


def two_views(start='on', rho=1.0):
  """A config of BBN, but for the network: the natural view and one of another stream."""
  config = runs.config_of('--config=digits_lt.py:ce', '--config.epochs=10')
  config.loss, config.net.experts = 'bbn', 2
  config.unlock()
  other = dict(STREAM, sampler='class_balanced', start=start, rho=rho)
  config.streams.other = ConfigDict(other)
  config.views.other = ConfigDict(dict(VIEW, stream='other'))
  config.terms.natural.views = ('natural', 'other')
  return config


def test_a_loss_reads_a_key_without_a_section():
  assert terms.loss_parameters(two_views(), 'bbn') == {'epochs': 10}


def test_two_whole_views_are_one_joint_term():
  config = two_views()
  terms.check(config)
  term, _ = terms.build_term(config.terms.natural, 'natural', config, COUNTS)
  assert term.joint and term.views == ('natural', 'other')


@pytest.mark.parametrize('how', [{'start': 'skip'}, {'rho': 0.5}])
def test_views_that_are_no_whole_batches(how):
  config = two_views(**how)
  with pytest.raises(UserError, match='give two --config.terms.natural.views'):
    terms.build_term(config.terms.natural, 'natural', config, COUNTS)


def test_a_joint_loss_of_features_needs_no_embedding():
  config = runs.config_of('--config=digits_lt.py:ce', '--config.loss=range')
  term, _ = terms.build_term(config.terms.natural, 'natural', config, COUNTS)
  assert term.joint and not config.net.projection


def test_two_corrections_of_the_prior_run_only_where_they_are_asked_for():
  got = recipe_of('ens+balanced_softmax', '--config.stacked_priors=True')
  assert got.streams['natural'].sampler.scope == 'step'
  with pytest.raises(UserError, match='sampler=reversed and terms.natural.loss=bbn correct'):
    recipe_of('bbn', '--config.streams.natural.sampler=reversed')


@pytest.mark.parametrize(
  ('method', 'loss', 'unused'),
  [('ldam', 'ce', 'loss=ldam and .*reweight.kind'), ('drw', 'focal', 'reweight.kind')],
)
def test_a_host_loss_that_no_term_has_is_refused(method, loss, unused):
  with pytest.raises(UserError, match=f'{unused}.* would never be active: no term has the host'):
    recipe_of(method, f'--config.terms.natural.loss={loss}')
