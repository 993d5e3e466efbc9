"""What is done to a lease while it lasts: power, pauses, snapshots, other sizes, reinstallation."""
