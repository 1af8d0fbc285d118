//! The distribution of response times, drawn of characters. Pure.

use std::fmt::Write as _;

use super::axis::{Axis, label};
use super::figures::Distribution;

/// What the line is drawn of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ink {
    /// Braille patterns: two by four dots in each character.
    Braille,
    /// Stars, where nothing but ASCII can be shown.
    Ascii,
}

/// Characters left of the line: `100 % ┤`.
const MARGIN: usize = 7;

/// Rows of the line itself.
const ROWS: usize = 14;

/// The share of answers (upwards) that took at most so long (to the right), `width` characters
/// wide. Empty without values.
pub(crate) fn cdf(values: &Distribution, width: usize, ink: Ink) -> String {
    let (Some(min), Some(max)) = (values.min(), values.max()) else {
        return String::new();
    };
    let axis = Axis::over(min, max);
    let columns = width.clamp(MARGIN + 20, 120) - MARGIN;
    let mut canvas = Canvas::new(columns, ROWS, ink);
    let mut before = 0;
    for dot in 0..canvas.width {
        let right = axis.value(part(dot + 1, canvas.width));
        let height = share(values.below(whole(right)), canvas.height - 1);
        canvas.line(dot, before, height);
        before = height;
    }
    let mut text = String::new();
    for (row, line) in canvas.lines().into_iter().enumerate() {
        let name = match row {
            0 => "100 %",
            _ if row == ROWS / 2 => "50 %",
            _ if row == ROWS - 1 => "0 %",
            _ => "",
        };
        let edge = if ink == Ink::Braille { '│' } else { '|' };
        writeln!(text, "{name:>5} {edge}{}", line.trim_end()).expect(NEVER);
    }
    text + &foot(axis, columns, ink)
}

const NEVER: &str = "writing to a string does not fail";

/// The axis: a line, and under it the values that fit.
fn foot(axis: Axis, columns: usize, ink: Ink) -> String {
    let (corner, dash, tick) = match ink {
        Ink::Braille => ('└', '─', '┬'),
        Ink::Ascii => ('+', '-', '+'),
    };
    let mut line = vec![dash; columns];
    let mut names = vec![' '; columns + MARGIN + 8];
    let mut free = 0;
    for value in axis.ticks() {
        let column = share(axis.place(value), columns - 1);
        line[column] = tick;
        let name = match ink {
            Ink::Braille => label(value),
            Ink::Ascii => label(value).replace('µ', "u"),
        };
        let start = (MARGIN + column).saturating_sub(name.chars().count() / 2);
        if start >= free && start + name.chars().count() <= names.len() {
            free = start + name.chars().count() + 1;
            for (place, letter) in names[start..].iter_mut().zip(name.chars()) {
                *place = letter;
            }
        }
    }
    let line: String = line.into_iter().collect();
    let names: String = names.into_iter().collect();
    format!(
        "{:>width$}{corner}{line}\n{}\n",
        "",
        names.trim_end(),
        width = MARGIN - 1
    )
}

/// Dots that make up characters.
#[derive(Debug)]
struct Canvas {
    ink: Ink,
    columns: usize,
    rows: usize,
    /// In dots.
    width: usize,
    height: usize,
    set: Vec<bool>,
}

impl Canvas {
    fn new(columns: usize, rows: usize, ink: Ink) -> Self {
        let (across, down) = ink.dots();
        let (width, height) = (columns * across, rows * down);
        Self {
            ink,
            columns,
            rows,
            width,
            height,
            set: vec![false; width * height],
        }
    }

    /// Sets the dots of a column from one height to another, counted from below.
    fn line(&mut self, column: usize, from: usize, to: usize) {
        let (low, high) = (from.min(to), from.max(to));
        // A step shows its corner: the dot that the line came from belongs to the column before.
        let low = if low < high { low + 1 } else { low };
        for height in low..=high {
            self.set[(self.height - 1 - height) * self.width + column] = true;
        }
    }

    fn lines(&self) -> Vec<String> {
        let row = |row| {
            let letters = (0..self.columns).map(|column| self.letter(column, row));
            letters.collect()
        };
        (0..self.rows).map(row).collect()
    }

    fn letter(&self, column: usize, row: usize) -> char {
        let (across, down) = self.ink.dots();
        let is_set = |x, y| self.set[(row * down + y) * self.width + column * across + x];
        match self.ink {
            Ink::Ascii if is_set(0, 0) => '*',
            Ink::Ascii => ' ',
            Ink::Braille => {
                // Unicode numbers the dots of a pattern by columns, the lowest row last.
                const BITS: [[u32; 2]; 4] =
                    [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
                let mut pattern = 0;
                for (y, bits) in BITS.iter().enumerate() {
                    for (x, bit) in bits.iter().enumerate() {
                        pattern |= if is_set(x, y) { *bit } else { 0 };
                    }
                }
                let letter = char::from_u32(0x2800 + pattern);
                letter.filter(|_| pattern != 0).unwrap_or(' ')
            }
        }
    }
}

impl Ink {
    /// Dots of a character, across and down.
    const fn dots(self) -> (usize, usize) {
        match self {
            Self::Braille => (2, 4),
            Self::Ascii => (1, 1),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "dots of a chart")]
fn part(of: usize, whole: usize) -> f64 {
    of as f64 / whole as f64
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place within a chart"
)]
fn share(share: f64, whole: usize) -> usize {
    (share * whole as f64).round() as usize
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "microseconds that were seen"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::{Ink, ROWS, cdf};
    use crate::commands::bench::figures::Distribution;

    #[test]
    fn half_of_the_answers_are_half_way_up() {
        let half = Distribution::new((0..50).map(|_| 100_000).chain((0..50).map(|_| 200_000)));
        let drawn = cdf(&half, 47, Ink::Ascii);
        let lines: Vec<_> = drawn.lines().collect();
        assert_eq!(lines.len(), ROWS + 2);
        assert_eq!(lines[ROWS + 1].split_whitespace().next(), Some("0"));
        assert!(lines[ROWS + 1].contains("100 ms") && lines[ROWS + 1].ends_with("200 ms"));
        let stars = |line: &str| line.matches('*').count();
        assert!(stars(lines[6]) + stars(lines[7]) > 15, "{drawn}");
        assert!(stars(lines[13]) > 15 && stars(lines[0]) >= 1, "{drawn}");
        assert!(drawn.is_ascii());
    }

    #[test]
    fn every_line_fits_the_width() {
        let values = Distribution::new((1..=1000).map(|value| value * 977));
        for (width, ink) in [(10, Ink::Braille), (80, Ink::Braille), (200, Ink::Ascii)] {
            let drawn = cdf(&values, width, ink);
            let most = width.clamp(27, 120) + 4;
            for line in drawn.lines() {
                assert!(line.chars().count() <= most, "{width}: {line}");
            }
        }
        assert_eq!(cdf(&Distribution::default(), 80, Ink::Braille), "");
    }

    #[test]
    fn one_value_is_a_step() {
        let drawn = cdf(&Distribution::new([200_000]), 60, Ink::Braille);
        assert!(drawn.contains("200 ms") && drawn.contains('⣀'), "{drawn}");
    }
}
