//! What is asked: the key of the picture and how it is wanted.

use std::fmt;

use crate::reply::Refusal;

/// Longest side of an answer, in pixels.
pub const MAX_SIDE: u32 = 4096;

const DEFAULT_QUALITY: u8 = 80;

/// How a picture meets a box of which both sides are given. None of them enlarges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// All of the picture, inside the box.
    #[default]
    Contain,
    /// The box is filled and what hangs over is cut off, evenly on both sides.
    Cover,
    /// Stretched to the sides of the box.
    Fill,
}

/// The parameters of a request, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub fit: Fit,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
}

/// The key in `path`: what follows `/run/NAME/` or the function's own route, `/resize/`.
pub fn key(path: &str) -> Result<&str, Refusal> {
    let key = match path.strip_prefix("/run/") {
        Some(rest) => rest.split_once('/').map(|(_name, key)| key),
        None => path.strip_prefix("/resize/"),
    };
    let key = key
        .filter(|key| !key.is_empty())
        .ok_or_else(|| Refusal::new(404, "no picture is named; ask for /resize/KEY?w=320"))?;
    if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Refusal::new(400, "a key has no empty, `.` or `..` segment"));
    }
    Ok(key)
}

impl Params {
    /// Reads the query of a request. Whatever is not understood is refused, so that one picture
    /// is not made, and cached, once for every misspelling.
    pub fn parse(query: &str) -> Result<Self, Refusal> {
        let mut found = [None; 4];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(slot) = ["w", "h", "fit", "q"]
                .iter()
                .position(|known| *known == name)
            else {
                let text = format!("`{name}` is no parameter; w, h, fit and q are");
                return Err(Refusal::new(400, text));
            };
            if found[slot].replace(value).is_some() {
                return Err(Refusal::new(400, format!("`{name}` is given twice")));
            }
        }
        let [width, height, fit, quality] = found;
        Ok(Self {
            width: width
                .map(|value| number("w", value, MAX_SIDE))
                .transpose()?,
            height: height
                .map(|value| number("h", value, MAX_SIDE))
                .transpose()?,
            fit: fit.map(Fit::parse).transpose()?.unwrap_or_default(),
            quality: match quality {
                Some(value) => u8::try_from(number("q", value, 100)?).expect("100 fits"),
                None => DEFAULT_QUALITY,
            },
        })
    }

    /// The sides of the answer for a picture of `width` by `height`: at least one pixel, never
    /// more than the picture has.
    #[must_use]
    pub fn target(&self, width: u32, height: u32) -> (u32, u32) {
        match (self.fit, self.width, self.height) {
            (Fit::Cover, Some(w), Some(h)) => shrink(w, h, width, height),
            (Fit::Fill, Some(w), Some(h)) => (w.min(width), h.min(height)),
            (_, w, h) => shrink(width, height, w.unwrap_or(MAX_SIDE), h.unwrap_or(MAX_SIDE)),
        }
    }
}

/// The canonical form: equal for requests that are answered alike.
impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side: Option<u32>| side.unwrap_or(0);
        let fit = match self.fit {
            Fit::Contain => "contain",
            Fit::Cover => "cover",
            Fit::Fill => "fill",
        };
        let (width, height) = (side(self.width), side(self.height));
        write!(f, "{width}x{height}-{fit}-q{}", self.quality)
    }
}

impl Fit {
    fn parse(value: &str) -> Result<Self, Refusal> {
        match value {
            "contain" => Ok(Self::Contain),
            "cover" => Ok(Self::Cover),
            "fill" => Ok(Self::Fill),
            _ => {
                let text = format!("fit is contain, cover or fill, not `{value}`");
                Err(Refusal::new(400, text))
            }
        }
    }
}

fn number(name: &str, value: &str, max: u32) -> Result<u32, Refusal> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse() {
        Ok(number) if digits && (1..=max).contains(&number) => Ok(number),
        _ => {
            let text = format!("{name} is a whole number from 1 to {max}, not `{value}`");
            Err(Refusal::new(400, text))
        }
    }
}

/// `width` by `height`, made smaller in proportion until it fits the box.
fn shrink(width: u32, height: u32, box_width: u32, box_height: u32) -> (u32, u32) {
    // In whole numbers, so that the side that decides comes out exact.
    let scaled = |side: u32, numerator: u32, denominator: u32| {
        let (side, numerator, denominator) = (
            u64::from(side),
            u64::from(numerator),
            u64::from(denominator),
        );
        let rounded = (side * numerator + denominator / 2) / denominator;
        u32::try_from(rounded.max(1)).expect("not more than the side")
    };
    if width <= box_width && height <= box_height {
        (width, height)
    } else if u64::from(box_width) * u64::from(height) <= u64::from(box_height) * u64::from(width) {
        (box_width, scaled(height, box_width, width))
    } else {
        (scaled(width, box_height, height), box_height)
    }
}

#[cfg(test)]
mod tests;
