"""The headers of the plainest files, read without a library: their pixels are then read by OpenCV, the fastest reader.

Most competitions' files are such: JPEG with 8 bits and one or three components, PNG with 8 bits, grey or RGB. Whatever
is special (an EXIF orientation, several pictures, transparency, a palette, damage) is left to Pillow: None.
"""

import zlib
from typing import NamedTuple

_JPEG_START, _JPEG_END, _JPEG_SCAN = b"\xff\xd8", b"\xff\xd9", b"\xff\xda"
# Start of frame: baseline, extended, progressive, all of Huffman coding.
_FRAMES = (0xC0, 0xC1, 0xC2)
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_PNG_START = b"\x89PNG\r\n\x1a\n"
# Larger ones are unpacked by Pillow alone: to see whether they are whole, they would be unpacked twice here.
_PNG_PIXELS = 2**16
# Chunks that change no pixel.
_PNG_PLAIN = (b"IHDR", b"IDAT", b"IEND", b"pHYs", b"tIME", b"tEXt", b"zTXt", b"iTXt")


class Header(NamedTuple):
    """Format and mode in Pillow's names, width and height in pixels."""

    format: str
    mode: str
    width: int
    height: int


def plain_header(data: bytes) -> Header | None:
    """Read the header of a whole, plain JPEG or PNG; None for all else.

    Raises:
        ValueError: a PNG whose checksums are wrong, which Pillow would read as another picture.
    """
    if data.startswith(_JPEG_START):
        return _jpeg(data)
    return _png(data) if data.startswith(_PNG_START) else None


def _jpeg(data: bytes) -> Header | None:
    """ITU T.81, annex B: markers with lengths, up to the first scan."""
    # libjpeg fills what a truncated file lacks with grey, and OpenCV keeps silent: the end mark must be there, after
    # the last start of scan.
    if not data.endswith(_JPEG_END) and not data.rfind(_JPEG_END) > data.rfind(_JPEG_SCAN) > 0:
        return None
    header, place = None, 2
    while place + 10 < len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4])
        if marker == 0xDA:
            return header
        special = data[place + 4 : place + 8] in (b"Exif", b"MPF\0")
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD9 or marker in _OTHER_FRAMES or special:
            return None
        if marker in _FRAMES:
            bits, components = data[place + 4], data[place + 9]
            height, width = (int.from_bytes(data[place + at : place + at + 2]) for at in (5, 7))
            if bits != 8 or components not in (1, 3) or not width or not height:
                return None
            header = Header("JPEG", "L" if components == 1 else "RGB", width, height)
        place += 2 + length
    return None


def _png(data: bytes) -> Header | None:
    """PNG specification, section 5: chunks with lengths and checksums, all of which must be right."""
    chunks = dict[bytes, list[bytes]]()
    place = 8
    while place + 12 <= len(data) and b"IEND" not in chunks:
        end = place + 8 + int.from_bytes(data[place : place + 4])
        kind = data[place + 4 : place + 8]
        # Critical chunks have a capital first letter; libraries pass over damage in the others.
        if kind[:1].isupper() and zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4]):
            raise ValueError(f"the checksum of its {kind.decode('latin-1')!r} chunk is wrong")
        chunks.setdefault(kind, []).append(data[place + 8 : end])
        place = end + 4
    if not set(chunks) <= set(_PNG_PLAIN) or not {b"IHDR", b"IDAT", b"IEND"} <= set(chunks):
        return None
    start = chunks[b"IHDR"][0]
    width, height, (bits, colour, *ways) = int.from_bytes(start[:4]), int.from_bytes(start[4:8]), start[8:13]
    if bits != 8 or colour not in (0, 2) or any(ways) or not 0 < width * height <= _PNG_PIXELS:
        return None
    header = Header("PNG", "RGB" if colour else "L", width, height)
    return header if _is_whole(b"".join(chunks[b"IDAT"]), header) else None


def _is_whole(stream: bytes, header: Header) -> bool:
    """Whether a PNG's pixels are all there: a byte and the samples for each row."""
    samples = header.width * (3 if header.mode == "RGB" else 1)
    try:
        return len(zlib.decompress(stream)) == header.height * (1 + samples)
    except zlib.error:
        return False
