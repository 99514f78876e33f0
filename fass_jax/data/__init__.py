"""Data sets: loading by name, held-out images, image files, and resident or streamed storage."""
