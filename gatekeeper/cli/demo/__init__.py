"""The demo: an embedded mail server, the real gate, and two phones."""
