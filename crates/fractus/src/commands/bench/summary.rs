//! What an experiment found, for people and for programs. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::figures::{Distribution, jain};
use super::load::{Sample, Seen};
use super::svg::{Picture, Series};
use crate::table::{Align, Table};
use crate::time::micros;

/// Seconds that are shown one by one; the file has all.
const SECONDS_SHOWN: usize = 5;

const SECOND: u64 = 1_000_000;

/// What was to be done.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Parameters {
    pub(super) function: String,
    pub(super) kind: Kind,
    /// Whether the function was deployed for this alone and had no instance.
    pub(super) from_zero: bool,
    pub(super) concurrency: u32,
    pub(super) work_us: u64,
    pub(super) duration_us: u64,
    /// Processors of the machine.
    pub(super) cores: usize,
}

/// What a request does with its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Sleep,
    Spin,
}

/// What was measured besides the requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Around {
    /// Calls that found no instance ready, by the node's counters.
    pub(super) cold_starts: u64,
    /// Answers a second that the machine can give, for work that spins.
    pub(super) floor_rate: Option<f64>,
}

/// What was found. Times are microseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    pub(super) parameters: Parameters,
    /// From the first request to the last answer.
    pub(super) elapsed_us: u64,
    pub(super) answers: u64,
    pub(super) answers_per_second: f64,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) unfinished: u64,
    pub(super) overall: Quantiles,
    /// By the second in which a request began.
    pub(super) seconds: Vec<Quantiles>,
    pub(super) instances: Instances,
    /// By connection.
    pub(super) fairness: Fairness,
    pub(super) floor: Option<Floor>,
}

/// Response times of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Quantiles {
    pub(super) answers: usize,
    pub(super) p50_us: u64,
    pub(super) p90_us: u64,
    pub(super) p99_us: u64,
    #[serde(rename = "p99.9_us")]
    pub(super) p999_us: u64,
    pub(super) max_us: u64,
}

/// Instances that said who they are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Instances {
    pub(super) distinct: usize,
    /// When as many as there are outstanding requests had answered.
    pub(super) all_after_us: Option<u64>,
    /// When as many answers were there.
    pub(super) answers_after_us: Option<u64>,
    pub(super) cold_starts: u64,
}

/// How evenly answers were given out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Fairness {
    pub(super) least: u64,
    pub(super) most: u64,
    pub(super) jain: f64,
}

/// What the machine could have done.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Floor {
    /// Answers a second, measured without a node.
    pub(super) answers_per_second: f64,
    /// The time that the answers would have taken so.
    pub(super) least_us: f64,
    /// The time they took, by that.
    pub(super) ratio: f64,
}

impl Summary {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(super) fn new(parameters: Parameters, seen: &Seen, around: Around) -> Self {
        let answers = || seen.samples.iter().filter(|sample| sample.is_answer());
        let elapsed_us = answers().map(Sample::ended_us).max().unwrap_or(0);
        let count = answers().count();
        let rate = count as f64 * SECOND as f64 / elapsed_us.max(1) as f64;
        let mut ends: Vec<u64> = answers().map(Sample::ended_us).collect();
        ends.sort_unstable();
        let wanted = parameters.concurrency as usize;
        let floor = around.floor_rate.map(|possible| Floor {
            answers_per_second: possible,
            least_us: count as f64 / possible * SECOND as f64,
            ratio: possible / rate,
        });
        Self {
            elapsed_us,
            answers: count as u64,
            answers_per_second: rate,
            errors: seen.errors.clone(),
            unfinished: seen.unfinished,
            overall: Quantiles::of(&times(answers())),
            seconds: seconds(&parameters, &seen.samples),
            instances: Instances {
                distinct: seen.instances.len(),
                all_after_us: seen.instances.get(wanted - 1).copied(),
                answers_after_us: ends.get(wanted - 1).copied(),
                cold_starts: around.cold_starts,
            },
            fairness: fairness(&parameters, &seen.samples),
            floor,
            parameters,
        }
    }

    /// What was done, in one line.
    pub(super) fn title(&self) -> String {
        let Parameters {
            function,
            kind,
            from_zero,
            concurrency,
            work_us,
            duration_us,
            ..
        } = &self.parameters;
        let does = match kind {
            _ if !from_zero => format!("of {function}"),
            Kind::Sleep => format!("each sleeping {}", micros(*work_us)),
            Kind::Spin => format!("each spinning {}", micros(*work_us)),
        };
        format!(
            "burst: {concurrency} requests outstanding, {does}, for {}",
            micros(*duration_us)
        )
    }

    /// All of it for people.
    pub(super) fn text(&self) -> String {
        let from = if self.parameters.from_zero {
            ", from zero instances"
        } else {
            ""
        };
        let mut text = format!("{}{from}\n\n", self.title());
        let mut line = |name: &str, told: String| {
            writeln!(text, "{name:<13}{told}").expect("writing to a string does not fail");
        };
        line(
            "answers",
            format!(
                "{} in {}, {:.1}/s",
                self.answers,
                micros(self.elapsed_us),
                self.answers_per_second
            ),
        );
        line("errors", self.errors());
        line("instances", self.instances());
        line("cold starts", self.instances.cold_starts.to_string());
        let Fairness { least, most, jain } = self.fairness;
        let shares = format!("{least} to {most} answers a connection, Jain's index {jain:.4}");
        line("fairness", shares);
        if let Some(floor) = self.floor {
            line("floor", self.floor(floor));
        }
        text.push('\n');
        text + &self.table()
    }

    fn errors(&self) -> String {
        let mut told: Vec<String> = self
            .errors
            .iter()
            .map(|(what, count)| format!("{count} × {what}"))
            .collect();
        if self.unfinished > 0 {
            told.push(format!("{} unfinished when interrupted", self.unfinished));
        }
        if told.is_empty() {
            return "0".to_owned();
        }
        told.join(", ")
    }

    fn instances(&self) -> String {
        let Instances {
            distinct,
            all_after_us,
            answers_after_us,
            ..
        } = self.instances;
        let wanted = self.parameters.concurrency;
        let mut told = match all_after_us {
            Some(time) => format!("{distinct}; {wanted} had answered after {}", micros(time)),
            None if distinct == 0 => "not told by the function".to_owned(),
            None => format!("{distinct}, fewer than requests"),
        };
        if let Some(time) = answers_after_us {
            write!(told, "; {wanted} answers were there after {}", micros(time))
                .expect("writing to a string does not fail");
        }
        told
    }

    fn floor(&self, floor: Floor) -> String {
        format!(
            "{:.2} answers/s is what {} processors do without a node; this took {:.3} times as long",
            floor.answers_per_second, self.parameters.cores, floor.ratio
        )
    }

    fn table(&self) -> String {
        let mut table = Table::new([
            ("RESPONSE TIME", Align::Left),
            ("ANSWERS", Align::Right),
            ("P50", Align::Right),
            ("P90", Align::Right),
            ("P99", Align::Right),
            ("P99.9", Align::Right),
            ("MAX", Align::Right),
        ]);
        table.push(self.overall.row("all".to_owned()));
        for (second, quantiles) in self.seconds.iter().enumerate().take(SECONDS_SHOWN) {
            if quantiles.answers > 0 {
                table.push(quantiles.row(format!("begun in second {}", second + 1)));
            }
        }
        table.to_string()
    }

    /// The distribution as a picture.
    pub(super) fn picture(&self, samples: &[Sample]) -> String {
        let answers = || samples.iter().filter(|sample| sample.is_answer());
        let all = times(answers());
        let first = times(answers().filter(|sample| sample.begun_us < SECOND));
        let named = |what: &str, quantiles: &Quantiles| {
            let (p50, p99) = (micros(quantiles.p50_us), micros(quantiles.p99_us));
            format!("{what}: p50 {p50}, p99 {p99}")
        };
        let mut series = vec![Series {
            name: named("all", &self.overall),
            values: &all,
        }];
        if !first.is_empty() {
            series.push(Series {
                name: named("begun in the first second", &Quantiles::of(&first)),
                values: &first,
            });
        }
        Picture {
            title: self.title(),
            subtitle: self.subtitle(),
            series,
            mark: self.mark(),
        }
        .svg()
    }

    fn subtitle(&self) -> String {
        let of = match self.instances.distinct {
            0 => String::new(),
            distinct => format!(" of {distinct} instances"),
        };
        format!(
            "{} answers{of} in {}, {:.1}/s; {} processors",
            self.answers,
            micros(self.elapsed_us),
            self.answers_per_second,
            self.parameters.cores
        )
    }

    /// What no answer can be faster than.
    #[expect(clippy::cast_precision_loss, reason = "a place on paper")]
    fn mark(&self) -> Option<(f64, String)> {
        let Parameters {
            kind,
            from_zero,
            concurrency,
            work_us,
            ..
        } = self.parameters;
        match (kind, self.floor) {
            (Kind::Sleep, _) if from_zero => Some((work_us as f64, "the work itself".to_owned())),
            (Kind::Spin, Some(floor)) => {
                let wave = f64::from(concurrency) / floor.answers_per_second * SECOND as f64;
                Some((wave, "the machine's floor".to_owned()))
            }
            (Kind::Sleep | Kind::Spin, _) => None,
        }
    }
}

impl Quantiles {
    fn of(times: &Distribution) -> Self {
        let at = |share| times.quantile(share).unwrap_or(0);
        Self {
            answers: times.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
        }
    }

    fn row(&self, name: String) -> [String; 7] {
        let times = [
            self.p50_us,
            self.p90_us,
            self.p99_us,
            self.p999_us,
            self.max_us,
        ];
        let [p50, p90, p99, p999, max] = times.map(micros);
        [name, self.answers.to_string(), p50, p90, p99, p999, max]
    }
}

/// Response times.
pub(super) fn times<'a>(samples: impl Iterator<Item = &'a Sample>) -> Distribution {
    Distribution::new(samples.map(|sample| sample.took_us))
}

fn seconds(parameters: &Parameters, samples: &[Sample]) -> Vec<Quantiles> {
    let count = parameters.duration_us.div_ceil(SECOND);
    let mut seconds: Vec<Vec<u64>> = (0..count).map(|_| Vec::new()).collect();
    for sample in samples.iter().filter(|sample| sample.is_answer()) {
        let second = usize::try_from(sample.begun_us / SECOND).unwrap_or(usize::MAX);
        if let Some(second) = seconds.get_mut(second) {
            second.push(sample.took_us);
        }
    }
    let of = |times: Vec<u64>| Quantiles::of(&Distribution::new(times));
    seconds.into_iter().map(of).collect()
}

fn fairness(parameters: &Parameters, samples: &[Sample]) -> Fairness {
    let mut shares = vec![0_u64; parameters.concurrency as usize];
    for sample in samples.iter().filter(|sample| sample.is_answer()) {
        if let Some(share) = shares.get_mut(sample.connection as usize) {
            *share += 1;
        }
    }
    Fairness {
        least: shares.iter().min().copied().unwrap_or(0),
        most: shares.iter().max().copied().unwrap_or(0),
        jain: jain(&shares),
    }
}

/// Every request as a line of comma-separated values.
pub(super) fn csv(samples: &[Sample]) -> String {
    let mut text = "begun_us,took_us,connection,instance,status\n".to_owned();
    for sample in samples {
        let instance = sample.instance.map_or(String::new(), |it| it.to_string());
        let status = sample.status.map_or(String::new(), |it| it.to_string());
        writeln!(
            text,
            "{},{},{},{instance},{status}",
            sample.begun_us, sample.took_us, sample.connection
        )
        .expect("writing to a string does not fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Around, Kind, Parameters, Summary, csv};
    use crate::commands::bench::load::{Sample, Seen};

    fn parameters(kind: Kind) -> Parameters {
        Parameters {
            function: "burst".to_owned(),
            kind,
            from_zero: true,
            concurrency: 2,
            work_us: 200_000,
            duration_us: 2_000_000,
            cores: 2,
        }
    }

    /// Two connections: the first with three answers, the second with one and a refusal.
    fn seen() -> Seen {
        let sample = |begun_us, took_us, connection, status| Sample {
            begun_us,
            took_us,
            connection,
            instance: (status == 200).then_some(connection),
            status: Some(status),
        };
        Seen {
            samples: vec![
                sample(0, 210_000, 0, 200),
                sample(0, 230_000, 1, 200),
                sample(230_000, 1_000, 1, 429),
                sample(210_000, 800_000, 0, 200),
                sample(1_010_000, 990_000, 0, 200),
            ],
            errors: [("status 429 throttled".to_owned(), 1)].into(),
            instances: vec![210_000, 230_000],
            ..Seen::default()
        }
    }

    #[test]
    fn figures_of_an_experiment() {
        let around = Around {
            cold_starts: 2,
            floor_rate: Some(4.0),
        };
        let summary = Summary::new(parameters(Kind::Spin), &seen(), around);
        assert_eq!((summary.answers, summary.elapsed_us), (4, 2_000_000));
        assert!((summary.answers_per_second - 2.0).abs() < 1e-9);
        assert_eq!(summary.overall.p50_us, 230_000);
        let counts: Vec<_> = summary.seconds.iter().map(|it| it.answers).collect();
        assert_eq!(counts, [3, 1]);
        assert_eq!(summary.instances.all_after_us, Some(230_000));
        assert_eq!(summary.instances.answers_after_us, Some(230_000));
        assert_eq!((summary.fairness.least, summary.fairness.most), (1, 3));
        assert!((summary.floor.unwrap().ratio - 2.0).abs() < 1e-9);
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["parameters"]["kind"], "spin");
        assert_eq!(json["overall"]["p99.9_us"], 990_000);
    }

    #[test]
    fn people_are_told_all_of_it() {
        let around = Around {
            cold_starts: 2,
            floor_rate: None,
        };
        let summary = Summary::new(parameters(Kind::Sleep), &seen(), around);
        let text = summary.text();
        for told in [
            "burst: 2 requests outstanding, each sleeping 200 ms, for 2.00 s, from zero instances",
            "4 in 2.00 s, 2.0/s",
            "1 × status 429 throttled",
            "2; 2 had answered after 230 ms; 2 answers were there after 230 ms",
            "1 to 3 answers a connection, Jain's index 0.8000",
            "begun in second 2",
        ] {
            assert!(text.contains(told), "`{told}` is missing of\n{text}");
        }
        let picture = summary.picture(&seen().samples);
        assert!(picture.contains("the work itself") && picture.contains("first second"));
    }

    #[test]
    fn nothing_at_all_is_told_as_well() {
        let nothing = Seen {
            unfinished: 2,
            ..Seen::default()
        };
        let summary = Summary::new(parameters(Kind::Sleep), &nothing, Around::default());
        let text = summary.text();
        assert!(
            text.contains("2 unfinished") && text.contains("not told"),
            "{text}"
        );
        assert!(summary.picture(&[]).ends_with("</svg>\n"));
    }

    #[test]
    fn every_request_is_a_line() {
        let text = csv(&seen().samples);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[2], "0,230000,1,1,200");
        assert_eq!(lines[3], "230000,1000,1,,429");
    }
}
