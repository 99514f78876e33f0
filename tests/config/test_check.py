"""Every value of a config is checked once, with the sentence that a user reads."""

import ast

import pytest

from fass_jax.config.check import check
from fass_jax.config.deltas import set_keys
from fass_jax.config.keys import KEYS
from fass_jax.recipe.tables import TABLES
from fass_jax.types import UserError
from tests import runs


def test_every_open_set_that_a_key_names_is_given():
  own = {'streams', 'views', 'views of terms'}  # those of the config itself
  assert {row.table for row in KEYS.values() if row.table} - own <= TABLES.keys()


def config_with(*sets, method='fass'):
  """Returns a config with keys set as Python values; nothing is checked on the way."""
  config = runs.config_of(f'--config=digits_lt.py:{method}').unlock()
  for word in sets:
    key, _, text = word.partition('=')
    try:
      value = ast.literal_eval(text.replace('nan', '"NaN"'))
    except (ValueError, SyntaxError):
      value = text
    if 'nan' in text:
      value = float('nan') if value == 'NaN' else ((0, float('nan')),)
    with config.ignore_type():
      set_keys(config, {key: value})
  return config


@pytest.mark.parametrize(
  'word, sentence',
  [
    ('epochs=0', '--config.epochs=0 is not at least 1.'),
    ('batch_size=0', '--config.batch_size=0 is not at least 1.'),
    ('seeds=0', '--config.seeds=0 is not at least 1.'),
    ('eval.every=0', '--config.eval.every=0 is not at least 1.'),
    ('checkpoint.keep=0', 'keep=0 is not at least 1.'),
    ('optim.lr=-1.0', 'optim.lr=-1.0 is not at least 0.'),
    ('optim.momentum=1.0', 'momentum=1.0 is not in [0, 1).'),
    ('net.scale=0.0', 'net.scale=0.0 is not above 0.'),
    ('streams.pair.rho=0.0', 'rho=0.0 is not in (0, 1]; it is a share of the batch.'),
    ('streams.pair.beta=1.0', 'beta=1.0 is not in [0, 1); 0 stands for (N - 1) / N.'),
    ('streams.pair.images=0', 'images=0 is not at least 1.'),
    ('streams.pair.lambda_min=2.0', 'lambda_min=2.0 is not in [0, 1].'),
    ('streams.pair.lam_alpha=0.0', 'lam_alpha=0.0 is not above 0.'),
    ('streams.pair.chance=((0, 1.5),)', 'is not in [0, 1].'),
    ('streams.pair.gate=fist', "no 'fist' for --config.streams.pair.gate; did you mean 'first'?"),
    ('streams.pair.sampler=natral', "streams.pair.sampler; did you mean 'natural'?"),
    ('streams.pair.partner=scores', "streams.pair.partner; did you mean 'score'?"),
    ('streams.pair.lam=scores', "streams.pair.lam; did you mean 'score'?"),
    ('views.mixup.mix=cutmx', "views.mixup.mix; did you mean 'cutmix'?"),
    ('views.mixup.label=singel', "views.mixup.label; did you mean 'single'?"),
    ('views.mixup.stream=pairs', "views.mixup.stream; did you mean 'pair'?"),
    ("views.mixup.augment=('crp',)", "views.mixup.augment; did you mean 'crop'?"),
    ("data.augment=('crop', 'flp')", "no 'flp' for --config.data.augment; did you mean 'flip'?"),
    ("terms.fs.views=('mixup', 'cutmx')", "terms.fs.views; did you mean 'cutmix'?"),
    ('terms.fs.loss=focl', "terms.fs.loss; did you mean 'focal'?"),
    ('terms.fs.divisor=batc', "terms.fs.divisor; did you mean 'batch'?"),
    ('terms.fs.weight=nan', 'terms.fs.weight=nan is not a number.'),
    ('optim.schedule=((0, nan),)', 'optim.schedule=((0, nan),) is not a number.'),
    ('optim.schedule=((0.8, 1.0), (0.1, 0.1))', 'is not in order of time; sort its pairs.'),
    ('optim.schedule=(1.0,)', 'schedule (1.0,) is no ((when, value), ...); write "((0, 1.0), '),
    ('reweight.share=()', 'schedule () is no ((when, value), ...)'),
    ('reweight.kind=invers', "reweight.kind; did you mean 'inverse'?"),
    ('reweight.beta=1.0', 'reweight.beta=1.0 is not in [0, 1).'),
    ('signals.score.decay=1.0', 'decay=1.0 is not in [0, 1).'),
    ('signals.score.form=vektor', "signals.score.form; did you mean 'vector'?"),
    ('signals.score.source=run', "signals.score.source; did you mean 'running'?"),
    ('signals.score.kind=level', "signals.score.kind; did you mean 'levels'?"),
    ('signals.score.view=natral', "signals.score.view; did you mean 'natural'?"),
    ('signals.score.accept=2.0', 'accept=2.0 is not in [0, 1].'),
    ('data.held_out=1.0', 'held_out=1.0 is not in [0, 1); it is the share of each class'),
    ('data.centre=0.0', 'data.centre=0.0 is not in (0, 1].'),
    ('data.crop_area=(0.9, 0.1)', 'crop_area=(0.9, 0.1) are not two shares, the smaller first.'),
    ('data.std=(0.1, 0.0, 0.1)', 'data.std=(0.1, 0.0, 0.1) is not above 0.'),
    ('data.image_size=-4', 'image_size=-4 is not at least 0; 0 keeps the stored size.'),
    ('data.profile=expo', "data.profile; did you mean 'exp'?"),
    ('data.store=residnt', "data.store; did you mean 'resident'?"),
    ('data.split=tset', "data.split; did you mean 'test'?"),
    ('data.decoder=pilow', "data.decoder; did you mean 'pillow'?"),
    ('data.kind=digit_lt', "data.kind; did you mean 'digits_lt'?"),
    ('engine.together=both', "no 'both' for --config.engine.together"),
    ('engine.chunk=-1', 'engine.chunk=-1 is not at least 0.'),
    ('engine.unroll=0', 'engine.unroll=0 is not at least 1.'),
    ('engine.precision=float31', "engine.precision; did you mean 'float32'?"),
    ('engine.convolution=drect', "engine.convolution; did you mean 'direct'?"),
    ('net.backbone=resnet_cifr', "net.backbone; did you mean 'resnet_cifar'?"),
    ('net.head=linaer', "net.head; did you mean 'linear'?"),
    ('net.branch=stage', "net.branch; did you mean 'stages'?"),
    ('optim.curve=cosin', "optim.curve; did you mean 'cosine'?"),
    ('eval.shots=fix', "eval.shots; did you mean 'fixed'?"),
    ('forward=join', "forward; did you mean 'joint'?"),
    ('last_batch=dorp', "last_batch; did you mean 'drop'?"),
    ('loss=cee', "no 'cee' for --config.loss; did you mean 'ce'?"),
    ('classifier=trainde', "classifier; did you mean 'trained'?"),
    ('classifier_args.ncm=cl2', "classifier_args.ncm; did you mean 'cl2n'?"),
    ('optim.nesterov=1', 'it expects True or False.'),
    (
      'data.mean=red',
      'data.mean=red is not of the right kind: it expects a tuple such as (0.4914,',
    ),
    ("data.std=(0.1, 'red')", 'it expects a tuple such as (0.2023,'),
    ('seed=True', 'it expects a whole number such as 0.'),
    ('eval.many=many', 'eval.many=many is not of the right kind: it expects a whole number such'),
    ('loss=3', "it expects a string such as 'ce'."),
  ],
)
def test_a_wrong_value_is_one_sentence(word, sentence):
  with pytest.raises(UserError) as caught:
    check(config_with(word), TABLES)
  assert sentence in str(caught.value) and '\n' not in str(caught.value)


def test_stages_are_checked_with_the_rows_of_their_keys():
  for word, sentence in (
    ('stages.classifier.optim.lr=-1.0', 'stages.classifier.optim.lr=-1.0 is not at least 0.'),
    ('stages.classifier.epochs=0', '--config.stages.classifier.epochs=0.0 is not above 0.'),
    ('stages.classifier.streams.natural.sampler=x', 'stages.classifier.streams.natural.sampler'),
    ('stages.classifier.optim.lrr=1.0', "did you mean 'stages.classifier.optim.lr'?"),
  ):
    with pytest.raises(UserError) as caught:
      check(config_with(word, method='crt'), TABLES)
    assert sentence in str(caught.value)
  check(config_with('stages.classifier.epochs=0.5', method='crt'), TABLES)


def test_a_stage_may_have_streams_and_views_of_its_own():
  words = ('stages.classifier.streams.mine.rho=0.5', 'stages.classifier.views.x.stream=mine',
           'stages.classifier.terms.y.views=("x",)')  # fmt: skip
  check(config_with(*words, method='crt'), TABLES)


def test_an_unknown_key_is_refused_and_an_unknown_table_is_not_asked():
  config = config_with()
  config.epoch = 3  # as a config file may by mistake
  with pytest.raises(UserError, match="no config key 'epoch'; did you mean 'epochs'"):
    check(config, {})
  check(config_with('net.head=mine', 'loss=mine', 'streams.pair.sampler=mine'), {})


def test_right_values_pass():
  for method in ('fass', 'ride+cmo+cuda', 'bcl', 'dive', 'cam_drs', 'bbn', 'tau_norm', 'range'):
    check(config_with(method=method), TABLES)
  words = ('terms.fs.weight=((0, 1.0), (0.5, 0.2))', 'terms.fs.views=mixup', 'optim.only=head',
           'data.mean=[0.1, 0.2, 0.3]', 'imb_factor=100', 'optim.schedule=0.5')  # fmt: skip
  check(config_with(*words), TABLES)
