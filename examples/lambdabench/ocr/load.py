#!/usr/bin/env python3
"""Has pictures drawn and reads them back; also pictures of nothing, and what is no picture."""

import string
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import Scenario, expect, main

BLANK = b"P5 64 48 255\n" + b"\xff" * (64 * 48)


class Ocr(Scenario):
    app = "ocr"

    def step(self, client):
        kind = client.random.random()
        if kind < 0.05:
            client.get("").expect(200)
        elif kind < 0.1:
            text = client.ask("read blank", "POST", "read", BLANK).json()["text"]
            expect(text == "", "a blank picture says", text)
        elif kind < 0.15:
            garbage = b"no picture: " + client.random.randbytes(500)
            client.ask("refused", "POST", "read", garbage).json(415)
        else:
            self.read(client)

    def read(self, client):
        letters = string.ascii_uppercase + string.digits
        words = ["".join(client.random.choices(letters, k=client.random.randint(2, 6)))
                 for _ in range(client.random.randint(1, 2))]
        text, kind = " ".join(words), client.random.choice(["png", "pgm"])
        sample = {"text": text, "format": kind, "size": client.random.choice([28, 36, 45, 64]),
                  "noise": client.random.randint(0, 25), "seed": client.random.getrandbits(32)}
        picture = client.ask("draw", "GET", "sample", query=sample).expect(200).body
        sign = b"\x89PNG" if kind == "png" else b"P5"
        expect(picture.startswith(sign), "no", kind, "but", picture[:8])
        found = client.ask("read", "POST", "read", picture, content_type=f"image/{kind}").json()
        expect(found["text"] == text, sample, "was read as", found["text"])


if __name__ == "__main__":
    main(Ocr)
