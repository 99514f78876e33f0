"""What the end-to-end tests share: short configs, processes, and comparing two runs."""

import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from fass_jax import nets
from fass_jax.command.config_file import load_config
from fass_jax.config import method_rows
from fass_jax.engine import compiler, programs
from fass_jax.nets import base
from fass_jax.report import screen
from fass_jax.run import resume
from fass_jax.workdir import checkpoint

REPO = pathlib.Path(__file__).resolve().parent.parent
# runs of one length share their programs in the compile cache
SHORT = ['--config.epochs=5', '--config.checkpoint.every_s=0']

# a run of FASS on ResNet-8: `digits_run`
EVERY = [*SHORT, '--config.seed=3', '--config.checkpoint.every_steps=5']

# methods that take an earlier run: tested in test_earlier.py
NEEDS_RUN = frozenset(name for name, row in method_rows().items() if row.needs_run)

# methods for labels that are numbers: traced and trained on such a data set
OF_NUMBERS = frozenset(n for n, row in method_rows().items() if 'classification' not in row.tasks)

# the real program on the linear net
LINEAR = """
import sys
import pytest
from fass_jax import main
from tests import runs
runs.use_linear_net(pytest.MonkeyPatch(), pictures=True)
"""
RUN = 'sys.exit(main.main(sys.argv[1:]))'
# the real program; each optimiser step adds a byte to a file, slowly enough to be killed
COUNTED = """
import os, sys, time
from fass_jax import main
from fass_jax.engine import programs
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
"""


def config_of(*args):
  """Returns the config of a command line."""
  return load_config(args)[0]


def start(workdir, *args, step_file=None, sleep=0.0, cover=True, linear=False):
  """Starts the program as a process of its own; one that others cover need not count."""
  env = dict(os.environ)
  if not cover:
    env.pop('COVERAGE_PROCESS_CONFIG', None)
  code = LINEAR if linear else ''
  if step_file is not None:
    env |= {'STEP_FILE': str(step_file), 'STEP_SLEEP': str(sleep)}
    code += COUNTED
  program = ['-c', code + RUN] if code else ['-m', 'fass_jax.main']
  return subprocess.Popen(
    [sys.executable, *program, f'--workdir={workdir}', *args],
    cwd=REPO, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
  )  # fmt: skip


def listen(caplog):
  """Lets `caplog` hear all that the package says, whatever the command line did to its log."""
  from fass_jax import main

  main.log.propagate = True
  caplog.set_level('INFO', 'fass_jax')


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


def once(name, make):
  """Returns a folder of this session that `make(folder)` fills in one of its workers.

  Nothing is written there afterwards: a test that changes it works on a copy.
  """
  home = pathlib.Path(memo()) / 'runs'
  home.mkdir(exist_ok=True)
  done, folder = home / f'{name}.done', home / name
  with open(home / f'{name}.lock', 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)  # the others wait; a worker that dies lets go of it
    if not done.exists():
      shutil.rmtree(folder, ignore_errors=True)
      make(folder)
      done.touch()
  return folder


_REAL = nets.build, dict(base.BACKBONES), compiler.compiler_options
_DRAW = screen.draw


def use_real_nets(patch):
  """Takes back what `use_linear_net` and `use_tiny_net` have put in the place of networks."""
  build, backbones, options = _REAL
  patch.setattr(nets, 'build', build)
  patch.setattr(base, 'BACKBONES', backbones)
  patch.setattr(compiler, 'compiler_options', options)
  draw_again(patch)


def digits_run():
  """Returns the work directory of five epochs of FASS on ResNet-8, checkpoints at 25 and 30."""
  from fass_jax.run import loop

  def make(folder):
    with pytest.MonkeyPatch.context() as patch:
      use_real_nets(patch)
      loop.run(config_of(*EVERY), folder)

  return once('digits', make)


class Killed(BaseException):
  """The end of a process, as far as a process can go on after it."""


def before_each_step(patch, act):
  """Calls `act` in this process before each call of a compiled train program."""
  compile_program = programs.compile_program

  def compiled(*args):
    program = compile_program(*args)

    def one(*inner):
      act()
      return program(*inner)

    return one

  patch.setattr(programs, 'compile_program', compiled)


def die_at(patch, step):
  """Lets the program die before its `step`th step from now is done; nothing is saved there."""
  done = []

  def act():
    done.append(1)
    if len(done) == step:
      raise Killed

  before_each_step(patch, act)


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
    logits = (features @ w).reshape(len(features), branches, num_classes)
    outs = Outputs(logits, features, features @ w, {'prototypes': w.T @ w})
    return outs, variables['batch_stats']

  return Network(init, embed, head)


def use_linear_net(patch, pictures=False):
  """Puts the linear net in the place of every network, and compiles its programs without care.

  A step of it takes no time at any level of optimisation; its compilation takes half at 0. Its runs
  draw no pictures unless asked to.
  """

  def build(*args, branch='stages', **how):
    return linear_net(args[-1], how['experts'] if branch == 'block' else 1)

  patch.setattr(nets, 'build', build)
  compile_quickly(patch, 0)
  if not pictures:
    draw_nothing(patch)


def draw_nothing(patch):
  """Leaves out the pictures at the end of a run."""
  patch.setattr(screen, 'draw', lambda *args: None)


def draw_again(patch):
  """Takes `draw_nothing` back."""
  patch.setattr(screen, 'draw', _DRAW)


def compile_quickly(patch, level):
  """Compiles programs at a lower level of optimisation, where few steps are done."""
  real = compiler.compiler_options  # asked later: it starts jax, which processes first have to join

  def quick():
    return {**real(), 'xla_backend_optimization_level': level}

  patch.setattr(compiler, 'compiler_options', quick)


def use_tiny_net(patch):
  """Puts a small backbone in the place of ResNet-8 and deeper; its heads are the real ones.

  What is tested is what a run does with a network: a convolution with batch normalisation, and one
  more for each block of a stage (for each expert the last of them), compile in a tenth of the time.
  """
  from flax import linen as nn

  from fass_jax.nets import layers
  from fass_jax.nets.norm import BatchNorm

  real = base.BACKBONES['resnet_cifar']

  class Tiny(nn.Module):
    depth: int
    experts: int
    reduced: bool
    how: layers.Arithmetic

    @nn.compact
    def __call__(self, x, train, pooled=True):
      def one(x, stage, block, prefix, narrow):
        stride, end = (2, '1') if stage == 1 else (1, f'stage3_block{block}')
        name = f'{prefix}conv{end}', f'{prefix}bn{end}'
        x = layers.conv(6 if narrow else 8, 3, stride, name[0], self.how)(x)
        return jax.nn.relu(BatchNorm(name=name[1])(x, train))

      blocks = [(3, block) for block in range((self.depth - 2) // 6)]
      x = one(x.astype(self.how.dtype), 1, 0, '', False)
      return layers.in_branches(x, blocks, one, self.experts, 1, self.reduced, pooled)

  def tiny(depth, experts, reduced, branch, how):
    real(depth=depth, experts=experts, reduced=reduced, branch=branch, how=how)  # what it refuses
    return Tiny(depth, experts, reduced, how)

  patch.setitem(base.BACKBONES, 'resnet_cifar', tiny)
  compile_quickly(patch, 0)
  draw_nothing(patch)


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
