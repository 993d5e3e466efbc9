"""HTTP routes by noun, dependencies, the error table and the browser websocket."""
