"""Consoles of simulated guests: termproxy, dtach, vncterm and the websocket before them."""
