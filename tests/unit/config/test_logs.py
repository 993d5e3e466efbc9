"""Log lines: their form, and what they never hold."""

import json
import logging

import pytest
import structlog

from pve402.config import logs


@pytest.fixture(autouse=True)
def undone():
    """Logging belongs to the process; restore it."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.configure(**before)


@pytest.mark.parametrize("field", ["payment", "authorization", "password", "token", "signature"])
def test_a_field_that_names_a_secret_is_not_shown(capsys: pytest.CaptureFixture, field: str):
    logs.configure("info", "json")

    structlog.get_logger("test").info("something", **{field: "money", "lease": "l1"})

    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["lease"], line[field]) == ("something", "l1", "[not shown]")


def test_lines_of_libraries_take_the_same_road(capsys: pytest.CaptureFixture):
    logs.configure("info", "json")

    logging.getLogger("some.library").warning("said %s", "this")

    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"], line["logger"]) == (
        "said this",
        "warning",
        "some.library",
    )


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_local_variables(capsys: pytest.CaptureFixture, log_format: str):
    logs.configure("info", log_format)

    try:
        _fail("pass" + "word-1234")
    except RuntimeError:
        structlog.get_logger("test").exception("failed")

    text = capsys.readouterr().err
    assert "RuntimeError" in text
    assert "password-1234" not in text


def test_events_below_the_level_are_left_out(capsys: pytest.CaptureFixture):
    logs.configure("warning", "json")

    structlog.get_logger("test").info("chatter")

    assert capsys.readouterr().err == ""


def _fail(secret: str) -> None:
    raise RuntimeError(f"no secret here, it has {len(secret)} characters")
