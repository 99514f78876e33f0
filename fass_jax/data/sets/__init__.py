"""Data sets: each module finds, prepares and reads one of them."""
