"""What every test may ask for; helpers with more to them live in tests/support."""

pytest_plugins = ["tests.support.postgres"]
