"""Lets `python -m dicomsort` do what the command does."""

from dicomsort.cli import main

if __name__ == "__main__":
    main()
