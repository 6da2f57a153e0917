"""Mail protocols without I/O: bytes in, events out, and bytes for the wire. No sockets, clock or randomness."""
