"""The command line as `python -m selfimprove.cli`."""

from selfimprove.cli import main

if __name__ == "__main__":
    main()
