"""The tables of results as Markdown, from the ledgers alone."""

from __future__ import annotations

import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fass_jax.config.renamed import renew
from launch.ledger import ledger as book

COLUMNS = ('top1', 'many', 'medium', 'few', 'worst_class')
INTRO = """\
Written by `python launch/tables.py --report` from `results/`. Top-1 on the test set in percent,
mean over seeds, ± sd of three seeds or more; last = the last epoch, best = the epoch with the
highest test top-1, chosen on the test set; many, medium, few (more than 100, 20 to 100, under 20
training images) and worst class are of the last epoch. "wall s" is the time of a seed as it was
run, often beside other work: no measure of a method's speed."""
THESIS = """\
Of the thesis' tables: "thesis" is what it prints (FASS is its "Ours"); "other figures" is what
others report for the same setting, mostly for the best epoch; "ours" is what this code did. A band
is the range in which most published figures of a row lie; "in band?" says whether our best epoch
lies in it. Where one figure is known, the band is that figure ± 0.4. The band of CE at IF 100 is
where three sources agree; it leaves out 39.1 (RIDE's model zoo) and 40.3 (OpenLT)."""

Runs = Mapping[str, Mapping[int, dict[str, Any]]]
Shown = Sequence[tuple[Any, list[dict[str, Any]]]]  # a row and its lines, by seed


def cell(values: Iterable[float | None]) -> str:
  """Formats several seeds of one figure: mean in percent, with the sd of three seeds or more."""
  known = [100 * v for v in values if v is not None]
  if not known:
    return '-'
  spread = f' ± {statistics.stdev(known):.2f}' if len(known) > 2 else ''
  return f'{statistics.mean(known):.2f}{spread}'


def lines_of(table: Mapping[str, Any], row: Any, runs: Runs) -> list[dict[str, Any]]:
  """Returns a row's lines, of whatever ledger, by seed."""
  mine = runs.get(book.key_of(book.arguments(table, row)), {})
  return [mine[seed] for seed in sorted(mine)]


def config_string(row: Any, table: Mapping[str, Any]) -> str:
  """Returns the method string and overrides of a row as code, without what its table leaves out."""
  keys = [k for k in row.overrides if k != table.get('by')]
  if 'shown' in table:
    keys = [k for k in keys if k.partition('.')[0] in table['shown']]
  return f'`{row.method}`' + ''.join(f' `{k}={row.overrides[k]}`' for k in keys)


def in_band(row: Any, mine: Sequence[dict[str, Any]]) -> str:
  """Says whether the mean of the best epochs lies in a row's band."""
  if row.band is None:
    return ''
  low, high = row.band
  text = f'{low:.2f} to {high:.2f}'
  if not mine:
    return text
  # as it is printed
  best = round(100 * statistics.mean(r['best']['top1'] for r in mine), 2)
  return f'{"below" if best < low else "above" if best > high else "yes"} ({text})'


def thesis_block(shown: Shown, table: Mapping[str, Any]) -> list[str]:
  """Returns rows beside the figures of others; with bands, where the thesis has such a table."""
  thesis = 'thesis' in table
  head = ['method', 'config string', *['thesis'] * thesis, *['other figures' if thesis else
          'published'], 'ours, last', 'ours, best', 'n', 'many', 'medium', 'few',
          *['in band?'] * thesis]  # fmt: skip
  out = [f'| {" | ".join(head)} |', '|' + '---|' * len(head)]
  for row, mine in shown:
    cells = [row.label, config_string(row, table)]
    if thesis:
      cells.append('' if row.thesis is None else f'{row.thesis:.2f}')
    cells.append('; '.join(f'{who} {figure}' for who, figure in row.published.items()))
    figures = [('last', 'top1'), ('best', 'top1'), *(('last', k) for k in COLUMNS[1:4])]
    ours = [cell(r[part][k] for r in mine) if mine else '' for part, k in figures]
    cells += [*ours[:2], str(len(mine)) if mine else '', *ours[2:], *[in_band(row, mine)] * thesis]
    out.append('|' + ''.join(f' {c} |' if c else ' |' for c in cells))
  return out


def plain_block(shown: Shown, table: Mapping[str, Any]) -> list[str]:
  """Returns rows with all shot groups and the wall time."""
  out = [
    '| | method | seeds | last | many | medium | few | worst class | best | wall s |',
    '|---|---|---|---|---|---|---|---|---|---|',
  ]
  for row, mine in shown:
    last = [cell(r['last'][k] for r in mine) for k in COLUMNS]
    best = cell(r['best']['top1'] for r in mine)
    wall = f'{statistics.median(r["wall_s"] for r in mine):.0f}' if mine else '-'
    cells = [row.label, config_string(row, table), str(len(mine)), *last, best, wall]
    out.append(f'| {" | ".join(cells)} |')
  return out


def number(values: Iterable[float | None]) -> str:
  """Formats several seeds of a figure as it is: mean, with the sd of three seeds or more."""
  known = [v for v in values if v is not None]
  if not known:
    return '-'
  spread = f' ± {statistics.stdev(known):.3g}' if len(known) > 2 else ''
  return f'{statistics.mean(known):.4g}{spread}'


def number_block(shown: Shown, table: Mapping[str, Any]) -> list[str]:
  """Returns rows with the figures that the table names, of the last epoch, in the label's unit."""
  head = ['method', 'config string', 'seeds', *table['figures'].values(), 'best MAE', 'wall s']
  out = [f'| {" | ".join(head)} |', '|' + '---|' * len(head)]
  for row, mine in shown:
    last = [number(r['last'][k] for r in mine) for k in table['figures']]
    best = number(r['best']['mae'] for r in mine)
    wall = f'{statistics.median(r["wall_s"] for r in mine):.0f}' if mine else '-'
    cells = [row.label, config_string(row, table), str(len(mine)), *last, best, wall]
    out.append(f'| {" | ".join(cells)} |')
  return out


def under_ce(table: Mapping[str, Any], runs: Runs, points: float = 10.0) -> dict[str, float]:
  """Returns by how many points rows end under CE, of those with more than `points`."""
  rows = book.rows(table)
  means = {
    r.method: 100 * statistics.mean(x['last']['top1'] for x in mine)
    for r in rows
    if not r.overrides and (mine := lines_of(table, r, runs))
  }
  ce = means.get('ce', 0.0)
  return {method: ce - mean for method, mean in means.items() if ce - mean > points}


def unexplained(table: Mapping[str, Any], runs: Runs) -> list[str]:
  """Returns the methods far under CE for which no reason is written (`notes`)."""
  return [m for m in under_ce(table, runs) if not table['notes'].get(m)]


def notes(table: Mapping[str, Any], runs: Runs) -> list[str]:
  """Returns why rows are far under CE."""
  far = under_ce(table, runs)
  if not far:
    return []
  why = table['notes']
  head = ['', 'More than 10 points under CE:', '']
  return head + [f'- `{m}`: {gap:.2f}. {why.get(m, "No reason found.")}' for m, gap in far.items()]


def strays(name: str, results: pathlib.Path) -> Shown:
  """Returns the runs of a table's ledger that no row of the table asks for."""
  table = book.TABLES[name]
  asked = {book.key_of(book.arguments(table, row)) for row in book.rows(table)}
  lines = [x for x in book.ledger(name, results) if book.line_key(x) not in asked]
  return [
    (
      book.Row('-', mine[seed]['method'], renew(mine[seed]['overrides'])),
      [mine[k] for k in sorted(mine)],
    )
    for mine in book.by_run(lines).values()
    for seed in list(mine)[:1]
  ]


def markdown(name: str, results: pathlib.Path, runs: Runs | None = None) -> str:
  """Returns a table of results as Markdown."""
  table = book.TABLES[name]
  runs = book.by_run(book.everything(results)) if runs is None else runs
  block = thesis_block if table.get('thesis') or table.get('published') else plain_block
  block = number_block if 'figures' in table else block
  by = table.get('by', '')
  shown = [(row, lines_of(table, row, runs)) for row in book.rows(table)]
  lines = [f'**{table["title"]}**']
  if block is plain_block:
    # this table may stand alone in the README
    lines[0] += (
      ': top-1 on the test set in percent, mean ± sd over seeds; best = the epoch with the highest '
      'test top-1, chosen on the test set; wall s: as it was run, often beside other work.'
    )
  for value in dict.fromkeys(row.overrides.get(by) for row, _ in shown):
    head = ['', f'{by} = {value:g}'] if by else []
    lines += [*head, '', *block([x for x in shown if x[0].overrides.get(by) == value], table)]
  if 'notes' in table:
    lines += notes(table, runs)
  if table.get('remarks'):
    lines += [
      '',
      'On the thesis:' if 'thesis' in table else 'Remarks:',
      '',
      *(f'- {r}' for r in table['remarks']),
    ]
  other = strays(name, results)
  if other:
    lines += ['', 'In its ledger, but no row of the table:', '', *block(other, {**table, 'by': ''})]
  devices = sorted({line['device'] for _, mine in shown for line in mine})
  return '\n'.join([*lines, '', f'Device: {", ".join(devices) or "-"}.'])


def heading(name: str) -> str:
  """Returns the heading of a table."""
  return f'Table {name}' if name.isdigit() else name.replace('_', ' ').capitalize()


def index(runs: Runs) -> str:
  """Returns the list of tables with how much of each was run."""
  lines = ['| table | what | rows with figures | runs |', '|---|---|---|---|']
  for name, table in book.TABLES.items():
    counts = [len(lines_of(table, row, runs)) for row in book.rows(table)]
    link = f'[{heading(name)}](#{heading(name).lower().replace(" ", "-")})'
    done = sum(n > 0 for n in counts)
    lines.append(f'| {link} | {table["title"]} | {done} of {len(counts)} | {sum(counts)} |')
  return '\n'.join(lines)


def chosen_block(name: str, labels: Sequence[str], runs: Runs) -> str:
  """Returns some rows of a table, those that have figures, for a page that shows few.

  Args:
    name: of the table.
    labels: of the rows, in this order; () is all of them.
    runs: by identity and seed.
  """
  table = book.TABLES[name]
  rows = {row.label: row for row in book.rows(table)}
  shown = [(rows[k], lines_of(table, rows[k], runs)) for k in labels or rows]
  beside = any(row.thesis or row.published for row, _ in shown)
  head = ['method', 'last epoch', 'best epoch', 'many', 'medium', 'few', 'seeds']
  head += ['thesis', 'other figures'] * beside
  out = [f'**{table["title"]}**', '', f'| {" | ".join(head)} |', '|' + '---|' * len(head)]
  for row, mine in shown:
    if not mine:
      continue
    figures = [('last', 'top1'), ('best', 'top1'), *(('last', k) for k in COLUMNS[1:4])]
    cells = [row.label, *(cell(r[part][k] for r in mine) for part, k in figures), str(len(mine))]
    if beside:
      cells.append('' if row.thesis is None else f'{row.thesis:.2f}')
      cells.append('; '.join(f'{who} {figure}' for who, figure in row.published.items()))
    out.append(f'| {" | ".join(cells)} |')
  return '\n'.join(out) if len(out) > 4 else f'{out[0]}: no run yet.'


def write(results: pathlib.Path, docs: pathlib.Path, readme: pathlib.Path) -> None:
  """Writes docs/results.md, and the tables between the markers of the README."""
  runs = book.by_run(book.everything(results))
  tables = {name: markdown(name, results, runs) for name in book.TABLES}
  parts = ['# Results', INTRO, THESIS, index(runs)]
  for name, text in tables.items():
    parts += [f'## {heading(name)}', text]
  docs.mkdir(parents=True, exist_ok=True)
  (docs / 'results.md').write_text('\n\n'.join(parts) + '\n')
  text = readme.read_text()
  for name, (table, labels) in book.CONFIG['BLOCKS'].items():
    tables[name] = chosen_block(table, labels, runs)
  for name, body in tables.items():
    begin, end = f'<!-- results {name} -->', f'<!-- end {name} -->'
    if begin in text:
      head, rest = text.split(begin)
      text = f'{head}{begin}\n{body}\n{end}{rest.split(end)[1]}'
  readme.write_text(text)
