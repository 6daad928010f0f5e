"""The command line as `python -m selfimprove`."""

from selfimprove.cli import main

if __name__ == "__main__":
    main()
