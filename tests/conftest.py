"""Session settings: strict JAX, warnings as errors, one compile cache for all processes."""

import gc
import importlib.metadata
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import time


def _programs():
  """Returns the folder of compiled programs: the user's, since the next session needs the same.

  It may be deleted at any time. Each version of jaxlib has one of its own.
  """
  cache = pathlib.Path(os.environ.get('FASS_JAX_CACHE') or '~/.cache/fass_jax').expanduser()
  return cache / f'test-programs-jax-{importlib.metadata.version("jaxlib")}'


def _forget_old_programs(folder, days=7):
  """Deletes programs that are a week old: most are of code that is no more."""
  for path in folder.glob('*'):
    try:
      if path.is_file() and path.stat().st_mtime < time.time() - days * 86400:
        path.unlink()
    except OSError:
      pass  # another session was faster, or the folder is not ours to change


def _tried(flags):
  """Returns whether XLA starts with some flags; it ends a process at a flag that it does not know.

  Returns:
    Those of the flags that it does not complain of, and whether it started.
  """
  # without the pass of `_WANTED` older versions compile no scatter
  program = (
    'import jax, jax.numpy as jnp;'
    'jax.jit(lambda x, i: x.at[i].add(1.0))(jnp.zeros(4), jnp.array([2, 2, 0]))'
  )
  env = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': ' '.join(flags)}
  done = subprocess.run([sys.executable, '-c', program], env=env, capture_output=True, text=True)
  return [f for f in flags if f not in done.stderr], done.returncode == 0


def _accepted(flags):
  """Returns those of some XLA flags that the installed version knows; a child process tries them.

  The answer is kept with the programs, so that only the first session of a version asks.
  """
  memory = _programs() / 'flags.json'
  try:
    kept = json.loads(memory.read_text())
  except (OSError, ValueError):
    kept = {}
  if kept.get('asked') == flags:
    return kept['known']
  known, good = _tried(flags)
  if not good:  # without those that it names
    known, good = _tried(known)
  known = known if good else [f for f in flags if _tried([f])[1]]
  try:
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(json.dumps({'asked': flags, 'known': known}))
  except OSError:
    pass  # a cache that cannot be written: the next session asks again
  return known


# before jax is imported, and inherited by every process that a test starts
if os.environ.pop('PYTHONDONTWRITEBYTECODE', ''):
  # without bytecode a process imports for ten seconds instead of four: keep it out of the way
  os.environ['PYTHONPYCACHEPREFIX'] = str(_programs() / 'bytecode')
  sys.dont_write_bytecode, sys.pycache_prefix = False, os.environ['PYTHONPYCACHEPREFIX']
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(_programs()))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES', '-1')
# runs of a few steps do not pay for optimised programs; a session may set a level of its own. Its
# workers inherit what its first process found
if 'PYTEST_XDIST_WORKER' not in os.environ:  # the first process of a session
  _MEMO = tempfile.TemporaryDirectory(prefix='fass-jax-test-memo-')
  os.environ['FASS_TEST_MEMO'] = _MEMO.name
  _forget_old_programs(_programs())
  _ALONE = '--xla_cpu_multi_thread_eigen=false'
  _WANTED = [
    '--xla_backend_optimization_level=0',
    # a fifth of the time goes into kernels for single operations that are as good without it
    '--xla_disable_hlo_passes=fusion-wrapper',
    _ALONE,
  ]
  _GIVEN = os.environ.get('XLA_FLAGS', '')
  if '--xla_backend_optimization_level' not in _GIVEN:
    _KNOWN = _accepted(_WANTED)
    os.environ['FASS_TEST_ALONE'] = _ALONE if _ALONE in _KNOWN else ''
    _SET = [_GIVEN, *(f for f in _KNOWN if f != _ALONE)]
    os.environ['XLA_FLAGS'] = ' '.join(filter(None, _SET))
elif int(os.environ['PYTEST_XDIST_WORKER_COUNT']) > 1:
  # workers already keep all cores busy: a second thread in one takes from another
  os.environ['XLA_FLAGS'] += ' ' + os.environ.get('FASS_TEST_ALONE', '')
# every operation of a lowered program carries the Python stack it came from, which nobody reads
os.environ.setdefault('JAX_TRACEBACK_IN_LOCATIONS_LIMIT', '0')
# tracing makes much garbage without cycles: looking through all objects for some took a tenth
gc.set_threshold(50_000, 20, 20)
os.environ['JAX_NUMPY_RANK_PROMOTION'] = 'raise'
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import pytest  # noqa: E402

REPO = pathlib.Path(__file__).resolve().parent.parent
# these may be skipped in CI: they need hardware that CI does not have
EXCUSED = ('gpu', 'multihost')


def pytest_xdist_auto_num_workers(config):
  """With -n auto: a worker for each core that this session may use, each takes a gigabyte."""
  # Linux alone says which cores a process may use
  cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
  return min(8, cores or 1)


def pytest_configure(config):
  config.addinivalue_line('markers', 'gpu: needs an accelerator')
  config.addinivalue_line('markers', 'multihost: needs several machines')
  # a session that was killed while it wrote a program: it is compiled again
  torn = 'default:Error (reading|writing) persistent compilation cache entry'
  config.addinivalue_line('filterwarnings', torn)


# these compile much, which the older tracer of coverage makes a quarter slower; others run the same
# lines. Python tells the newer one of lines that it has not seen alone, which costs next to nothing
_CHEAP = os.environ.get('COVERAGE_CORE') == 'sysmon' and sys.version_info >= (3, 12)
_COSTLY = (
  'test_engine', 'test_families', 'test_launch', 'test_methods', 'test_pipeline', 'test_programs',
  'test_resnet_torch', 'test_resnet_transformers', 'test_rows', 'test_structure',
)  # fmt: skip
UNTRACED = () if _CHEAP else _COSTLY


# with the longest tests: they begin first, so that the workers end together
FIRST = (
  'test_rows', 'test_devices', 'test_resume', 'test_programs', 'test_engine', 'test_families',
  'test_methods', 'test_bad_input',
)  # fmt: skip


# on the oldest Python: the equations, the losses, one step of every method, the face of the package
SMOKE = (
  'test_score', 'test_mixing', 'test_losses', 'test_combine', 'test_golden', 'test_package',
  'test_samplers',
)  # fmt: skip


def pytest_collection_modifyitems(items):
  items.sort(key=lambda item: item.path.stem not in FIRST)  # stable: a module stays together
  for item in items:
    if item.path.stem in SMOKE:
      item.add_marker('smoke')
    if item.path.stem in UNTRACED:
      item.add_marker('no_cover')


_skipped = []


def pytest_runtest_logreport(report):
  # called where the results come together, whether or not workers ran the tests
  if report.skipped and not any(m in report.keywords for m in EXCUSED):
    _skipped.append(report.nodeid)


def pytest_collectreport(report):
  if report.skipped:  # a whole module left out by importorskip
    _skipped.append(report.nodeid)


def pytest_sessionfinish(session, exitstatus):
  """With CI=true a test that did not run has failed."""
  if os.environ.get('CI') == 'true' and _skipped and exitstatus == 0:
    print(f'\nskipped in CI, which counts as failed: {", ".join(_skipped)}')
    session.exitstatus = 1


@pytest.fixture(autouse=True)
def log_as_it_was():
  """Takes back what the command line, called in this process, does to the package's log."""
  log = logging.getLogger('fass_jax')
  before = log.propagate, log.level, list(log.handlers)
  yield
  log.propagate, log.level, log.handlers[:] = before


@pytest.fixture(scope='session')
def cifar_dir():
  """The folder with the original CIFAR folders, from FASS_TEST_DATA."""
  folder = os.environ.get('FASS_TEST_DATA')
  if not folder:
    pytest.skip('FASS_TEST_DATA does not name a folder with cifar-100-python/ in it')
  return pathlib.Path(folder)


@pytest.fixture(scope='session')
def sample_images():
  """The folder with imagenette_10x60_224.zip and imagenet_1000x1.zip, from FASS_TEST_IMAGES."""
  folder = os.environ.get('FASS_TEST_IMAGES')
  if not folder:
    pytest.skip('FASS_TEST_IMAGES does not name a folder with imagenette_10x60_224.zip in it')
  return pathlib.Path(folder)
