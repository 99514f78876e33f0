"""Starts one run as several processes on this machine, each with a part of its devices.

    python launch/local.py --processes=2 --devices=2 --config=configs/digits_lt.py

A single process can use all GPUs of a machine, so this is only for machines where several processes
are faster, and to test on one machine what runs on several later: on a CPU, `--devices` are
simulated. All other flags are passed to `fass_jax.main`. A signal is sent to all processes; if one
process fails, the others are terminated.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence


def free_port() -> int:
  """Returns an unused port."""
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    return s.getsockname()[1]


def environment(
  number: int, processes: int, devices: int, port: int, base: Mapping[str, str] = os.environ
) -> dict[str, str]:
  """Returns the environment of a process, with the coordinator's address and its own devices."""
  env = dict(base)
  env['JAX_COORDINATOR_ADDRESS'] = f'127.0.0.1:{port}'
  env['FASS_JAX_PROCESSES'], env['FASS_JAX_PROCESS'] = str(processes), str(number)
  if env.get('JAX_PLATFORMS') == 'cpu' or not devices:
    count = f'--xla_force_host_platform_device_count={devices or 1}'
    env['XLA_FLAGS'] = f'{env.get("XLA_FLAGS", "")} {count}'.strip()
  else:
    own = range(number * devices, (number + 1) * devices)
    env['JAX_LOCAL_DEVICE_IDS'] = ','.join(map(str, own))
  return env


def watch(children: Sequence[subprocess.Popen]) -> int:
  """Waits for all processes, kills the others if one fails, and returns the first nonzero code."""
  failed = 0
  while any(child.poll() is None for child in children):
    codes = [child.poll() for child in children]
    failed = failed or next((code for code in codes if code), 0)
    # after SIGTERM all processes save and exit with this code, so none is killed
    if failed and failed != 128 + signal.SIGTERM:
      time.sleep(2)
      for child in children:
        if child.poll() is None:
          child.kill()
    time.sleep(0.1)
  failed = failed or next((child.returncode for child in children if child.returncode), 0)
  return failed if failed >= 0 else 128 - failed  # 128 + signal, as in a shell


def main(argv: Sequence[str]) -> int:
  """Runs the command line and returns the exit code."""
  given = {'processes': 2, 'devices': 0}
  rest = list(argv)
  for name in given:
    for word in [w for w in rest if w.startswith(f'--{name}=')]:
      given[name] = int(word.partition('=')[2])
      rest.remove(word)
  port = free_port()
  children = [
    subprocess.Popen(
      [sys.executable, '-m', 'fass_jax.main', *rest],
      env=environment(number, given['processes'], given['devices'], port),
    )
    for number in range(given['processes'])
  ]

  def forward(number: int, frame: object) -> None:
    for child in children:
      if child.poll() is None:
        child.send_signal(number)

  signal.signal(signal.SIGTERM, forward)
  # the terminal sends Ctrl-C to the children too, because they are in its process group
  signal.signal(signal.SIGINT, lambda number, frame: None)
  return watch(children)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
