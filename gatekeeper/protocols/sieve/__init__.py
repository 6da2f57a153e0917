"""ManageSieve before log-in (RFC 5804), as the server a phone talks to and as the client that logs in upstream."""
