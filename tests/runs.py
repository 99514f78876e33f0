"""What the end-to-end tests share: short configs, processes, and comparing two runs."""

import json
import os
import pathlib
import subprocess
import sys
import time

import jax
import numpy as np

from fass_jax.command.config_file import load_config
from fass_jax.config import method_rows
from fass_jax.engine import compiler
from fass_jax.run import resume
from fass_jax.workdir import checkpoint

REPO = pathlib.Path(__file__).resolve().parent.parent
# runs of one length share their programs in the compile cache
SHORT = ['--config.epochs=5', '--config.checkpoint.every_s=0']

# methods that take an earlier run: tested in test_earlier.py
NEEDS_RUN = frozenset(name for name, row in method_rows().items() if row.needs_run)

# the real program; each optimiser step adds a byte to a file, slowly enough to be killed
COUNTED = """
import os, sys, time
from fass_jax import main, programs
compile_program = programs.compile_program
def counted(*args):
  step = compile_program(*args)
  def one(*inner):
    with open(os.environ['STEP_FILE'], 'ab') as file:
      file.write(b'.')
    time.sleep(float(os.environ['STEP_SLEEP']))
    return step(*inner)
  return one
programs.compile_program = counted
sys.exit(main.main(sys.argv[1:]))
"""


def config_of(*args):
  """Returns the config of a command line."""
  return load_config(args)[0]


def start(workdir, *args, step_file=None, sleep=0.0, cover=True):
  """Starts the program as a process of its own; one that others cover need not count."""
  env = dict(os.environ)
  if not cover:
    env.pop('COVERAGE_PROCESS_CONFIG', None)
  program = ['-m', 'fass_jax.main']
  if step_file is not None:
    env |= {'STEP_FILE': str(step_file), 'STEP_SLEEP': str(sleep)}
    program = ['-c', COUNTED]
  return subprocess.Popen(
    [sys.executable, *program, f'--workdir={workdir}', *args],
    cwd=REPO, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
  )  # fmt: skip


def checkpoints(workdir):
  """Returns the steps of the finished checkpoints."""
  folder = pathlib.Path(workdir) / 'checkpoints'
  names = [p.name for p in folder.glob('step_*')] if folder.exists() else []
  return sorted(int(n.removeprefix('step_')) for n in names if n.count('.') == 0)


def wait_for_checkpoint(process, workdir, above, seconds=120):
  """Waits until a checkpoint beyond a step lies on disk; returns its step."""
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    found = [s for s in checkpoints(workdir) if s > above]
    if found:
      return found[-1]
    assert process.poll() is None, process.communicate()[0]
    time.sleep(0.005)
  raise AssertionError('no checkpoint came')


def saved(workdir):
  """Returns the newest checkpoint as a flat {path: array}."""
  import orbax.checkpoint as ocp

  with checkpoint.open_manager(pathlib.Path(workdir) / 'checkpoints', 2) as manager:
    got = manager.restore(
      manager.latest_step(), args=ocp.args.Composite(tree=ocp.args.StandardRestore())
    )
  leaves = jax.tree_util.tree_leaves_with_path(got.tree)

  def array(x):
    return np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(
      x.dtype, jax.dtypes.prng_key) else x)  # fmt: skip

  return {jax.tree_util.keystr(path): array(leaf) for path, leaf in leaves}


def paths_of(tree):
  """Returns a tree as {path: leaf}, with slashes."""
  from fass_jax.nets import paths

  return paths.flat(tree)


def records(workdir):
  """Returns the lines of metrics.jsonl without the times."""
  lines = (pathlib.Path(workdir) / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  times = ('seconds', 'images_per_s', 'input_bound')
  return [{k: v for k, v in r.items() if k not in times} for r in rows]


def assert_same_run(a, b):
  """Asserts that two work directories ended bit-equal: all arrays, all metrics."""
  one, two = saved(a), saved(b)
  assert one.keys() == two.keys() and len(one) > 20
  for name in one:
    np.testing.assert_array_equal(one[name], two[name], err_msg=name)
  assert records(a) == records(b)
  last = [json.loads((pathlib.Path(w) / 'summary.json').read_text()) for w in (a, b)]
  for key in ('last', 'best', 'epochs', 'seed', 'method'):
    assert last[0][key] == last[1][key], key


def memo():
  """Returns a folder of this test session, the same in all its workers."""
  return os.environ['FASS_TEST_MEMO']


def linear_net(num_classes, branches=1):
  """A network with nothing but a linear head on the pixels: compiles in no time.

  Branches have a head each, side by side in one matrix.
  """
  import jax.numpy as jnp

  from fass_jax.nets import Network
  from fass_jax.types import Outputs

  def init(key, image_shape):
    w = 0.01 * jax.random.normal(key, (int(np.prod(image_shape)), branches * num_classes))
    return {'params': {'w': w}, 'batch_stats': {'seen': jnp.zeros(())}}

  def embed(variables, x, is_training):
    seen = variables['batch_stats']['seen'] + is_training * x.shape[0]
    return x.reshape(x.shape[0], -1), {'seen': seen}

  def head(variables, features, is_training):
    w = variables['params']['w']
    embedding, prototypes = (
      x / jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-6) for x in (features @ w, w.T @ w)
    )
    logits = (features @ w).reshape(len(features), branches, num_classes)
    outs = Outputs(logits, features, embedding, {'prototypes': prototypes})
    return outs, variables['batch_stats']

  return Network(init, embed, head)


def use_linear_net(patch):
  """Puts the linear net in the place of every network, and compiles its programs without care.

  A step of it takes no time at any level of optimisation; its compilation takes half at 0.
  """
  from fass_jax import nets

  def build(*args, branch='stages', **how):
    return linear_net(args[-1], how['experts'] if branch == 'block' else 1)

  patch.setattr(nets, 'build', build)
  compile_quickly(patch, 0)


def compile_quickly(patch, level):
  """Compiles programs at a lower level of optimisation, where few steps are done."""

  quick = {**compiler.compiler_options(), 'xla_backend_optimization_level': level}
  patch.setattr(compiler, 'compiler_options', lambda: quick)


def in_memory(config, path, keep=False):
  """Trains with the real session and loop, without pictures; `keep` saves the end.

  Returns:
    The final state and the epochs' records of the first seed.
  """
  from tqdm import tqdm

  from fass_jax.run import loop, seeds, session

  s = session.open_session(config, pathlib.Path(path), lambda: '')
  rows = []
  with s.manager, tqdm(disable=True) as bar:
    seed_runs = resume.begin(s)
    seeds.compile_ahead(s, seed_runs, 0)
    for epoch in range(s.recipe.epochs):
      seed_runs = loop.train_epoch(s, seed_runs, epoch, 0, bar)
      seed_runs = loop.end_epoch(s, seed_runs, epoch, 1.0)
      rows.append(seed_runs[0].last_record)
    if keep:
      resume.save(s, seed_runs)
      s.manager.wait_until_finished()
  return seed_runs[0].state, rows
