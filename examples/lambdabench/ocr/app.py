"""Reads printed letters and digits in a picture, and draws pictures to try it on.

    fractus deploy examples/lambdabench/ocr
"""

import base64
import io
import random

from PIL import Image, ImageChops, ImageDraw, ImageFont

import reader
from kit import web

FORMATS = {"png": ("PNG", "image/png"), "pgm": ("PPM", "image/x-portable-graymap")}
PIXELS_MAX = 4_000_000
# What Pillow raises for what it cannot read.
UNREADABLE = (Image.DecompressionBombError, OSError, SyntaxError, ValueError)
LETTERS_MAX = 40


@web.route("GET", "/")
def page(request):
    return web.page("Reading pictures", "index.html")


@web.route("POST", "/read")
def read(request):
    try:
        image = Image.open(io.BytesIO(request.body))
        if image.width * image.height > PIXELS_MAX:
            raise web.Refused(413, f"the picture has more than {PIXELS_MAX} pixels")
        grey = image.convert("L")
    except UNREADABLE as error:
        raise web.Refused(415, "this is no picture that can be read") from error
    letters = reader.read(grey)
    text = reader.text_of(letters)
    return web.answer(200, {"text": text, "size": grey.size, "letters": letters})


@web.route("GET", "/sample")
def sample(request):
    """A picture of `text`, its letters `size` pixels high, under `noise` drawn from `seed`."""
    text = request.query.get("text", "FRACTUS 2026").upper()
    kind, media = FORMATS.get(request.query.get("format", "png"), (None, None))
    if kind is None or not 0 < len(text) <= LETTERS_MAX or set(text) - set(reader.LETTERS + " "):
        raise web.Refused(400, f"format is png or pgm, text 1 to {LETTERS_MAX} of A-Z, 0-9, blank")
    size, noise = request.number("size", 32, 16, 96), request.number("noise", 0, 0, 100)
    image = draw(text, size, noise, request.number("seed", 0, 0, 2**32))
    file = io.BytesIO()
    image.save(file, kind)
    return {
        "statusCode": 200,
        "headers": {"content-type": media, "cache-control": "public, max-age=60"},
        "body": base64.b64encode(file.getvalue()).decode(),
        "isBase64Encoded": True,
    }


def draw(text, size, noise, seed):
    """The letters stand apart: the reader tells them by the gaps between them."""
    font = ImageFont.load_default(size)
    gap = max(3, size // 6)
    widths = [round(font.getlength(letter)) + gap * (1 + (letter == " ")) for letter in text]
    image = Image.new("L", (sum(widths) + 2 * size, 2 * size + size // 2), 255)
    pen = ImageDraw.Draw(image)
    x = size
    for letter, width in zip(text, widths):
        pen.text((x, size // 2), letter, 0, font)
        x += width
    grain = Image.frombytes("L", image.size, random.Random(seed).randbytes(len(image.tobytes())))
    return ImageChops.subtract(image, grain.point(lambda value: value * noise // 255))


def lambda_handler(event, context):
    return web.serve(event)
