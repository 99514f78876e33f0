"""Every way to convolve is the same function, its gradients too; precisions differ as they say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.nets.base import PRECISIONS, apply, assemble
from fass_jax.nets.convolution import CONVOLUTIONS, direct
from fass_jax.nets.heads import LinearHead
from fass_jax.nets.layers import Arithmetic
from fass_jax.nets.resnet_cifar import ResNetCifar
from fass_jax.types import UserError
from tests import tiny

LAYOUT = {'dimension_numbers': ('NHWC', 'HWIO', 'NHWC')}


def example():
  rng = np.random.default_rng(0)
  x, kernel = rng.normal(size=(2, 7, 6, 3)), rng.normal(size=(3, 3, 3, 4))
  return jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)


def oracle(x, kernel, stride):
  """Sums over a 3 x 3 window with a border of one zero, in double precision."""
  x = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
  kernel = np.asarray(kernel, np.float64)
  rows, cols = (x.shape[1] - 3) // stride + 1, (x.shape[2] - 3) // stride + 1
  out = np.zeros((len(x), rows, cols, kernel.shape[-1]))
  for i in range(rows):
    for j in range(cols):
      window = x[:, i * stride : i * stride + 3, j * stride : j * stride + 3]
      out[:, i, j] = np.einsum('bhwc,hwcf->bf', window, kernel)
  return out


@pytest.mark.parametrize('name', sorted(CONVOLUTIONS))
@pytest.mark.parametrize('stride', [1, 2])
def test_convolution_is_the_sum_over_windows(name, stride):
  x, kernel = example()
  got = CONVOLUTIONS[name](x, kernel, (stride, stride), ((1, 1), (1, 1)), **LAYOUT)
  np.testing.assert_allclose(got, oracle(x, kernel, stride), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', sorted(CONVOLUTIONS))
@pytest.mark.parametrize('stride', [1, 2])
def test_gradients_are_those_of_the_plain_convolution(name, stride):
  where = ((stride, stride), ((1, 1), (1, 1)))

  def gradients(convolve):
    def loss(x, kernel):
      return jnp.sin(convolve(x, kernel, *where, **LAYOUT)).sum()

    return jax.jit(jax.grad(loss, (0, 1)))(*example())

  for got, want in zip(gradients(CONVOLUTIONS[name]), gradients(jax.lax.conv_general_dilated)):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_a_kernel_larger_than_its_image_is_a_product_of_matrices():
  """XLA's own convolution takes 50 times as long there on a CPU."""
  rng = np.random.default_rng(0)
  kernel = jnp.asarray(rng.normal(size=(3, 3, 3, 128)), jnp.float32)
  small, large = (jnp.asarray(rng.normal(size=(2, n, 3, 3)), jnp.float32) for n in (2, 5))

  def how(stride):
    return functools.partial(
      direct, kernel=kernel, strides=(stride, stride), padding=((1, 1), (1, 1)), **LAYOUT
    )

  np.testing.assert_allclose(how(1)(small), oracle(small, kernel, 1), rtol=1e-5, atol=1e-5)
  # what is written is small too: the gradient of the input would read it
  np.testing.assert_allclose(how(2)(large), oracle(large, kernel, 2), rtol=1e-5, atol=1e-5)
  assert 'conv_general' not in str(jax.make_jaxpr(how(1))(small))
  assert 'conv_general' not in str(jax.make_jaxpr(how(2))(large))
  assert 'conv_general' in str(jax.make_jaxpr(how(1))(jnp.zeros((2, 3, 3, 3))))
  # with few channels the loops are no loss, and compile sooner
  kernel = kernel[..., :127]
  assert 'conv_general' in str(jax.make_jaxpr(how(1))(small))


@pytest.mark.parametrize('name', sorted(CONVOLUTIONS))
def test_groups_of_channels_are_convolutions_side_by_side(name):
  rng = np.random.default_rng(1)
  x = jnp.asarray(rng.normal(size=(2, 5, 4, 6)), jnp.float32)
  kernel = jnp.asarray(rng.normal(size=(3, 3, 2, 9)), jnp.float32)
  where = ((2, 2), ((1, 1), (1, 1)))

  def grouped(x, kernel):
    return CONVOLUTIONS[name](x, kernel, *where, feature_group_count=3, **LAYOUT)

  want = [oracle(x[..., 2 * g : 2 * g + 2], kernel[..., 3 * g : 3 * g + 3], 2) for g in range(3)]
  np.testing.assert_allclose(grouped(x, kernel), np.concatenate(want, -1), rtol=1e-5, atol=1e-5)

  def gradients(convolve):
    return jax.jit(jax.grad(lambda x, k: jnp.sin(convolve(x, k)).sum(), (0, 1)))(x, kernel)

  def plain(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, *where, feature_group_count=3, **LAYOUT)

  for got, want in zip(gradients(grouped), gradients(plain)):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_the_kernels_gradient_reads_the_input_from_memory():
  """On a CPU: control flow is what XLA does not look through; elsewhere nothing is added."""

  def loss(x, kernel):
    return direct(jax.nn.relu(x), kernel, (1, 1), ((1, 1), (1, 1)), **LAYOUT).sum()

  text = jax.jit(jax.grad(loss, 1)).lower(*example()).compile().as_text()
  assert ('conditional' in text) == (jax.default_backend() == 'cpu')


def net_outputs(precision):
  net = tiny.built('resnet_cifar', 8, 'linear', 30.0, 10, precision=precision)
  variables = jax.jit(lambda k: net.init(k, (8, 8, 3)))(jax.random.key(0))
  x = jax.random.normal(jax.random.key(1), (16, 8, 8, 3))

  def loss(params):
    outs, stats = apply(net, variables | {'params': params}, x, True)
    return jnp.square(outs.logits).mean(), (outs, stats)

  compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (_, (outs, stats)), grads = compiled(variables['params'])
  return outs, stats, grads


def test_bfloat16_computes_in_16_bits_and_keeps_all_else_in_32():
  full, half = net_outputs('float32'), net_outputs('bfloat16')
  assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(half))
  error = np.abs(np.asarray(full[0].logits - half[0].logits)).max()
  scale = np.abs(np.asarray(full[0].logits)).max()
  # 8 bits of mantissa, through 8 layers: not exact, and not far off
  assert 1e-4 * scale < error < 0.1 * scale


@pytest.mark.parametrize(
  ('backbone', 'depth', 'how'),
  [
    ('resnet', 10, {'head': 'linear', 'projection': 8}),
    ('resnet_cifar', 8, {'head': 'cosine', 'experts': 2, 'router': True}),
  ],
)
@pytest.mark.parametrize('precision', ['float32', 'float64'])
def test_float64_is_float64_everywhere(backbone, depth, how, precision):
  """float32 stays what it is beside it: in a process of 64 bits too."""
  with jax.enable_x64(True):
    net = tiny.built(backbone, depth, scale=30.0, num_classes=5, precision=precision, **how)

    def all_of(key, x):
      variables = net.init(key, (8, 8, 3))

      def loss(params):
        outs, stats = apply(net, variables | {'params': params}, x, True)
        return sum(leaf.sum() for leaf in jax.tree.leaves(outs)), (outs, stats)

      return variables, *jax.value_and_grad(loss, has_aux=True)(variables['params'])

    shapes = jax.eval_shape(all_of, jax.random.key(0), np.zeros((2, 8, 8, 3), np.float32))
  assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(precision)}


def test_float64_begins_and_goes_on_where_float32_does():
  x = np.random.default_rng(2).normal(size=(8, 8, 8, 3)).astype(np.float32)

  def run(precision):
    how = Arithmetic(*PRECISIONS[precision])
    net = assemble(ResNetCifar(depth=2, how=how), LinearHead(5, how.precision))  # no blocks

    @jax.jit
    def all_of(key):
      variables = net.init(key, (8, 8, 3))

      def loss(params):
        outs, stats = apply(net, variables | {'params': params}, x, True)
        return jnp.sin(outs.logits).sum(), (outs, stats)

      return variables, *jax.value_and_grad(loss, has_aux=True)(variables['params'])

    return jax.device_get(all_of(jax.random.key(0)))

  full = run('float32')
  with jax.enable_x64(True):
    double = run('float64')
  jax.tree.map(np.testing.assert_array_equal, full[0], double[0])
  off = 0.0
  for a, b in zip(jax.tree.leaves(full[1:]), jax.tree.leaves(double[1:])):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(1, np.abs(b).max()))
    off += np.abs(np.float64(a) - b).max()
  assert off > 0  # two ways to compute


def test_float64_is_asked_for_in_the_environment_too():
  with pytest.raises(UserError, match=r'precision=float64 needs JAX_ENABLE_X64=1'):
    tiny.built('resnet_cifar', 8, 'linear', 30.0, 10, precision='float64')


def test_tf32_is_float32_where_there_is_no_tf32():
  if jax.default_backend() != 'cpu':
    pytest.skip('the device may round to TF32')
  for a, b in zip(jax.tree.leaves(net_outputs('float32')), jax.tree.leaves(net_outputs('tf32'))):
    np.testing.assert_array_equal(a, b)
