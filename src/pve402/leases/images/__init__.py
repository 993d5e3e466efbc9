"""What guests are made of beside templates: prepared, OCI and private images, and their trials."""
