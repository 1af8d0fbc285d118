"""A reader of printed letters: finds them by the white between them, brings each to one size, and
takes the letter of the font that differs least.
"""

from itertools import chain

from PIL import Image, ImageDraw, ImageFont

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
# The size of the grid that letters are compared on.
ACROSS, DOWN = 20, 24
# How many bits it counts if one letter is twice as wide for its height as the other.
ASPECT = 400
# Heights that letters are learnt at: a small one is not only a large one made small.
LEARNT = (16, 18, 20, 22, 25, 28, 32, 36, 40, 45, 50, 56, 64, 72)
# What counts as ink where a letter ends. Noise moves its edges by a point: each is learnt thrice.
EDGES = (90, 127, 165)
# What is lower than this part of its line is a speck.
SPECK = 0.5
# A gap wider than this part of its line's height is a blank.
BLANK = 0.7


def darker_than(level):
    """A table for `Image.point`: white for what is darker, black for the rest."""
    return [255 * (shade > level) for shade in range(256)]


# How dark a shade is as a number of bits: two differ in more bits the further apart they are.
SHADES = [(1 << (shade + 25) // 51) - 1 for shade in range(256)]


def ink_of(grey):
    """How dark each point is, from 0 to 255: the mean of the dark shades becomes 255 and that of
    the light ones 0, told apart by Otsu's method. Of one shade alone, nothing is ink."""
    counts = grey.histogram()
    total, whole = sum(counts), sum(shade * count for shade, count in enumerate(counts))
    best, means, below, sum_below = 0, None, 0, 0
    for shade, count in enumerate(counts):
        below, sum_below = below + count, sum_below + shade * count
        if 0 < below < total:
            dark, light = sum_below / below, (whole - sum_below) / (total - below)
            spread = below * (total - below) * (light - dark) ** 2
            if spread > best:
                best, means = spread, (dark, light)
    if means is None:
        return grey.point(lambda shade: 0)
    dark, light = means
    return grey.point(lambda shade: min(255, max(0, round(255 * (light - shade) / (light - dark)))))


def runs(image, across):
    """The stretches of columns (or rows) that hold ink, as (from, to)."""
    ink, width = image.tobytes(), image.width
    columns = (ink[x::width] for x in range(width))
    rows = (ink[y * width:(y + 1) * width] for y in range(image.height))
    found, start = [], None
    for place, line in enumerate(chain(columns if across else rows, [b""])):
        if any(line) and start is None:
            start = place
        elif not any(line) and start is not None:
            found.append((start, place))
            start = None
    return found


def shape_of(letter):
    """How dark each square of a letter's grid is, as bits, and its width for its height."""
    grid = letter.resize((ACROSS, DOWN), Image.Resampling.BOX).point(SHADES)
    return int.from_bytes(grid.tobytes(), "big"), letter.width / letter.height


def learn():
    shapes, tables = [], [darker_than(edge) for edge in EDGES]
    for height in LEARNT:
        font = ImageFont.load_default(height)
        for name in LETTERS:
            ink = Image.new("L", (2 * height, 2 * height))
            ImageDraw.Draw(ink).text((height // 2, height // 4), name, 255, font)
            boxes = {ink.point(table).getbbox() for table in tables}
            shapes += [(name, *shape_of(ink.crop(box))) for box in boxes]
    return shapes


SHAPES = learn()


def nearest(letter):
    """The letter that looks most like this one, and how far it is from it."""
    bits, aspect = shape_of(letter)

    def distance(shape):
        _, own, own_aspect = shape
        stretch = max(aspect / own_aspect, own_aspect / aspect) - 1
        return (bits ^ own).bit_count() + ASPECT * min(stretch, 1)

    best = min(SHAPES, key=distance)
    return best[0], round(distance(best))


def read(grey):
    """All letters, line by line: each with its place, whether a blank or a line's end is before it,
    and how far it is from its model."""
    ink, letters = ink_of(grey), []
    black = ink.point(darker_than(127))
    for top, bottom in runs(black, across=False):
        row = black.crop((0, top, ink.width, bottom))
        before = "\n" if letters else ""
        end = 0
        for left, right in runs(row, across=True):
            _, above, _, under = row.crop((left, 0, right, row.height)).getbbox()
            if under - above < SPECK * row.height:
                continue
            if end and left - end > BLANK * row.height:
                before = " "
            box = [left, top + above, right, top + under]
            name, distance = nearest(ink.crop(box))
            letters.append({"before": before, "letter": name, "distance": distance, "box": box})
            before, end = "", right
    return letters


def text_of(letters):
    """The text of what was read."""
    return "".join(letter["before"] + letter["letter"] for letter in letters)
