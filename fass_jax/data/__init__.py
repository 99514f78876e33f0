"""Data sets as plain arrays on the host: long-tailed CIFAR, long-tailed digits, the subset rule."""
