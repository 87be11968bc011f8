"""``python -m tidings.cli``: the command, where it is not on the path."""

from tidings.cli import main

if __name__ == "__main__":
    main()
