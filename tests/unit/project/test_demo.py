"""What the demo shows."""

from scripts.demo import outside


def test_amounts_are_shown_in_full():
    assert outside.dollars("2640") == "0.002640 USDC"
