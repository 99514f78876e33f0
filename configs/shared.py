"""What several families of methods share: deltas, and the papers by author and year."""

from typing import Any

# class weights by the effective number, deferred to the last fifth of the run (DRW); all keys are
# named, so that two methods that differ in one of them clash
DEFERRED_WEIGHTS: dict[str, Any] = {
  'reweight.kind': 'effective_number',
  'reweight.share': ((0, 0.0), (0.8, 1.0)),
}
COSINE_HEAD: dict[str, Any] = {'net.head': 'cosine'}

PAPERS = {
  'CAR 2026': 'CAR, confusion-aware spectral regularisation, CVPR 2026, arXiv:2603.16732',
  'Ahn 2023': 'Ahn et al., "CUDA: Curriculum of Data Augmentation for Long-Tailed Recognition", '
  'ICLR 2023, arXiv:2302.05499',
  'Alshammari 2022': 'Alshammari et al., "Long-Tailed Recognition via Weight Balancing", CVPR '
  '2022, arXiv:2203.14197',
  'Cao 2019': 'Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin '
  'Loss", NeurIPS 2019, arXiv:1906.07413',
  'Chawla 2002': 'Chawla et al., "SMOTE: Synthetic Minority Over-sampling Technique", JAIR 2002, '
  'arXiv:1106.1813',
  'Cubuk 2019': 'Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", CVPR '
  '2019, arXiv:1805.09501',
  'Cubuk 2020': 'Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced '
  'search space", NeurIPS 2020, arXiv:1909.13719',
  'Cui 2019': 'Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, '
  'arXiv:1901.05555',
  'DeVries 2017': 'DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks '
  'with Cutout", 2017, arXiv:1708.04552',
  'He 2021': 'He et al., "Distilling Virtual Examples for Long-tailed Recognition", ICCV 2021, '
  'arXiv:2103.15042',
  'Hinton 2015': 'Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, '
  'arXiv:1503.02531',
  'Han 2005': 'Han et al., "Borderline-SMOTE: A New Over-Sampling Method in Imbalanced Data Sets '
  'Learning", ICIC 2005',
  'Huang 2016': 'Huang et al., "Learning Deep Representation for Imbalanced Classification", CVPR '
  '2016',
  'Kang 2020': 'Kang et al., "Decoupling Representation and Classifier for Long-Tailed '
  'Recognition", ICLR 2020, arXiv:1910.09217',
  'Lin 2017': 'Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, arXiv:1708.02002',
  'Mahajan 2018': 'Mahajan et al., "Exploring the Limits of Weakly Supervised Pretraining", ECCV '
  '2018, arXiv:1805.00932',
  'Menon 2021': 'Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, '
  'arXiv:2007.07314',
  'Pan 2024': 'Pan et al., "Enhanced Long-Tailed Recognition with Contrastive CutMix '
  'Augmentation", IEEE TIP 2024, arXiv:2407.04911',
  'Neighbors 2025': '"Learning from Neighbors: Category Extrapolation for Long-Tail Learning", '
  'CVPR 2025, arXiv:2410.15980',
  'Park 2022': 'Park et al., "The Majority Can Help The Minority: Context-rich Minority '
  'Oversampling for Long-tailed Classification", CVPR 2022, arXiv:2112.00412',
  'Ren 2020': 'Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS '
  '2020, arXiv:2007.10740',
  'Ren 2022': 'Ren et al., "Balanced MSE for Imbalanced Visual Regression", CVPR 2022, '
  'arXiv:2203.16427',
  'Szegedy 2016': 'Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", '
  'CVPR 2016, arXiv:1512.00567',
  'Tan 2020': 'Tan et al., "Equalization Loss for Long-Tailed Object Recognition", CVPR 2020, '
  'arXiv:2003.05176',
  'Verma 2019': 'Verma et al., "Manifold Mixup: Better Representations by Interpolating Hidden '
  'States", ICML 2019, arXiv:1806.05236',
  'Wang 2021': 'Wang et al., "Long-tailed Recognition by Routing Diverse Distribution-Aware '
  'Experts", ICLR 2021, arXiv:2010.01809',
  'Wang 2024': 'Wang et al., "Kill Two Birds with One Stone: Rethinking Data Augmentation for Deep '
  'Long-tailed Learning", ICLR 2024',
  'Yang 2021': 'Yang et al., "Delving into Deep Imbalanced Regression", ICML 2021, '
  'arXiv:2102.09554',
  'Ye 2020': 'Ye et al., "Identifying and Compensating for Feature Deviation in Imbalanced Deep '
  'Learning", 2020, arXiv:2001.01385',
  'Yun 2019': 'Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with '
  'Localizable Features", ICCV 2019, arXiv:1905.04899',
  'Zhang 2017': 'Zhang et al., "Range Loss for Deep Face Recognition with Long-Tailed Training '
  'Data", ICCV 2017, arXiv:1611.08976',
  'Zhang 2018': 'Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, '
  'arXiv:1710.09412',
  'Zhang 2021': 'Zhang et al., "Bag of Tricks for Long-Tailed Visual Recognition with Deep '
  'Convolutional Neural Networks", AAAI 2021',
  'Zhou 2020': 'Zhou et al., "BBN: Bilateral-Branch Network with Cumulative Learning for '
  'Long-Tailed Visual Recognition", CVPR 2020, arXiv:1912.02413',
  'Zhu 2022': 'Zhu et al., "Balanced Contrastive Learning for Long-Tailed Visual Recognition", '
  'CVPR 2022, arXiv:2207.09052',
}
