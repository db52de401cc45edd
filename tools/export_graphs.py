"""Write graph.onnx anew into the shipped bundles: `python tools/export_graphs.py [NAME]...`.

To be run when the exporter, or a shipped model, has changed. Each graph is tried against its network first;
the digests of the bundles stay as they are.
"""

import argparse
import sys

from dicomsort.model import bundle as bundles
from dicomsort.model.export import with_graph


def main() -> int:
    """Export the models that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    shipped = bundles.shipped_models()
    every = sorted(path.parent.name for path in shipped.glob(f"*/{bundles.CONFIG}"))
    for name in parser.parse_args().names or every:
        before = bundles.load(shipped / name, with_graph=False)
        after = with_graph(before)
        after.save_graph(shipped / name)
        print(f"{after.tag}: {len(after.graph or b'') / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
