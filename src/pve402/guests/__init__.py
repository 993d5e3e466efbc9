"""Work inside guests: commands, files, consoles, and which replica holds a terminal."""
