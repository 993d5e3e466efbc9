"""What tenants run: a client of the service, over HTTP alone."""
