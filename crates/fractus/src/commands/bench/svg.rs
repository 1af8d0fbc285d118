//! The distribution of response times as a picture of its own: SVG without scripts, styles or
//! fonts from elsewhere. Pure.

use std::fmt::Write as _;

use super::axis::{Axis, label};
use super::figures::Distribution;

/// A line of the picture.
#[derive(Debug)]
pub(crate) struct Series<'a> {
    /// What it is, with its figures.
    pub(crate) name: String,
    pub(crate) values: &'a Distribution,
}

/// A picture.
#[derive(Debug)]
pub(crate) struct Picture<'a> {
    pub(crate) title: String,
    /// A line under the title.
    pub(crate) subtitle: String,
    pub(crate) series: Vec<Series<'a>>,
    /// A response time to mark, in microseconds, and what it is.
    pub(crate) mark: Option<(f64, String)>,
}

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 76.0;
/// Room for the axis, its name and two lines of legend.
const BOTTOM: f64 = 100.0;
/// Points of a line at most: more than there are pixels across.
const POINTS: u32 = 1_200;
const COLOURS: [&str; 4] = ["#1f6feb", "#d9480f", "#2b8a3e", "#862e9c"];
const NEVER: &str = "writing to a string does not fail";

impl Picture<'_> {
    /// The picture as a file.
    pub(crate) fn svg(&self) -> String {
        let all = self.series.iter().map(|series| series.values);
        let min = all.clone().filter_map(Distribution::min).min();
        let max = all.filter_map(Distribution::max).max();
        let axis = Axis::over(min.unwrap_or(0), max.unwrap_or(0));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        );
        text(
            &mut svg,
            (LEFT, 28.0),
            "font-size=\"17\" font-weight=\"bold\"",
            &self.title,
        );
        text(&mut svg, (LEFT, 50.0), "fill=\"#555555\"", &self.subtitle);
        grid(&mut svg, axis);
        if let Some((value, name)) = &self.mark {
            mark(&mut svg, axis, *value, name);
        }
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            line(&mut svg, axis, series.values, colour);
        }
        self.legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    /// Which line is which, under the axis.
    fn legend(&self, svg: &mut String) {
        let mut at = HEIGHT - BOTTOM + 66.0;
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let (to, middle) = (LEFT + 26.0, at - 4.0);
            writeln!(
                svg,
                "<path d=\"M{LEFT} {middle:.1}H{to:.1}\" stroke=\"{colour}\" stroke-width=\"2\"/>"
            )
            .expect(NEVER);
            text(svg, (to + 8.0, at), "", &series.name);
            at += 20.0;
        }
    }
}

/// Where a value and a share stand on paper.
fn point(axis: Axis, value: f64, share: f64) -> (f64, f64) {
    let x = LEFT + axis.place(value) * (WIDTH - LEFT - RIGHT);
    let y = HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
    (x, y)
}

fn grid(svg: &mut String, axis: Axis) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for value in axis.ticks() {
        let (x, _) = point(axis, value, 0.0);
        rule(svg, &format!("M{x:.1} {TOP}V{bottom}"));
        let place = (x, bottom + 18.0);
        text(svg, place, "text-anchor=\"middle\"", &label(value));
    }
    for percent in [0_u8, 25, 50, 75, 90, 100] {
        let (_, y) = point(axis, 0.0, f64::from(percent) / 100.0);
        rule(svg, &format!("M{LEFT} {y:.1}H{right}"));
        let place = (LEFT - 8.0, y + 4.0);
        text(svg, place, "text-anchor=\"end\"", &format!("{percent} %"));
    }
    let below = (f64::midpoint(LEFT, right), bottom + 40.0);
    text(svg, below, "text-anchor=\"middle\"", "response time");
    let beside = format!(
        "text-anchor=\"middle\" transform=\"rotate(-90 18 {0})\"",
        HEIGHT / 2.0
    );
    text(svg, (18.0, HEIGHT / 2.0), &beside, "share of answers");
}

fn rule(svg: &mut String, path: &str) {
    writeln!(svg, "<path d=\"{path}\" stroke=\"#e3e3e3\"/>").expect(NEVER);
}

fn mark(svg: &mut String, axis: Axis, value: f64, name: &str) {
    let (x, _) = point(axis, value, 0.0);
    let bottom = HEIGHT - BOTTOM;
    writeln!(
        svg,
        "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#888888\" stroke-dasharray=\"5 4\"/>"
    )
    .expect(NEVER);
    // Left of its line in the right half, so that it stays on the paper.
    let (at, anchor) = if axis.place(value) > 0.5 {
        (x - 6.0, "end")
    } else {
        (x + 6.0, "start")
    };
    let style = format!("fill=\"#555555\" text-anchor=\"{anchor}\"");
    text(svg, (at, TOP + 14.0), &style, name);
}

/// A staircase: the share of values up to each place.
fn line(svg: &mut String, axis: Axis, values: &Distribution, colour: &str) {
    if values.is_empty() {
        return;
    }
    let mut path = String::new();
    let mut before = f64::NAN;
    for step in 0..=POINTS {
        let value = axis.value(f64::from(step) / f64::from(POINTS));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "microseconds that were seen"
        )]
        let share = values.below(value.ceil() as u64);
        if (share - before).abs() < 1e-9 {
            continue;
        }
        let (x, y) = point(axis, value, share);
        if path.is_empty() {
            write!(path, "M{x:.1} {y:.1}").expect(NEVER);
        } else {
            write!(path, "H{x:.1}V{y:.1}").expect(NEVER);
        }
        before = share;
    }
    write!(path, "H{:.1}", WIDTH - RIGHT).expect(NEVER);
    writeln!(
        svg,
        "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
    )
    .expect(NEVER);
}

fn text(svg: &mut String, (x, y): (f64, f64), style: &str, text: &str) {
    let text = escape(text);
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{text}</text>").expect(NEVER);
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{Picture, Series};
    use crate::commands::bench::figures::Distribution;

    fn picture(values: &Distribution) -> String {
        let series = |name: &str| Series {
            name: name.to_owned(),
            values,
        };
        Picture {
            title: "a < b & c".to_owned(),
            subtitle: "two lines".to_owned(),
            series: vec![series("all"), series("first second")],
            mark: Some((200_000.0, "the work itself".to_owned())),
        }
        .svg()
    }

    #[test]
    fn a_picture_says_what_it_shows() {
        let svg = picture(&Distribution::new([200_000, 210_000, 300_000]));
        for told in [
            "a &lt; b &amp; c",
            "response time",
            "share of answers",
            ">100 ms<",
            ">50 %<",
            ">first second<",
            ">the work itself<",
        ] {
            assert!(svg.contains(told), "{told} is missing of {svg}");
        }
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("fill=\"none\"").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn many_values_are_few_points() {
        let svg = picture(&Distribution::new(
            (0..200_000).map(|value| value * 7 + 100),
        ));
        assert!(svg.len() < 100_000, "{} bytes", svg.len());
    }

    #[test]
    fn nothing_is_a_picture_too() {
        let svg = picture(&Distribution::default());
        assert!(svg.contains("</svg>") && !svg.contains("NaN"), "{svg}");
    }
}
