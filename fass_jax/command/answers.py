"""Where the answers of a prediction go: a table or CSV on stdout, or a CSV file."""

from __future__ import annotations

import contextlib
import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fass_jax.types import UserError


@contextlib.contextmanager
def answers(
  target: str, files: Sequence[str], classes: Sequence[str] | None
) -> Iterator[Callable[..., Any]]:
  """Opens where the answers go; yields `put(file, rank, class, probability)`.

  Args:
    target: '' for a table on stdout, '-' for CSV on stdout, or a CSV file.
    files: all file names, for the width of a column.
    classes: all class names, for the same; None: the answers are numbers, `put(file, value)`.

  Raises:
    UserError: if the file cannot be written.
  """
  with contextlib.ExitStack() as stack:
    out: Any = sys.stdout
    if isinstance(out, io.TextIOWrapper):
      out.reconfigure(errors='surrogateescape')  # file names of any bytes
    if target not in ('', '-'):
      try:
        out = stack.enter_context(
          open(target, 'w', encoding='utf-8', errors='surrogateescape', newline='')
        )
      except OSError as error:
        raise UserError(
          f'--csv={target} cannot be written ({error.strerror}); give another file.'
        ) from error
    wide = max(map(len, files))
    if classes is None and target:
      writer = csv.writer(out, lineterminator='\n')
      writer.writerow(['file', 'value'])
      yield lambda file, value: writer.writerow([file, f'{value:.6g}'])
    elif classes is None:
      yield lambda file, value: print(f'{file:<{wide}}  {value:12.6g}')
    elif target:
      writer = csv.writer(out, lineterminator='\n')
      writer.writerow(['file', 'rank', 'class', 'probability'])
      yield lambda file, rank, name, p: writer.writerow([file, rank, name, f'{p:.6g}'])
    else:
      most = max(map(len, classes))
      yield lambda file, rank, name, p: print(
        f'{file if rank == 1 else "":<{wide}}  {rank:>3}  {name:<{most}}  {100 * p:6.2f} %'
      )
    out.flush()
