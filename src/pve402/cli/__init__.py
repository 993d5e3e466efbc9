"""What tenants run; knows the server by HTTP only."""
