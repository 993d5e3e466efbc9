"""The HTTP side: routes by noun, the payment gate, the error table and websockets."""
