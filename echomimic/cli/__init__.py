"""The commands of `python -m echomimic`, one a file: `add_parser(subparsers)` and `run(options) -> exit code`."""
