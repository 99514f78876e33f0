"""What lies in a work directory, written and read."""
