"""The file with settings: what cannot be read in it."""

from pathlib import Path

from dotenv import parser


def check(file: Path) -> None:
    """Raises ValueError if the file or one of its lines cannot be read; quotes none of it.

    By itself, the library warns about such a line, and the setting in it is lost.
    """
    try:
        with file.open(encoding="utf-8") as text:
            wrong = [str(one.original.line) for one in parser.parse_stream(text) if _is_wrong(one)]
    except UnicodeDecodeError:
        raise ValueError("is not text in UTF-8") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if wrong:
        lines = f"line {wrong[0]}" if len(wrong) == 1 else f"lines {', '.join(wrong[:20])}"
        raise ValueError(f"{lines}: write NAME=value, and close every quote")


def _is_wrong(found: parser.Binding) -> bool:
    return found.error or (found.key is not None and found.value is None)
