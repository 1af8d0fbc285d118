//! Which format answers which client.

/// A format that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Jpeg,
    Png,
    WebP,
}

/// What kind of picture it is, which says how it is best sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Opaque, of many colours, or from a JPEG: nothing is as small as another JPEG.
    Photograph,
    /// Of few colours, from a lossless source: JPEG would smear its edges, PNG packs it best.
    Drawing,
    /// Of many colours, some of it can be seen through: WebP packs it best.
    Cutout,
}

/// The formats a client takes, from its `Accept` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    jpeg: bool,
    png: bool,
    webp: bool,
}

impl Format {
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
        }
    }
}

impl Kind {
    /// The format that every client can be expected to read.
    fn everywhere(self) -> Format {
        match self {
            Self::Photograph => Format::Jpeg,
            Self::Drawing | Self::Cutout => Format::Png,
        }
    }
}

impl Accept {
    /// Reads the header (RFC 9110, section 12.5.1); without one all but WebP is taken, since a
    /// client that knows WebP says so.
    #[must_use]
    pub fn parse(header: Option<&str>) -> Self {
        let header = header
            .filter(|value| !value.trim().is_empty())
            .unwrap_or("*/*");
        let takes = |name: &str| {
            [name, "image/*", "*/*"]
                .iter()
                .find_map(|range| weighs(header, range))
                .unwrap_or(false)
        };
        Self {
            jpeg: takes("image/jpeg"),
            png: takes("image/png"),
            webp: weighs(header, "image/webp").unwrap_or(false),
        }
    }

    /// The best format for a picture. A client that takes none of the three gets the one that is
    /// understood everywhere: a picture says more than a 406.
    #[must_use]
    pub fn choose(self, kind: Kind) -> Format {
        let best_first: &[(Format, bool)] = match kind {
            Kind::Photograph => &[
                (Format::Jpeg, self.jpeg),
                (Format::WebP, self.webp),
                (Format::Png, self.png),
            ],
            Kind::Drawing => &[(Format::Png, self.png), (Format::WebP, self.webp)],
            Kind::Cutout => &[(Format::WebP, self.webp), (Format::Png, self.png)],
        };
        let taken = best_first.iter().find(|(_, taken)| *taken);
        taken.map_or(kind.everywhere(), |(format, _)| *format)
    }

    /// One letter for each format taken: with the source and the parameters it decides the answer.
    #[must_use]
    pub fn letters(self) -> String {
        let letters = [(self.jpeg, 'j'), (self.png, 'p'), (self.webp, 'w')];
        letters
            .iter()
            .filter(|(taken, _)| *taken)
            .map(|(_, letter)| *letter)
            .collect()
    }
}

/// Whether `range` is listed, and if so whether its weight is above zero.
fn weighs(header: &str, range: &str) -> Option<bool> {
    header.split(',').find_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(range) {
            return None;
        }
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        Some(weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0)))
    })
}

#[cfg(test)]
mod tests;
