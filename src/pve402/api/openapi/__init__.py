"""The OpenAPI document: what routes take and answer, told in full."""
