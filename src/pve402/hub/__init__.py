"""One owner per guest: exec and console channels over one terminal session."""
