"""The keys of data sets, image files and augmentations."""

from __future__ import annotations

from fass_jax.config.key import Key

DATA_KEYS: dict[str, Key] = {
  'kind': Key('', 'The data set.', table='data sets'),
  'dir': Key('', 'Where the original archive or folder lies.'),
  'cache': Key('', "Where prepared sets are kept; '' is the user's cache folder."),
  'url': Key('', 'Another place to download from; give data.sha256 with it.'),
  'sha256': Key('', 'Checksum of what data.url names.'),
  'profile': Key(
    'exp',
    "How class counts fall: 'exp' (Eq. 1), 'step' or 'balanced'.",
    choices=('exp', 'step', 'balanced'),
  ),
  'subset_seed': Key(0, 'Seed of the subset that is drawn.', at_least=0),
  'held_out': Key(
    0.0,
    'Share of each class that is held out from training, to choose hyper-parameters on.',
    at_least=0,
    below=1,
    hint='; it is the share of each class that is not trained on',
  ),
  'open': Key('', 'A folder of images of no class, for open-set evaluation.'),
  'open_classes': Key(
    0, 'Set so many classes aside; their test images are the open set.', at_least=0
  ),
  'auxiliary': Key(
    '',
    "Classes that are trained and not tested: 'own' of the data set, 'cifar100', or a folder of "
    "images, one folder per class; '' is none.",
  ),
  'neighbours': Key(
    '', 'A CSV file with the columns target and neighbour; each neighbour is an auxiliary class.'
  ),
  'auxiliary_images': Key(
    -1,
    'Largest number of training images per auxiliary class; -1 takes all, 0 trains on none.',
    at_least=-1,
  ),
  'image_size': Key(
    0, 'Side of the images; 0 keeps the stored size.', at_least=0, hint='; 0 keeps the stored size'
  ),
  'augment': Key(
    ('crop', 'flip'), 'Augmentations of the data set; methods add theirs.', table='ops'
  ),
  'mean': Key((0.4914, 0.4822, 0.4465), 'Mean of each channel, in [0, 1].'),
  'std': Key((0.2023, 0.1994, 0.2010), 'Standard deviation of each channel.', above=0),
  'statistics': Key(
    'fixed',
    "Mean and std: 'fixed' as above, or the training subset's 'own'.",
    choices=('fixed', 'own'),
  ),
}
# how a set of image files becomes pixels; arrays (digits, CIFAR) have no use for it
FILE_KEYS: dict[str, Key] = {
  'root': Key('', 'Your images: a folder class/*.jpg, or a list or CSV of paths and labels.'),
  'lists': Key('', "The folder with the lists of ImageNet-LT's split and its like."),
  'split': Key('test', 'What is evaluated on.', choices=('test', 'val')),
  'val_share': Key(
    0.2, 'Share of each class of a folder or table that is held out for testing.', above=0, below=1
  ),
  'max_broken': Key(
    0.01, 'Largest share of the files that may be broken and skipped.', at_least=0, at_most=1
  ),
  'shrink': Key(
    0, 'Scale prepared images to this short side; 0 keeps them as they are.', at_least=0
  ),
  'store': Key(
    'auto',
    "'resident' keeps squares on the device, 'stream' decodes ahead of it, 'auto' decides by "
    'data.resident_gb.',
    choices=('auto', 'resident', 'stream'),
  ),
  'resident_gb': Key(2.0, 'Keep squares of up to this size on the device.', at_least=0),
  'square': Key(256, 'Side of a resident square.', at_least=1),
  'crop_area': Key(
    (0.08, 1.0),
    'Area of a random crop, as a share of the image: least and most.',
    above=0,
    at_most=1,
  ),
  'centre': Key(
    0.875,
    'Side of the central square that is tested, as a share of the short side.',
    above=0,
    at_most=1,
  ),
  'decoder': Key(
    'pillow',
    "'fast' is simplejpeg and OpenCV; pip install 'fass-jax[fast]'.",
    table='decoders',
  ),
  'workers': Key(0, 'Threads that decode; 0 is one per core.', at_least=0),
}
# how a table becomes rows of numbers
TABLE_KEYS: dict[str, Key] = {
  'file': Key('', "Your table, a CSV file, plain or .gz; '' is scikit-learn's breast cancer set."),
  'target': Key('', "Column of the table that is predicted; '' is the last one."),
  'leave_out': Key((), 'Columns of the table that are not used, such as names of the rows.'),
}
# what the steps of a run train on
EXAMPLE_KEYS: dict[str, Key] = {
  'of': Key(
    'data',
    "Train on the 'data', or on the 'features' that the frozen network has of them, un-augmented.",
    choices=('data', 'features'),
  ),
  'resample': Key(
    'none',
    'Add rows to the smaller classes, up to the count of the largest.',
    choices=('none',),
    table='resamplers',
  ),
  'k': Key(
    5,
    'Nearest rows that a new row may lie towards; less in a class of fewer rows.',
    at_least=1,
    of=('smote', 'borderline_smote_1', 'borderline_smote_2'),
  ),
  'm': Key(
    10,
    'Nearest rows of all classes that say whether a row is in danger.',
    at_least=1,
    of=('borderline_smote_1', 'borderline_smote_2'),
  ),
}
# how the numbers that a run of regression predicts become bins
NUMBER_KEYS: dict[str, Key] = {
  'bin_width': Key(1.0, 'Regression: width of a bin of the label.', above=0),
  'label_range': Key(
    (), 'Regression: lowest and highest label that there may be; () is those of the data.'
  ),
}
# augmentations that methods add to data.augment
AUGMENT_KEYS: dict[str, Key] = {
  'rotation15': Key(False, 'Rotate by up to 15 degrees.'),
  'autoaugment': Key(False, 'AutoAugment, the policy for CIFAR.'),
  'randaugment': Key(False, 'RandAugment.'),
  'cuda': Key(False, "CUDA's operations, as strong as the signal 'levels' says."),
  'doda': Key(False, "DODA's operation, chosen by the signal 'op_weights'."),
  'cutout': Key(False, 'Cutout.'),
  'cam': Key(False, 'New backgrounds and poses by class activation maps; needs teacher.run.'),
}
