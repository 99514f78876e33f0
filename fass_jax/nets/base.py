"""Combines a backbone and a head into a network of pure functions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from fass_jax.nets import paths
from fass_jax.nets.convolution import CONVOLUTIONS
from fass_jax.nets.heads import (
  ContrastiveHead,
  CosineHead,
  ExpertHeads,
  LinearHead,
  NoiseHead,
  Router,
  running_mean,
)
from fass_jax.nets.inputs import input_of
from fass_jax.nets.layers import Arithmetic
from fass_jax.nets.mlp import mlp
from fass_jax.nets.norm import BatchNorm
from fass_jax.nets.resnet import resnet, resnext
from fass_jax.nets.resnet_cifar import resnet_cifar
from fass_jax.types import Array, Outputs, PyTree, UserError

BACKBONES: dict[str, Callable[..., nn.Module]] = {
  'resnet_cifar': resnet_cifar,
  'resnet': resnet,
  'resnext': resnext,
  'mlp': mlp,
}
HEADS: dict[str, Callable[..., nn.Module]] = {
  'linear': lambda c, scale, precision, scaled: LinearHead(c, precision, scaled=scaled),
  'linear_torch': lambda c, scale, precision, scaled: LinearHead(
    c, precision, torch=True, scaled=scaled
  ),
  'linear_prior': lambda c, scale, precision, scaled: LinearHead(
    c, precision, prior=True, scaled=scaled
  ),
  'linear_noise': lambda c, scale, precision, scaled: NoiseHead(
    LinearHead(c, precision, scaled=scaled)
  ),
  'cosine': lambda c, scale, precision, scaled: CosineHead(c, scale, precision, scaled),
}
SCALED = ('cosine',)  # heads that use --config.net.scale
BRANCHES = ('stages', 'block')  # the part of the backbone that is separate per expert
# name: dtype of the activations, precision of float32 products
PRECISIONS: dict[str, tuple[Any, jax.lax.Precision]] = {
  'float32': (jnp.float32, jax.lax.Precision.HIGHEST),
  'tf32': (jnp.float32, jax.lax.Precision.DEFAULT),
  'bfloat16': (jnp.bfloat16, jax.lax.Precision.DEFAULT),
  'float64': (jnp.float64, jax.lax.Precision.HIGHEST),
}


class Network(NamedTuple):
  """A network as pure functions of `variables = {'params': ..., 'batch_stats': ...}`.

  `init(key, image_shape) -> variables`;
  `embed(variables, x, train) -> (features [B, D], batch_stats)`;
  `head(variables, features, train) -> (Outputs, batch_stats)`;
  `maps(variables, x) -> [B, h, w, D]`, or `[B, E, h, w, D]` with experts: the feature maps in
  evaluation mode, before the mean over the pixels.
  """

  init: Callable[[Array, tuple[int, ...]], PyTree]
  embed: Callable[[PyTree, Array, bool], tuple[Array, PyTree]]
  head: Callable[[PyTree, Array, bool], tuple[Outputs, PyTree]]
  maps: Callable[[PyTree, Array], Array] | None = None  # None: the network has no feature maps


def apply(
  net: Network,
  variables: PyTree,
  x: Array,
  train: bool,
  between: Callable[[Array], Array] | None = None,
) -> tuple[Outputs, PyTree]:
  """Applies the network: `x` float `[B, H, W, 3]`, or rows `[B, F]` -> (Outputs, batch statistics).

  With `between`, the input of the head is `between(features)`; `trunk` of the outputs is what it
  was before.
  """
  trunk, stats = net.embed(variables, x, train)
  features = trunk if between is None else between(trunk)
  outs, stats = net.head({**variables, 'batch_stats': stats}, features, train)
  return outs._replace(trunk=trunk), stats


def behind_trunk(net: Network) -> Network:
  """Returns the network without its trunk: its input is that of the head, `[B, D]` or more."""
  return net._replace(embed=lambda variables, x, train: (x, variables['batch_stats']), maps=None)


def experts_used(outputs: Outputs) -> Array:
  """Returns the number of experts that the router uses, `[B]` in 1 .. E.

  The router adds experts in order while sigmoid(route) > 1/2.
  """
  assert outputs.route is not None, 'the network has no router'
  return 1 + jnp.cumprod((outputs.route > 0).astype(jnp.int32), axis=1).sum(axis=1)


def of_tested(outputs: Outputs, num_tested: int) -> Outputs:
  """Returns the outputs for the tested classes, the first of those that are trained.

  Their softmax is that of all logits with -inf for the auxiliary classes: the probabilities under
  the condition that none of these occurs.
  """
  return outputs._replace(logits=outputs.logits[..., :num_tested])


def mean_logits(outputs: Outputs) -> Array:
  """Returns the logits for prediction and metrics, `[B, C]`: the mean over the experts in use."""
  if outputs.route is None:
    return outputs.logits.mean(axis=1)
  last = experts_used(outputs)[:, None, None] - 1
  return jnp.take_along_axis(running_mean(outputs.logits), last, axis=1)[:, 0]


def build(
  backbone: str,
  depth: int,
  head: str,
  scale: float,
  num_classes: int,
  *,
  hidden: Sequence[int] = (),
  experts: int = 1,
  reduced: bool = True,
  branch: str = 'stages',
  class_scale: bool = False,
  projection: int = 0,
  router: bool = False,
  precision: str = 'tf32',
  convolution: str = 'direct',
  moving: Sequence[str] = (),
) -> Network:
  """Builds a network by name.

  Args:
    backbone: a key of `BACKBONES`.
    depth: 6n + 2 for 'resnet_cifar' (8, 14, 20, 32, ...), 10, 18, 34, 50, 101 or 152 for
      'resnet', 50 for 'resnext'.
    head: a key of `HEADS`.
    scale: scale of a cosine head.
    num_classes: C.
    hidden: widths of the layers of 'mlp', which has no depth.
    experts: E, copies of the last blocks and of the head; the mean of their logits predicts.
    reduced: True: the experts' blocks have 3/4 of the channels.
    branch: the part of the backbone per expert: 'stages' (the last two) or the last 'block'.
    class_scale: True: the head learns a factor per class, see `class_scaled`.
    projection: P, the size of the embedding for a contrastive loss; 0 for none.
    router: True: add a router that selects the number of experts per image, see `Router`.
    precision: a key of `PRECISIONS`. 'float32' is full precision; 'tf32' allows a GPU to round the
      factors of convolutions and matrix products to 10 bits (no effect on a CPU); 'bfloat16' stores
      activations in 16 bits. Parameters, batch statistics, features, logits and losses are float32
      in all three cases. 'float64' makes all of them float64, with the same initial values; it
      needs JAX_ENABLE_X64=1.
    convolution: a key of `CONVOLUTIONS`.
    moving: parts of the network with batch normalisation in training mode; all other layers use
      constant running statistics. () means all parts.

  Raises:
    UserError: if the backbone does not have this depth, or the options are incompatible.
  """
  how = _arithmetic(precision, convolution)
  _check(experts, reduced, branch, projection, router)
  sizes = {'depth': depth, 'hidden': tuple(hidden)}
  own = {key: sizes[key] for key in input_of(backbone).sizes}
  body = BACKBONES[backbone](**own, experts=experts, reduced=reduced, branch=branch, how=how)
  heads = [HEADS[head](num_classes, scale, how.precision, class_scale) for _ in range(experts)]
  top: Any = heads[0]
  if experts > 1:
    top = ExpertHeads(heads, Router(precision=how.precision) if router else None)
  elif projection:
    top = ContrastiveHead(top, projection)
  net = assemble(body, top, moving)
  return net if input_of(backbone).axes == 3 else net._replace(maps=None)


def _arithmetic(precision: str, convolution: str) -> Arithmetic:
  """Returns the arithmetic of a network, see `build`."""
  dtype, digits = PRECISIONS[precision]
  if jax.dtypes.canonicalize_dtype(dtype) != dtype:
    raise UserError(
      f'--config.engine.precision={precision} needs JAX_ENABLE_X64=1 in the environment; set it, '
      'or use float32.'
    )
  return Arithmetic(dtype, digits, CONVOLUTIONS[convolution])


def _check(experts: int, reduced: bool, branch: str, projection: int, router: bool) -> None:
  """Raises UserError if the options are incompatible."""
  if experts < 1 or (experts > 1 and projection):
    raise UserError(
      f'--config.net.experts={experts} and --config.net.projection={projection} cannot be '
      'combined; set experts to 1 or projection to 0.'
    )
  if branch == 'block' and reduced and experts > 1:
    raise UserError(
      '--config.net.branch=block cannot have narrower experts, because the residual connection '
      'needs equal numbers of channels; set --config.net.reduced=False.'
    )
  if router and experts < 2:
    raise UserError('--config.net.router=True needs --config.net.experts=2 or more.')


def _still(root: str, moving: Sequence[str]) -> contextlib.AbstractContextManager:
  """Returns a context with batch normalisation outside the parts `moving` in evaluation mode."""
  if not moving:
    return contextlib.nullcontext()

  def call(function: Any, args: Any, kwargs: Any, context: Any) -> Any:
    if isinstance(context.module, BatchNorm) and context.method_name == '__call__':
      path = '/'.join((root, *context.module.path))
      # a part may also be a single parameter of the layer
      if not paths.inside(path, moving) and not any(paths.inside(p, (path,)) for p in moving):
        args, kwargs = (args[0], False), {}
    return function(*args, **kwargs)

  return nn.intercept_methods(call)


# Any: the return types of flax's init and apply depend on their arguments
def assemble(body: Any, top: Any, moving: Sequence[str] = ()) -> Network:
  """Returns the network of two Linen modules, a backbone and a head; for `moving` see `build`."""

  def init(key: Array, image_shape: tuple[int, ...]) -> PyTree:
    body_key, head_key = jax.random.split(key)
    x = jnp.zeros((1, *image_shape), jnp.float32)
    # eval_shape avoids compiling the forward pass, because only its shapes are needed
    lower = body.init(body_key, x, True)
    features = jax.eval_shape(lambda v: body.apply(v, x, False), lower)
    upper = top.init(head_key, jnp.zeros(features.shape, features.dtype), True)
    stats = {'body': lower['batch_stats']}
    if 'batch_stats' in upper:
      stats['head'] = upper['batch_stats']
    return {'params': {'body': lower['params'], 'head': upper['params']}, 'batch_stats': stats}

  def lower_part(variables: PyTree) -> PyTree:
    return {kind: variables[kind]['body'] for kind in ('params', 'batch_stats')}

  def embed(variables: PyTree, x: Array, train: bool) -> tuple[Array, PyTree]:
    inner = lower_part(variables)
    if not train:
      return body.apply(inner, x, False), variables['batch_stats']
    with _still('body', moving):
      features, new = body.apply(inner, x, True, mutable=['batch_stats'])
    return features, {**variables['batch_stats'], 'body': new['batch_stats']}

  def maps(variables: PyTree, x: Array) -> Array:
    return body.apply(lower_part(variables), x, False, pooled=False)

  def head_fn(variables: PyTree, features: Array, train: bool) -> tuple[Outputs, PyTree]:
    inner, stats = {'params': variables['params']['head']}, variables['batch_stats']
    if 'head' not in stats:
      out = top.apply(inner, features, train)
    elif train:
      with _still('head', moving):
        out, new = top.apply(
          {**inner, 'batch_stats': stats['head']}, features, True, mutable=['batch_stats']
        )
      stats = {**stats, 'head': new['batch_stats']}
    else:
      out = top.apply({**inner, 'batch_stats': stats['head']}, features, False)
    if isinstance(out, Outputs):
      return out, stats
    # plain heads return only logits, [B, C], or [B, E, C] with experts
    if isinstance(out, jax.Array):
      return Outputs(out if out.ndim == 3 else out[:, None, :], features), stats
    logits, embedding, prototypes = out
    return Outputs(logits[:, None, :], features, embedding, {'prototypes': prototypes}), stats

  return Network(init, embed, head_fn, maps)
