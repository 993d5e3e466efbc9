"""One file per change to the tables, in order."""
