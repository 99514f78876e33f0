"""The parameters of the losses, `loss_args.LOSS.PARAMETER`, and the class weights."""

from __future__ import annotations

from fass_jax.config.key import Key

_FOCAL_R: dict[str, Key] = {
  'beta': Key(0.2, 'Factor of the error in the sigmoid, per unit of the label.', at_least=0),
  'gamma': Key(1.0, 'Power of the factor that weakens small errors.', at_least=0),
}
# by loss; the rows of the section `loss_args` are made from this table
LOSS_PARAMETERS: dict[str, dict[str, Key]] = {
  'ldam': {'max_margin': Key(0.5, 'Margin of the rarest class.', at_least=0)},
  'ride': {
    'max_margin': Key(0.5, 'Margin of the rarest class.', at_least=0),
    'diversity': Key(-0.45, 'Weight of the distance between experts; negative pushes them apart.'),
    'diversity_factor': Key(
      0.05, 'How far the temperature follows the class counts.', at_least=0, below=1
    ),
  },
  'logit_adjustment': {'tau': Key(1.0, 'Power of the class prior that is added.', at_least=0)},
  'rectified_la': {
    'tau': Key(1.0, 'Power of the class prior that is added.', at_least=0),
    'k': Key(30, 'Nearest classes whose labels a mixed image gets.', at_least=1),
    'omega': Key(20 / 255, 'Factor of the share of their labels; 0 is none.', at_least=0),
    'share': Key(
      ((0, 0.0), (0.5, 1.0)),
      'Share of omega over time.',
      at_least=0,
      at_most=1,
      schedule=True,
    ),
  },
  'weighted_la': {'tau': Key(0.5, 'From 0, class weights alone, to 1, margins alone.')},
  'neighbour_silencing': {
    'silence': Key(
      0.1,
      'How much a neighbour of the own class competes with it; 1 is the balanced softmax.',
      at_least=0,
      at_most=1,
    )
  },
  'two_rate': {
    'tau1': Key(1.0, "Power of the own class's prior; only tau1 = tau2 is published.", at_least=0),
    'tau2': Key(1.0, "Power of the other classes' priors.", at_least=0),
  },
  'la_adaptive': {'factor': Key(1.0, 'Factor of the margin pi^(-1/4).')},
  'equalised': {
    'share': Key(
      0.9, 'How much less the other classes push a rare class down.', at_least=0, at_most=1
    ),
    'below': Key(0.5, 'A class is rare below this multiple of the uniform share 1 / C.'),
  },
  'label_smoothing': {
    'smoothing': Key(0.1, 'Probability spread over all classes.', at_least=0, below=1)
  },
  'cdt': {'gamma': Key(0.2, 'Power of n_max / n_c.', at_least=0)},
  'focal': {'gamma': Key(1.0, 'Power of 1 - p, which weakens easy images.', at_least=0)},
  'focal_sigmoid': {
    'gamma': Key(1.0, 'Power that weakens easy images; 2 in object detection.', at_least=0),
    'alpha': Key(
      0.0,
      'Weight of the own class; 0 uses none, .25 is usual in object detection.',
      at_least=0,
      below=1,
    ),
  },
  'range': {
    'k': Key(2, 'Number of largest distances per class.', at_least=1),
    # unpublished; the ranges are a sum over the classes, so the term needs a small weight
    'margin': Key(10.0, 'Margin between class centres; larger for longer features.', above=0),
    'intra': Key(1.0, 'Factor of the distances inside a class.', at_least=0),
    'inter': Key(1.0, 'Factor of the distance between class centres.', at_least=0),
  },
  'car': {
    'r0': Key(0.5, 'Bounds the weight of a rare class.', above=0),
    'by': Key(
      'frequency',
      "Class weights by 'frequency' n_c / N, which makes them almost equal, or by 'count'.",
      choices=('frequency', 'count'),
    ),
  },
  'huber': {'beta': Key(1.0, "Error up to which it is squared, in the label's unit.", above=0)},
  'focal_l1': _FOCAL_R,
  'focal_mse': _FOCAL_R,
  'balanced_mse': {
    'noise': Key(
      1.0, "Noise of the labels that learning begins with, in the label's unit.", above=0
    ),
    'rate': Key(1.0, 'Factor of how fast the noise is learned; 0 keeps it fixed.', at_least=0),
  },
  'balanced_contrastive': {'temperature': Key(0.1, 'Temperature of the similarities.', above=0)},
  'distillation': {
    'temperature': Key(1.5, 'Temperature of teacher and student.', above=0),
    'power': Key(1.0, "Below 1 flattens the teacher's predictions (DiVE).", above=0),
  },
  'router': {'positive': Key(100.0, 'Weight of an image that a later expert gets right.')},
}

LOSS_KEYS: dict[str, Key] = {
  f'{loss}.{name}': row._replace(of=(loss,))
  for loss, parameters in LOSS_PARAMETERS.items()
  for name, row in parameters.items()
}

REWEIGHT_KEYS: dict[str, Key] = {
  'kind': Key(
    'none',
    "Class weights of the run's loss; 'density' is by the bin of a number.",
    choices=('none', 'effective_number', 'inverse', 'density'),
  ),
  'beta': Key(
    0.9999, 'Beta of the effective number.', at_least=0, below=1, of=('effective_number',)
  ),
  'power': Key(1.0, 'Class c gets the weight n_c^-power.', of=('inverse',)),
  'mode': Key(
    'sqrt_inv',
    "Weight of an example in a bin of density p: 'inverse' 1 / p or 'sqrt_inv' 1 / sqrt(p).",
    choices=('sqrt_inv', 'inverse'),
    of=('density',),
  ),
  'kernel': Key(
    'none',
    "Window that smooths the density over neighbouring bins (LDS); 'none' does not.",
    choices=('none', 'gaussian', 'triang', 'laplace'),
    of=('density',),
  ),
  'size': Key(5, 'Bins of the window, odd.', at_least=1, of=('density',)),
  'sigma': Key(2.0, 'Width of the window, in bins.', above=0, of=('density',)),
  'order': Key(
    'code',
    "'code' smooths the square roots of the counts, as the published program; 'paper' the counts.",
    choices=('code', 'paper'),
    of=('density',),
  ),
  'share': Key(
    ((0, 0.0), (0.8, 1.0)),
    'From 0, weights of 1, to 1, the class weights, over time; the default defers them (DRW).',
    schedule=True,
  ),
}
