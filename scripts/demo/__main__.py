"""`make demo`: see walk.py."""

import ending

if __name__ == "__main__":
    ending.end_at_once()

    import typer
    import walk

    typer.run(walk.demo)
