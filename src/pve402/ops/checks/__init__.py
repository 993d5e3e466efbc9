"""What the doctor checks, grouped by part of the installation."""
