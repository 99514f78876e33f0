"""What the losses are compared with, in double precision."""

import numpy as np


def softmax(logits):
  """softmax over the last axis."""
  z = np.asarray(logits, np.float64)
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def log_softmax(logits):
  """log softmax over the last axis, without underflow."""
  z = np.asarray(logits, np.float64)
  z = z - z.max(-1, keepdims=True)
  return z - np.log(np.exp(z).sum(-1, keepdims=True))


def ce(logits, labels):
  """-log softmax(z)_y."""
  return -log_softmax(logits)[np.arange(len(labels)), labels]


def random_logits(seed, n=6, c=3, scale=3.0):
  """Normal float32 logits `[n, c]` and int32 labels `[n]`."""
  rng = np.random.default_rng(seed)
  return rng.normal(0, scale, (n, c)).astype(np.float32), rng.integers(0, c, n).astype(np.int32)


def unit_rows(rng, n, p):
  """Random float32 rows of length 1, `[n, p]`."""
  x = rng.normal(size=(n, p))
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
