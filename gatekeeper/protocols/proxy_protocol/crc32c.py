"""CRC32c, the checksum of a PROXY header of version 2 (RFC 4960, appendix B)."""

_POLYNOMIAL = 0x82F63B78
"""Castagnoli's, bits reversed."""


def _row(octet: int) -> int:
    for _ in range(8):
        octet = octet >> 1 ^ (_POLYNOMIAL if octet & 1 else 0)
    return octet


_TABLE = tuple(map(_row, range(256)))


def crc32c(octets: bytes) -> int:
    """The checksum of `octets`, 32 bits."""
    rest = 0xFFFFFFFF
    for octet in octets:
        rest = rest >> 8 ^ _TABLE[(rest ^ octet) & 0xFF]
    return rest ^ 0xFFFFFFFF
