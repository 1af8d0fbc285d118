//! Lower-case hexadecimal without an intermediate string.

use std::fmt;

/// Displays bytes as lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Hex;

    #[test]
    fn two_digits_a_byte() {
        assert_eq!(Hex(&[0x00, 0x0f, 0xff]).to_string(), "000fff");
        assert_eq!(Hex(&[]).to_string(), "");
    }
}
