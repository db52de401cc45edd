"""Run the command line: `dicomsort`, or `python -m dicomsort`."""

import signal
import sys

from dicomsort.system import streams


def main() -> None:
    """Run the command line, quiet about a Ctrl-C that comes while it is still being loaded.

    Another package of the same module may have replaced files of this one: that ends in a line.
    """
    try:
        streams.prepare()
        if _is_told(sys.argv[1:]):
            streams.announce("loading ...")
        from dicomsort.cli.main import main as run  # noqa: PLC0415

        run()  # what it says or shows first replaces what is announced
    except KeyboardInterrupt:
        sys.stderr.write("dicomsort: interrupted\n")
        sys.exit(130)
    except ImportError:
        from dicomsort.system import installed  # noqa: PLC0415

        if (complaint := installed.complaint()) is None:
            raise
        sys.stderr.write(f"dicomsort: {complaint}\n")
        sys.exit(2)
    finally:
        streams.end_announcement()
        for late in (signal.SIGINT, signal.SIGTERM):  # all is done: the exit code stays what it is
            signal.signal(late, signal.SIG_IGN)
        exec("")  # noqa: S102  (forgets a Ctrl-C within an exec, as of dataclasses, which would change the code)


def _is_told(words: list[str]) -> bool:
    """Return whether a person may want to know what goes on: not with --quiet, nor where an answer comes."""
    silent = {"-q", "--quiet", "--json", "-h", "--help", "--version"}
    is_command = len(words) > 1 and not words[0].startswith("-")
    return is_command and not silent.intersection(words)


if __name__ == "__main__":
    main()
