//! The axis of times that charts share: linear over a narrow range, logarithmic over a wide one.
//! Pure.

/// An axis of times in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    is_logarithmic: bool,
}

/// From this ratio of its ends on, an axis is logarithmic.
const WIDE: f64 = 8.0;

impl Axis {
    /// An axis on which values from `min` to `max` have their places, with round ends.
    #[expect(clippy::cast_precision_loss, reason = "a place on paper")]
    pub(crate) fn over(min: u64, max: u64) -> Self {
        let (min, max) = (min.max(1) as f64, max.max(2) as f64);
        let is_logarithmic = max / min >= WIDE;
        if is_logarithmic {
            return Self {
                low: round(min, f64::floor),
                high: round(max, f64::ceil),
                is_logarithmic,
            };
        }
        let step = step(max);
        Self {
            low: 0.0,
            high: (max / step).ceil() * step,
            is_logarithmic,
        }
    }

    /// Where a value stands, from 0 to 1.
    pub(crate) fn place(self, value: f64) -> f64 {
        let place = if self.is_logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        place.clamp(0.0, 1.0)
    }

    /// The value that stands at a place.
    pub(crate) fn value(self, place: f64) -> f64 {
        if self.is_logarithmic {
            self.low * (self.high / self.low).powf(place)
        } else {
            self.low + place * (self.high - self.low)
        }
    }

    /// Round values to write along it.
    pub(crate) fn ticks(self) -> Vec<f64> {
        let mut ticks = Vec::new();
        if self.is_logarithmic {
            let mut decade = 10_f64.powf(self.low.log10().floor());
            while decade <= self.high {
                ticks.extend([1.0, 2.0, 5.0].map(|factor| factor * decade));
                decade *= 10.0;
            }
            let slack = 1e-9;
            ticks.retain(|tick| {
                *tick >= self.low * (1.0 - slack) && *tick <= self.high * (1.0 + slack)
            });
            return ticks;
        }
        let step = step(self.high);
        let mut tick = self.low;
        while tick <= self.high + step / 2.0 {
            ticks.push(tick);
            tick += step;
        }
        ticks
    }
}

/// The neighbouring value of 1, 2 or 5 times a power of ten.
fn round(value: f64, direction: fn(f64) -> f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let candidates = [0.5, 1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade);
    let slack = 1e-9;
    if direction(0.5) < 0.5 {
        let fits = |candidate: &&f64| **candidate <= value * (1.0 + slack);
        *candidates.iter().rfind(fits).unwrap_or(&candidates[0])
    } else {
        let fits = |candidate: &&f64| **candidate >= value * (1.0 - slack);
        *candidates.iter().find(fits).unwrap_or(&candidates[4])
    }
}

/// A round distance of ticks, so that there are four to ten up to `high`.
fn step(high: f64) -> f64 {
    let decade = 10_f64.powf(high.log10().floor());
    let steps = [0.1, 0.2, 0.5, 1.0].map(|factor| factor * decade);
    *steps
        .iter()
        .find(|step| high / **step <= 8.0)
        .unwrap_or(&decade)
}

/// A time as it is written along an axis: `200 µs`, `1.5 ms`, `20 s`.
pub(crate) fn label(micros: f64) -> String {
    let (value, unit) = match micros {
        _ if micros >= 1e6 => (micros / 1e6, "s"),
        _ if micros >= 1e3 => (micros / 1e3, "ms"),
        _ => (micros, "µs"),
    };
    let digits = format!("{value:.2}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    if digits == "0" {
        return digits.to_owned();
    }
    format!("{digits} {unit}")
}

#[cfg(test)]
mod tests {
    use super::{Axis, label};

    fn labels(min: u64, max: u64) -> String {
        let ticks = Axis::over(min, max).ticks();
        ticks.into_iter().map(label).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_narrow_range_is_linear_and_starts_at_nothing() {
        assert_eq!(
            labels(200_000, 350_000),
            "0 50 ms 100 ms 150 ms 200 ms 250 ms 300 ms 350 ms"
        );
        assert_eq!(labels(9_000_000, 10_400_000), "0 2 s 4 s 6 s 8 s 10 s 12 s");
    }

    #[test]
    fn a_wide_range_is_logarithmic_between_round_ends() {
        assert_eq!(labels(210, 3_900), "200 µs 500 µs 1 ms 2 ms 5 ms");
        assert_eq!(labels(100_000, 1_000_000), "100 ms 200 ms 500 ms 1 s");
    }

    #[test]
    fn places_and_values_belong_together() {
        for axis in [Axis::over(200_000, 350_000), Axis::over(210, 39_000)] {
            for place in [0.0, 0.25, 0.5, 1.0] {
                assert!((axis.place(axis.value(place)) - place).abs() < 1e-9);
            }
            assert!(axis.place(f64::MAX) <= 1.0 && axis.place(0.0) >= 0.0);
        }
    }

    #[test]
    fn what_is_all_the_same_has_an_axis() {
        let axis = Axis::over(0, 0);
        assert!(axis.ticks().len() > 1 && axis.place(1.0).is_finite());
    }
}
