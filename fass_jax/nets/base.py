"""Puts a backbone and a head together behind three pure functions."""

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
  Router,
  running_mean,
)
from fass_jax.nets.layers import Arithmetic
from fass_jax.nets.norm import BatchNorm
from fass_jax.nets.resnet import resnet, resnext
from fass_jax.nets.resnet_cifar import resnet_cifar
from fass_jax.types import Array, Outputs, PyTree, UserError

BACKBONES: dict[str, Callable[..., nn.Module]] = {
  'resnet_cifar': resnet_cifar,
  'resnet': resnet,
  'resnext': resnext,
}
HEADS: dict[str, Callable[..., nn.Module]] = {
  'linear': lambda c, scale, precision, scaled: LinearHead(c, precision, scaled=scaled),
  'linear_torch': lambda c, scale, precision, scaled: LinearHead(
    c, precision, torch=True, scaled=scaled
  ),
  'linear_prior': lambda c, scale, precision, scaled: LinearHead(
    c, precision, prior=True, scaled=scaled
  ),
  'cosine': lambda c, scale, precision, scaled: CosineHead(c, scale, precision, scaled),
}
SCALED = ('cosine',)  # heads whose logits have a scale of the config
BRANCHES = ('stages', 'block')  # what of a backbone an expert has of its own: its end
# by name: dtype of the activations, precision of products of float32 numbers
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
  `maps(variables, x)`, in evaluation mode: `[B, h, w, D]`, or `[B, E, h, w, D]` of experts, whose
  means over the pixels are the features.
  """

  init: Callable[[Array, tuple[int, int, int]], PyTree]
  embed: Callable[[PyTree, Array, bool], tuple[Array, PyTree]]
  head: Callable[[PyTree, Array, bool], tuple[Outputs, PyTree]]
  maps: Callable[[PyTree, Array], Array] | None = None  # None: it has no pixels before the head


def apply(
  net: Network,
  variables: PyTree,
  x: Array,
  train: bool,
  between: Callable[[Array], Array] | None = None,
) -> tuple[Outputs, PyTree]:
  """Runs the whole network: `x` float `[B, H, W, 3]` -> (Outputs, new batch statistics).

  With `between` the head gets `between(features)`.
  """
  features, stats = net.embed(variables, x, train)
  features = features if between is None else between(features)
  return net.head({**variables, 'batch_stats': stats}, features, train)


def experts_used(outputs: Outputs) -> Array:
  """Returns how many experts a router asks, `[B]` in 1 .. E: on while sigmoid(route) > 1/2."""
  assert outputs.route is not None, 'the network has no router'
  return 1 + jnp.cumprod((outputs.route > 0).astype(jnp.int32), axis=1).sum(axis=1)


def mean_logits(outputs: Outputs) -> Array:
  """Returns the logits that metrics read: `[B, C]`, the mean over the experts that are asked."""
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
    experts: E copies of the last blocks and of the head; the logits' mean predicts.
    reduced: whether experts have 3/4 of the channels there.
    branch: a name of `BRANCHES`: experts have the last two stages of their own, or the last block.
    class_scale: whether the head learns a factor for each class, see `class_scaled`.
    projection: P of the embedding and the prototypes of a contrastive loss; 0 for none.
    router: whether to say after each expert if the next one is asked, see `Router`.
    precision: a key of `PRECISIONS`. 'float32' computes in full; 'tf32' lets a GPU that has it
      round the factors of convolutions and matrix products to 10 bits (a CPU does not);
      'bfloat16' keeps activations in 16 bits. Parameters, batch statistics, features, logits and
      losses are float32 in all three. 'float64' makes all of them float64, from the same initial
      values; it needs JAX_ENABLE_X64=1.
    convolution: a key of `CONVOLUTIONS`.
    moving: parts whose batch normalisation trains; elsewhere it reads its running statistics in
      training too and leaves them as they are. () is all.

  Raises:
    UserError: for a depth that the family does not have, or pieces that do not fit together.
  """
  dtype, digits = PRECISIONS[precision]
  if jax.dtypes.canonicalize_dtype(dtype) != dtype:
    raise UserError(
      f'--config.engine.precision={precision} needs JAX_ENABLE_X64=1 in the environment; set it, '
      'or take float32.'
    )
  how = Arithmetic(dtype, digits, CONVOLUTIONS[convolution])
  _check(experts, reduced, branch, projection, router)
  body = BACKBONES[backbone](depth=depth, experts=experts, reduced=reduced, branch=branch, how=how)
  heads = [HEADS[head](num_classes, scale, digits, class_scale) for _ in range(experts)]
  top: Any = heads[0]
  if experts > 1:
    top = ExpertHeads(heads, Router(precision=digits) if router else None)
  elif projection:
    top = ContrastiveHead(top, projection)
  return assemble(body, top, moving)


def _check(experts: int, reduced: bool, branch: str, projection: int, router: bool) -> None:
  """Refuses pieces that do not fit together."""
  if experts < 1 or (experts > 1 and projection):
    raise UserError(
      f'net.experts={experts} with net.projection={projection} is no network; take one of them.'
    )
  if branch == 'block' and reduced and experts > 1:
    raise UserError(
      '--config.net.branch=block leaves no room for narrower experts, because a block adds to what '
      'it gets; set --config.net.reduced=False.'
    )
  if router and experts < 2:
    raise UserError('--config.net.router=True needs --config.net.experts=2 or more.')


def _still(root: str, moving: Sequence[str]) -> contextlib.AbstractContextManager:
  """Keeps batch normalisation outside the parts `moving` in evaluation mode."""
  if not moving:
    return contextlib.nullcontext()

  def call(function: Any, args: Any, kwargs: Any, context: Any) -> Any:
    if isinstance(context.module, BatchNorm) and context.method_name == '__call__':
      path = '/'.join((root, *context.module.path))
      # a part may also name a parameter of the layer alone
      if not paths.inside(path, moving) and not any(paths.inside(p, (path,)) for p in moving):
        args, kwargs = (args[0], False), {}
    return function(*args, **kwargs)

  return nn.intercept_methods(call)


# Any: what flax's init and apply return depends on their arguments
def assemble(body: Any, top: Any, moving: Sequence[str] = ()) -> Network:
  """Makes pure functions of two modules, a backbone and a head; `moving` as for `build`."""

  def init(key: Array, image_shape: tuple[int, int, int]) -> PyTree:
    body_key, head_key = jax.random.split(key)
    x = jnp.zeros((1, *image_shape), jnp.float32)
    # only the shapes of the forward pass are needed, so nothing is compiled for it
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
    # plain heads return logits alone, [B, C], or [B, E, C] of experts
    if isinstance(out, jax.Array):
      return Outputs(out if out.ndim == 3 else out[:, None, :], features), stats
    logits, embedding, prototypes = out
    return Outputs(logits[:, None, :], features, embedding, {'prototypes': prototypes}), stats

  return Network(init, embed, head_fn, maps)
