//! What samples say: quantiles, the share below a value, fairness. Pure.

/// Values in order; times in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Distribution {
    sorted: Vec<u64>,
}

impl Distribution {
    pub(crate) fn new(values: impl IntoIterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = values.into_iter().collect();
        sorted.sort_unstable();
        Self { sorted }
    }

    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The least value that at least `share` of all do not exceed; None without values.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "far fewer than 2^52 values, and a share from 0 to 1"
    )]
    pub(crate) fn quantile(&self, share: f64) -> Option<u64> {
        let rank = (share * self.sorted.len() as f64).ceil() as usize;
        self.sorted.get(rank.max(1) - 1).copied()
    }

    pub(crate) fn min(&self) -> Option<u64> {
        self.sorted.first().copied()
    }

    pub(crate) fn max(&self) -> Option<u64> {
        self.sorted.last().copied()
    }

    /// The share of values that are at most `value`.
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 values")]
    pub(crate) fn below(&self, value: u64) -> f64 {
        let below = self.sorted.partition_point(|known| *known <= value);
        below as f64 / self.sorted.len().max(1) as f64
    }
}

/// How evenly something was given out: 1 when all got the same, 1/n when one got all (Jain, Chiu
/// and Hawe, "A quantitative measure of fairness", 1984).
pub(crate) fn jain(shares: &[u64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let (sum, squares, count) = (
        shares.iter().sum::<u64>() as f64,
        shares
            .iter()
            .map(|share| (*share as f64).powi(2))
            .sum::<f64>(),
        shares.len() as f64,
    );
    if squares == 0.0 {
        return 1.0;
    }
    sum * sum / (count * squares)
}

#[cfg(test)]
mod tests {
    use super::{Distribution, jain};

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let hundred = Distribution::new((1..=100).rev());
        let at = |share| hundred.quantile(share).unwrap();
        assert_eq!(
            [at(0.0), at(0.5), at(0.99), at(0.999), at(1.0)],
            [1, 50, 99, 100, 100]
        );
        assert_eq!((hundred.min(), hundred.max()), (Some(1), Some(100)));
        assert_eq!(Distribution::default().quantile(0.5), None);
        assert_eq!(Distribution::new([7]).quantile(0.99), Some(7));
    }

    #[test]
    fn shares_below_a_value() {
        let some = Distribution::new([10, 20, 20, 30]);
        let below = |value| some.below(value);
        assert!((below(9) - 0.0).abs() < 1e-9 && (below(20) - 0.75).abs() < 1e-9);
        assert!((below(30) - 1.0).abs() < 1e-9);
        assert!(Distribution::default().below(1).abs() < 1e-9);
    }

    #[test]
    fn fairness_from_all_the_same_to_one_for_all() {
        let near = |shares: &[u64], value: f64| (jain(shares) - value).abs() < 1e-9;
        assert!(near(&[5, 5, 5, 5], 1.0));
        assert!(near(&[8, 0, 0, 0], 0.25));
        assert!(near(&[0, 0], 1.0) && near(&[], 1.0));
    }
}
