"""SASL mechanisms, both as the server that hears a phone and as the client that logs in upstream."""
