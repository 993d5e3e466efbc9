"""What the doctor looks at, by the part of the installation that it belongs to."""
