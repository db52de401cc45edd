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
        from dicomsort.cli.main import main as run  # noqa: PLC0415

        run()
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
        for late in (signal.SIGINT, signal.SIGTERM):  # all is done: the exit code stays what it is
            signal.signal(late, signal.SIG_IGN)


if __name__ == "__main__":
    main()
