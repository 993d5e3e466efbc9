"""Schemathesis calls every route as the OpenAPI document says, and oddly; the answers must fit."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.processes import ServeProcess

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)


@pytest.mark.timeout(300)
def test_answers_are_as_documented(service: ServeProcess, tmp_path: Path):
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{service.url}/openapi.json",
            "--url",
            service.url,
            "--checks",
            ",".join(CHECKS),
            "--max-examples",
            "20",
            "--seed",
            "402",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-6000:]
