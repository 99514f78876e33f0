"""What a command says and hears: its log, and the signals that ask it to stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from typing import Any

log = logging.getLogger('fass_jax')


class StopSignals:
  """Remembers that SIGTERM or Ctrl-C came, for the loop to ask; a second one stops at once.

  Of several processes SIGTERM is jax's own: it makes all of them stop at the same step.
  """

  def __init__(self, shared: bool = False):
    self.name = ''
    self.shared = shared

  def __enter__(self) -> StopSignals:
    numbers = [signal.SIGINT] if self.shared else [signal.SIGTERM, signal.SIGINT]
    self.before = {n: signal.signal(n, self._came) for n in numbers}
    return self

  def __exit__(self, *error: Any) -> None:
    for number, handler in self.before.items():
      signal.signal(number, handler)

  def _came(self, number: int, frame: Any) -> None:
    if self.name:
      os._exit(128 + number)
    self.name = signal.Signals(number).name
    if self.shared:
      os.kill(os.getpid(), signal.SIGTERM)

  def __call__(self) -> str:
    """Returns '' or the name of the signal."""
    return self.name


def set_up_log() -> None:
  """Sends the log to stderr, and silences what the libraries say of failures."""
  for handler in log.handlers:
    if type(handler) is logging.StreamHandler:
      handler.stream = sys.stderr  # another one, where a program calls this one twice
  if log.handlers:
    return
  handler = logging.StreamHandler(sys.stderr)
  handler.setFormatter(logging.Formatter('%(message)s'))
  log.addHandler(handler)
  log.setLevel(logging.INFO)
  log.propagate = False
  silence_libraries()
  _leave_out_late_writes()


def silence_libraries() -> None:
  """Leaves out what they say of a full disk or a failed download: `UserError` says it shorter."""
  for name in ('absl', 'asyncio', 'orbax', 'urllib3'):
    logging.getLogger(name).setLevel(logging.CRITICAL)


def _leave_out_late_writes() -> None:
  """Silences what a full disk leaves behind: Orbax ends its loop at the first array that fails."""
  before = sys.unraisablehook

  def hook(unraisable: Any) -> None:
    if str(unraisable.exc_value) != 'Event loop is closed':
      before(unraisable)

  sys.unraisablehook = hook
  warnings.filterwarnings('ignore', "coroutine 'async_serialize", RuntimeWarning)
