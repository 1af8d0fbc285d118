//! Medians and percentiles.

/// A count as a figure.
pub(super) fn float(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
    let figure = count as f64;
    figure
}

/// The middle of the values; of an even number of them, the mean of the middle two.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let values = sorted(values);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

/// The least value that at least `percent` of a hundred values do not exceed.
pub(super) fn percentile(values: impl IntoIterator<Item = f64>, percent: usize) -> f64 {
    let values = sorted(values);
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values[rank - 1]
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    assert!(!values.is_empty(), "a benchmark without a sample is a bug");
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::{median, percentile};

    #[test]
    #[expect(clippy::float_cmp, reason = "values are passed through, or halves")]
    fn middles_and_ranks() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        let hundred = || (1..=100).map(f64::from);
        assert_eq!(percentile(hundred(), 50), 50.0);
        assert_eq!(percentile(hundred(), 99), 99.0);
        assert_eq!(percentile([5.0, 7.0], 99), 7.0);
        assert_eq!(percentile([5.0], 0), 5.0);
    }
}
