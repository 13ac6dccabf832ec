"""The command line: ``invlib``, or ``python -m invlib``."""

import sys

from .extras import explained


def main() -> None:
    """Run the command line; where its extra is missing, say so in one line."""
    try:
        from .cli import app
    except ImportError as error:
        sys.exit(f"error: {explained(error)}")
    app(prog_name="invlib")


if __name__ == "__main__":
    main()
