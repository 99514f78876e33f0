"""The device's limits: memory bandwidth, arithmetic rate, and the resulting limit of a train step.

Bytes and FLOPs of a step are counted in two ways: by XLA for its program (`cost`), and by hand from
the network (`analytic_step`). The counts differ, because XLA counts all operands of all fusions,
and the count by hand only the memory accesses that no fusion can avoid.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fass_jax.nets.resnet import BLOCKS, EXPANSION

# memory accesses per value of a convolution's output in a train step. Forward 5: the convolution
# writes it, the batch statistics read it, the normalisation reads it and writes the activation, the
# next convolution reads the activation. The backward pass needs at least 5: the gradient is
# written, read twice by the normalisation, written, and read by the convolution. Shortcuts and the
# second read of saved activations are not counted.
TOUCHES = 10


def on_gpu() -> bool:
  """Returns True if the default device is not a CPU."""
  return jax.default_backend() != 'cpu'


def seconds(call: Callable[[], Any], n: int, rounds: int) -> float:
  """Returns the seconds per call, as the best of `rounds` with `n` calls each."""
  jax.block_until_ready(call())  # compiles
  best = float('inf')
  for _ in range(rounds):
    begin = time.perf_counter()
    out = None
    for _ in range(n):
      out = call()
    jax.block_until_ready(out)
    best = min(best, (time.perf_counter() - begin) / n)
  return best


def copy_bandwidth(size: int | None = None, rounds: int = 5) -> float:
  """Measures the memory bandwidth of a large copy in bytes/s, counting reads and writes.

  Args:
    size: bytes of the buffer; None: 256 MB on a CPU and 2 GB on a GPU, much larger than caches.
    rounds: number of rounds, of which the best counts.
  """
  size = size or (2 * 10**9 if on_gpu() else 256 * 10**6)
  # donated, so that at most two buffers are used and no new memory page is touched
  add = jax.jit(lambda x: x + 1.0, donate_argnums=0)
  x = jnp.zeros(size // 4, jnp.float32)

  def call() -> jax.Array:
    nonlocal x
    x = add(x)
    return x

  return 2 * size / seconds(call, 4, rounds)


def matmul_rate(
  dtype: str = 'float32', precision: str | None = None, n: int | None = None, rounds: int = 3
) -> float:
  """Measures the arithmetic rate of a square matrix product in FLOP/s (2 n^3 per product).

  Args:
    dtype: 'float32' or 'bfloat16'.
    precision: None for the device's default (TF32 for float32 on a GPU), or 'highest'.
    n: rows; None: 2,048 on a CPU and 8,192 on a GPU.
    rounds: number of rounds, of which the best counts.
  """
  n = n or (8192 if on_gpu() else 2048)
  product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision))
  a = jax.random.normal(jax.random.key(0), (n, n), jnp.float32).astype(dtype)
  return 2.0 * n**3 / seconds(lambda: product(a, a), 4 if on_gpu() else 1, rounds)


def matmul_rates() -> dict[str, float]:
  """Measures `matmul_rate` for all precisions of the device, in FLOP/s by name."""
  rates = {'float32': matmul_rate(), 'bfloat16': matmul_rate('bfloat16')}
  if on_gpu():  # a CPU has only one precision for float32
    rates = {
      'tf32': rates['float32'],
      'float32': matmul_rate(precision='highest'),
      'bfloat16': rates['bfloat16'],
    }
  return rates


def cost(compiled: Any) -> dict[str, float]:
  """Returns XLA's count for a compiled program: {'flops', 'bytes'}, NaN if XLA gives no count.

  The bytes are an upper bound: a gather counts its whole operand, so a step that reads a batch
  counts the whole training set.

  Args:
    compiled: a result of `jax.jit(f).lower(..).compile()`.
  """
  try:
    found = compiled.cost_analysis()
  except (AttributeError, NotImplementedError, RuntimeError):  # not supported by all backends
    found = None
  if isinstance(found, list | tuple):  # one entry per program in older versions
    found = found[0] if found else None
  found = found or {}
  nan = float('nan')
  return {
    'flops': float(found.get('flops', nan)),
    'bytes': float(found.get('bytes accessed', nan)),
  }


def analytic_step(
  depth: int, batch: int, classes: int, side: int = 32, bytes_per_value: int = 4
) -> dict[str, float]:
  """Counts a train step of the CIFAR ResNet by hand.

  Args:
    depth: 6n + 2; three stages with 16, 32 and 64 channels, and shortcuts without parameters.
    batch: images per step.
    classes: outputs of the linear layer.
    side: height and width of an image.
    bytes_per_value: bytes of an activation, 4 for float32, 2 for bfloat16.

  Returns:
    'macs': multiply-adds of the forward pass per image; 'flops': FLOPs per step, 2 per multiply-add
    and twice the forward pass for the backward pass; 'activation_bytes': bytes of all convolution
    outputs per image; 'touches': memory accesses per output; 'bytes': bytes per step, without
    parameters (below 1 % at batch 128).
  """
  if depth < 8 or (depth - 2) % 6:
    raise ValueError(f'depth {depth} is not 6n + 2 with n >= 1')
  blocks = (depth - 2) // 6
  area, inputs = side * side, 16
  macs, outputs = 9 * 3 * 16 * area, 16 * area
  for stage, features in enumerate((16, 32, 64)):
    line = -(-side // 2**stage)
    area = line * line
    for conv in range(2 * blocks):
      macs += 9 * (inputs if conv == 0 else features) * features * area
      outputs += features * area
    inputs = features
  macs += 64 * classes
  activations = outputs * bytes_per_value
  return {
    'macs': float(macs),
    'flops': 2.0 * 3.0 * macs * batch,
    'activation_bytes': float(activations),
    'touches': float(TOUCHES),
    'bytes': float(TOUCHES * activations * batch),
  }


def resnet_macs(depth: int, side: int = 224, classes: int = 1000) -> float:
  """Counts the multiply-adds of a forward pass of `nets.resnet` for one image.

  Args:
    depth: a key of `nets.resnet.BLOCKS`.
    side: height and width of the image.
    classes: outputs of the linear layer.
  """
  line, inputs = -(-side // 2), 64
  macs = 49 * 3 * 64 * line**2
  line = -(-line // 2)  # the pooling
  for layer, blocks in enumerate(BLOCKS[depth]):
    planes = 64 * 2**layer
    outputs = planes * (EXPANSION if depth >= 50 else 1)
    for block in range(blocks):
      before, stride = line**2, 2 if layer and not block else 1
      line = -(-line // stride)
      shortcut = 0 if stride == 1 and inputs == outputs else inputs * outputs
      if depth >= 50:
        macs += inputs * planes * before + (9 * planes**2 + planes * outputs + shortcut) * line**2
      else:
        macs += (9 * inputs * planes + 9 * planes**2 + shortcut) * line**2
      inputs = outputs
  return float(macs + inputs * classes)


def limits(flops: float, bytes_moved: float, bandwidth: float, rate: float) -> dict[str, float]:
  """Returns lower bounds for the seconds of a program: by memory, by arithmetic, and the larger.

  Args:
    flops: FLOPs of the program.
    bytes_moved: bytes that it reads and writes.
    bandwidth: bytes/s of the device, `copy_bandwidth`.
    rate: FLOP/s of the device, `matmul_rate`.
  """
  memory, arithmetic = bytes_moved / bandwidth, flops / rate
  return {'memory_s': memory, 'arithmetic_s': arithmetic, 'limit_s': max(memory, arithmetic)}


def share_of_limit(seconds_taken: float, bound: dict[str, float]) -> float:
  """Returns limit / measured time; 1 means that the program is as fast as the device allows."""
  return bound['limit_s'] / seconds_taken
