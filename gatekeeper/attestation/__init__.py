"""The verifier (RFC 9334): evidence about a device in, an attestation result out. No I/O, no clock, no randomness.

- `inventory` reads what an MDM server says (JSON lines, CSV); `record` is one device of it.
- `profile.appraise` reads a signed app list (EAT, RFC 9711); `jws` is its envelope, `chain` its certificates,
  `issuer` whom it believes, `measurements` its apps, `rejection` why it says no.
- `fold` makes one result of everything that is known about a device.
- `strict_json` and `bounds` are shared: one reading of a byte string, and a limit for everything.
"""
