"""Session settings: strict JAX, warnings as errors, one compile cache for all processes."""

import gc
import logging
import os
import pathlib
import subprocess
import sys
import tempfile


def _accepted(flags):
  """Returns those of some XLA flags that the installed version knows.

  XLA ends a process at a flag that it does not know, so a child process tries them.
  """
  program = 'import jax; jax.jit(lambda x: x + 1)(0.0)'
  env = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': ' '.join(flags)}
  done = subprocess.run([sys.executable, '-c', program], env=env, capture_output=True, text=True)
  if done.returncode == 0:
    return flags
  return [f for f in flags if _accepted([f])] if len(flags) > 1 else []


# before jax is imported, and inherited by every process that a test starts
_CACHE = tempfile.TemporaryDirectory(prefix='fass-jax-test-cache-')
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', _CACHE.name)
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES', '-1')
if 'PYTEST_XDIST_WORKER' not in os.environ:  # the first process of a session
  _MEMO = tempfile.TemporaryDirectory(prefix='fass-jax-test-memo-')
  os.environ['FASS_TEST_MEMO'] = _MEMO.name
# runs of a few steps do not pay for optimised programs; a session may set a level of its own. Its
# workers inherit what its first process found
if 'PYTEST_XDIST_WORKER' not in os.environ:
  _WANTED = [
    '--xla_backend_optimization_level=1',
    # the older way to emit fusions compiles in four fifths of the time; jax 0.12 has dropped it
    '--xla_cpu_use_fusion_emitters=false',
  ]
  _GIVEN = os.environ.get('XLA_FLAGS', '')
  if '--xla_backend_optimization_level' not in _GIVEN:
    os.environ['XLA_FLAGS'] = ' '.join(filter(None, [_GIVEN, *_accepted(_WANTED)]))
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


def pytest_configure(config):
  config.addinivalue_line('markers', 'gpu: needs an accelerator')
  config.addinivalue_line('markers', 'multihost: needs several machines')


# these compile much, which the tracer of coverage makes a quarter slower; others run the same lines
UNTRACED = (
  'test_cifar_run', 'test_engine', 'test_families', 'test_launch', 'test_methods',
  'test_pipeline', 'test_programs', 'test_resnet_torch', 'test_resnet_transformers', 'test_rows',
  'test_structure',
)  # fmt: skip


# with the longest tests: they begin first, so that the workers end together
FIRST = (
  'test_rows', 'test_devices', 'test_resume', 'test_cifar_run', 'test_programs', 'test_engine',
  'test_families', 'test_stages',
)  # fmt: skip


def pytest_collection_modifyitems(items):
  items.sort(key=lambda item: item.path.stem not in FIRST)  # stable: a module stays together
  for item in items:
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
