"""The OpenAPI document: the complete description of requests and answers."""
