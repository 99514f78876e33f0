"""What trained logits imply of the class prior, by hand; priors that users write."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from fass_jax.classifiers import prior_shift
from fass_jax.recipe import prior
from fass_jax.types import UserError
from tests import runs

LATE = 'its class weights changed during the run'
MIXED, SEVERAL = 'it mixes images', 'it trains on several streams'


def margins(loss):
  return f"the loss '{loss}' is not a plain cross-entropy"


# with beta = .5 the effective numbers of 1, 2 and 3 images are 1, 1.5 and 1.75
@pytest.mark.parametrize(
  'method, sets, want, guesses',
  [
    ('ce', [], [3 / 4, 1 / 4], []),
    ('balanced_softmax', [], [1 / 2, 1 / 2], []),
    ('ce', ['loss=logit_adjustment'], [1 / 2, 1 / 2], []),
    ('ce', ['loss=logit_adjustment', 'loss_args.logit_adjustment.tau=2.0'], [1 / 4, 3 / 4], []),
    # consistent for any tau: the weights make up for the margins
    ('ce', ['loss=weighted_la', 'loss_args.weighted_la.tau=0.3'], [1 / 2, 1 / 2], []),
    ('ce', ['loss=two_rate', 'loss_args.two_rate.tau1=2.0', 'loss_args.two_rate.tau2=2.0'],
     [1 / 4, 3 / 4], []),
    # between its two powers, here of 0 and 2
    ('ce', ['loss=two_rate', 'loss_args.two_rate.tau1=0.0', 'loss_args.two_rate.tau2=2.0'],
     [1 / 2, 1 / 2], [margins('two_rate')]),
    ('ce', ['loss=la_adaptive'], [1 / 2, 1 / 2], [margins('la_adaptive')]),
    ('ce', ['loss=equalised'], [1 / 2, 1 / 2], [margins('equalised')]),
    ('ce', ['loss=label_smoothing'], [3 / 4, 1 / 4], [margins('label_smoothing')]),
    ('ce', ['loss=cdt'], [3 / 4, 1 / 4], [margins('cdt')]),
    ('ce', ['loss=sigmoid'], [3 / 4, 1 / 4], [margins('sigmoid')]),
    ('ce', ['loss=bbn', 'net.experts=2'], [1 / 2, 1 / 2], [margins('bbn')]),
    ('bbn', [], [1 / 2, 1 / 2], [margins('bbn')]),
    # every image of the larger class is drawn 1 / 1.75 times as often
    ('ens', ['streams.natural.beta=0.5'], [12 / 19, 7 / 19], []),
    ('ce', ['streams.natural.sampler=effective_number_class', 'streams.natural.beta=0.5'],
     [4 / 11, 7 / 11], []),
    ('ce', ['streams.natural.sampler=class_balanced'], [1 / 2, 1 / 2], []),
    ('square_root', [], [3**0.5 / (3**0.5 + 1), 1 / (3**0.5 + 1)], []),
    ('reversed', [], [1 / 4, 3 / 4], []),
    ('progressive', [], [1 / 2, 1 / 2], ['its sampler changed during the run']),
    ('drs', [], [1 / 2, 1 / 2], ['its sampler changed during the run']),
    ('ce', ['streams.natural.sampler=power', 'streams.natural.power=((0, 2.0),)'], [0.9, 0.1],
     []),
    ('cb', ['reweight.beta=0.5'], [12 / 19, 7 / 19], []),
    ('ce', ['reweight.kind=inverse', 'reweight.share=((0, 1.0),)'], [1 / 2, 1 / 2], []),
    ('drw', ['reweight.beta=0.5'], [12 / 19, 7 / 19], [LATE]),
    ('ldam_plain', [], [3 / 4, 1 / 4], [margins('ldam')]),
    ('ride', ['reweight.beta=0.5'], [12 / 19, 7 / 19], [margins('ride'), LATE]),
    ('mixup', [], [3 / 4, 1 / 4], [MIXED]),
    # half of the labels are of partners: reversed, uniform, or the other class
    ('bbn_mixup', [], [1 / 2, 1 / 2], [MIXED]),
    ('bbn_mixup', ['streams.natural.lam=fixed', 'streams.natural.lam_value=0.75'],
     [5 / 8, 3 / 8], [MIXED]),
    ('mixup', ['streams.natural.partner=random'], [1 / 2, 1 / 2], [MIXED]),
    # in half of the batches, for most of the run
    ('cmo', [], [11 / 16, 5 / 16], [MIXED]),
    # the natural view, and two of .8 that are drawn as `ens` does
    ('fass', ['streams.pair.beta=0.5'], [(0.75 + 1.6 * 12 / 19) / 2.6, (0.25 + 1.6 * 7 / 19) / 2.6],
     [MIXED, SEVERAL]),
    # the embeddings that it compares name no class
    ('bcl', [], [1 / 2, 1 / 2], [margins('balanced_contrastive')]),
  ],
)  # fmt: skip
def test_implied_by_hand(method, sets, want, guesses):
  config = runs.config_of(f'--config=digits_lt.py:{method}', *(f'--config.{s}' for s in sets))
  for c in (config, ConfigDict(json.loads(json.dumps(config.to_dict())))):  # as config.json has it
    got = prior.implied(c, [3, 1])
    np.testing.assert_allclose(got.prior, want, rtol=1e-5)
    assert sorted(got.guesses) == sorted(guesses)


def test_a_part_alone_and_a_teacher_are_said():
  config = runs.config_of('--config=digits_lt.py:ce', '--config.optim.only=("head",)')
  assert 'only a part of the network was trained' in prior.implied(config, [3, 1]).guesses
  config = runs.config_of('--config=digits_lt.py:distill')
  got = prior.implied(config, [3, 1])
  assert got.guesses == (margins('distillation'),)
  np.testing.assert_allclose(got.prior, [0.75, 0.25])


# what users expect

CLASSES, COUNTS = ('cat', 'dog, large', 'newt'), (6, 3, 1)


def test_priors_by_name():
  np.testing.assert_allclose(prior_shift.wanted('train', CLASSES, COUNTS), [0.6, 0.3, 0.1])
  np.testing.assert_allclose(prior_shift.wanted('uniform', CLASSES, COUNTS), [1 / 3] * 3)


@pytest.mark.parametrize(
  'name, text',
  [
    ('p.csv', 'class,weight\nnewt,1\ncat,2.5\n"dog, large",1.5\n'),
    ('p.csv', '\ufeffweight, class\r\n1, newt\r\n2.5, cat\r\n1.5, "dog, large"\r\n'),  # of Excel
    ('p.json', '{"newt": 1, "cat": 2.5, "dog, large": 1.5}'),
  ],
)
def test_a_file_in_any_order(tmp_path, name, text):
  (tmp_path / name).write_text(text, encoding='utf-8')
  got = prior_shift.wanted(str(tmp_path / name), CLASSES, COUNTS)
  np.testing.assert_allclose(got, [0.5, 0.3, 0.2])


@pytest.mark.parametrize(
  'name, text, words',
  [
    ('p.json', '{"cat": 1}', 'no weight for 2 classes (dog, large, newt)'),
    ('p.json', '{"cat": 1, "dog, large": 1, "newt": 1, "eft": 1}', 'unknown 1 class (eft)'),
    ('p.json', '{"cat": 1, "dog, large": -1, "newt": 1}', "the weight of 'dog, large' is -1"),
    ('p.json', '{"cat": 1, "dog, large": "much", "newt": 1}', "is 'much'; give a number"),
    ('p.json', '{"cat": 1, "dog, large": NaN, "newt": 1}', 'is nan; give a number'),
    ('p.json', '{"cat": 0, "dog, large": 0, "newt": 0}', 'All weights'),
    ('p.json', '{"cat": 1, "cat": 2}', "two weights for the class 'cat'"),
    ('p.json', '[1, 2, 3]', 'not a JSON object'),
    ('p.json', '{"cat": ', 'cannot be read'),
    ('p.csv', 'cat,1\nnewt,2\n', "columns 'class' and 'weight'"),
    ('p.csv', 'class,weight\ncat\n', "the weight of 'cat' is None"),
    ('p.csv', '', "columns 'class' and 'weight'"),
  ],
)
def test_a_file_that_is_no_prior(tmp_path, name, text, words):
  (tmp_path / name).write_text(text)
  with pytest.raises(UserError) as error:
    prior_shift.wanted(str(tmp_path / name), CLASSES, COUNTS)
  assert words in str(error.value)


def test_neither_a_name_nor_a_file(tmp_path):
  with pytest.raises(UserError, match="did you mean 'uniform'"):
    prior_shift.wanted('unifrom', CLASSES, COUNTS)
  (tmp_path / 'p.csv').write_bytes(b'\xff\xfeclass')
  with pytest.raises(UserError, match='cannot be read .*columns class,weight'):
    prior_shift.wanted(str(tmp_path / 'p.csv'), CLASSES, COUNTS)
