"""What a command line is: flags, config files, overrides, and what a command prints."""
