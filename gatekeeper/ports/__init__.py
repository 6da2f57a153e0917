"""What the gate needs from adapters, as protocols. No behaviour here."""
