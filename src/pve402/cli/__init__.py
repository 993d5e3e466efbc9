"""The tenants' commands; they talk to the service over HTTP only."""
