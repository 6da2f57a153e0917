"""Signed notes (C2SP) and the keys that sign them: pure, Ed25519 by `cryptography`.

`note`  text with signature lines, and who of some known keys signed it     `keys`  key files, locked by a passphrase
"""
