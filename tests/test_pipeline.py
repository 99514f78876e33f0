"""The benchmark's parts for image files: the host pipeline, ResNet-50, and saving a part alone."""

import json

import numpy as np
import pytest
from PIL import Image

from launch.benchmarks import large, pipeline, report


@pytest.fixture
def jpegs(tmp_path):
  pipeline.make_photos(tmp_path, 6)
  return tmp_path


def test_the_pipeline_is_measured(jpegs, monkeypatch):
  folder = jpegs
  monkeypatch.setattr(pipeline.contestants, 'has_torch', lambda: False)
  paths = pipeline.find(folder)
  assert sorted(paths) == sorted(map(str, folder.iterdir())) and len(paths) == 6
  got = pipeline.measure(paths, rounds=2, batches=2, batch=4, side=32)
  names = [f'fass_jax {d}, {pipeline.counted(n, "thread")}' for d in pipeline.decoders()
           for n in sorted({1, pipeline.cores()})]  # fmt: skip
  assert list(got['images_per_s']) == names and got['images_a_round'] == 8 * pipeline.cores()
  assert all(v['min'] > 0 for v in got['images_per_s'].values())
  sample = pipeline.describe(paths, 'made')
  assert (sample['images'], sample['width'], sample['height']) == (6, 500, 375)
  text = '\n'.join(report.pipeline_tables({'': {'sample': sample} | got}))
  assert '6 images (made), median 500 x 375' in text and names[0] in text
  (folder / 'none').mkdir()
  with pytest.raises(SystemExit, match='no .jpg'):
    pipeline.find(folder / 'none')


@pytest.mark.parity
def test_the_dataloader_beside_it(tmp_path):
  torch = pytest.importorskip('torch', reason='needs the extra parity: pip install -e .[parity]')
  from launch.benchmarks import torch_pictures as pictures

  path = tmp_path / 'grey.jpg'
  Image.new('L', (60, 40), 128).save(path)
  x, _ = pictures.Crops([str(path)], 3, side=16)[2]
  assert x.shape == (3, 16, 16) and x.dtype == torch.float32
  mean, std = torch.tensor(pictures.MEAN), torch.tensor(pictures.STD)
  np.testing.assert_allclose(x[:, 5, 5], (128 / 255 - mean) / std, rtol=1e-5)
  bare = pictures.Crops([str(path)], 5, 16, whole=False)
  assert bare[0][0].dtype == torch.uint8 and bare[0][0].float().mean() == 128
  pictures.Loader(bare, 2, 0).run(1)
  for width, height in ((500, 375), (30, 300)):
    boxes = np.array([pictures.random_box(width, height) for _ in range(300)])
    assert boxes.min() == 0 and (boxes[:, 2:] <= (width, height)).all()
    w, h = (boxes[:, 2:] - boxes[:, :2]).T
    assert (w / h > 0.72).all() and (w / h < 1.38).all()
    assert width < 2 * height or boxes[:, 3].max() <= 300 and w.max() == 30


def test_what_resnet_50_is_measured_on(jpegs):
  folder = jpegs
  with large.streaming.threads(1) as pool:
    runs, about = large.line_up(pipeline.find(folder), pool, 10, 32)
    on_cpu = ['ce float32, batch 4, resident', 'ce float32, batch 4, streamed']
    assert list(runs) == [*on_cpu, 'fass float32, batch 4, resident']
    # two of four are mixed, twice
    assert about == dict.fromkeys(on_cpu, ('float32', 1.0)) | {list(runs)[2]: ('float32', 2.0)}
    (pixels,) = next(runs[on_cpu[1]].feed).values()
    assert large.streaming.finish(pixels).shape == (4, 32, 32, 3)
  assert runs[on_cpu[0]].store.images.images.shape == (1024, 256, 256, 3)
  assert runs[on_cpu[1]].store.images is None


def test_a_part_that_is_saved_leaves_the_others(tmp_path):
  docs, kept = tmp_path / 'docs', {'device': 'cpu: x', 'cpu_cores': 2, 'versions': {}}
  docs.mkdir()
  (docs / 'performance.md').write_text(f'head {report.BEGIN} old {report.END} tail')
  entry = {'median': 3.0, 'min': 2.0, 'max': 4.0}
  large = {
    'depth': 50, 'side': 224, 'gmac': 4.09, 'images_per_s': {'ce': entry},
    'share_of_matmul_rate': {'ce': 0.25}, 'skipped': {'fass': 'no memory'},
  }  # fmt: skip
  report.save(kept | {'large': large}, tmp_path, ['large'])
  report.save({'device': 'cpu: x', 'pipeline': {}}, tmp_path, ['pipeline'])
  (file,) = (tmp_path / 'results').iterdir()
  assert json.loads(file.read_text()) == kept | {'large': large, 'pipeline': {}}
  text = (docs / 'performance.md').read_text()
  assert '| ce | 3 | 2 | 4 | 25 |' in text and '| fass | no memory |' in text
  assert text.startswith('head ') and text.endswith(' tail') and 'old' not in text
