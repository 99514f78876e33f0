"""Image files: lists, checks, decoding and prefetching."""
