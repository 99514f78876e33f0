"""Image files: lists of them, checks, decoding, reading ahead."""
