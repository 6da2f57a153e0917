"""IMAP before log-in (RFC 9051, RFC 3501), as the server a phone talks to and as the client that logs in upstream."""
