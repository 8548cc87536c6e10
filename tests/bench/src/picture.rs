//! The ratios as a picture (SVG): one bar for each shape of load, from etcd's 1 outwards, on a scale of doublings.

use std::fmt::Write;

use crate::report::{ETCD, OURS, Report};
use crate::shape::SHAPES;
use crate::spread::{Spread, grouped};

/// Lengths, in user units.
const WIDTH: f64 = 860.0;
const ROW: f64 = 30.0;
const BAR: f64 = 16.0;
const TOP: f64 = 58.0;
/// Where bars may be; names are left of it, figures right.
const LEFT: f64 = 210.0;
const RIGHT: f64 = 620.0;
/// What is shown of one axis at least, in doublings.
const LEAST: (i32, i32) = (-1, 2);

/// The picture of a report; none if no load was measured on both.
pub(crate) fn picture(report: &Report) -> Option<String> {
    let rows: Vec<Row> = SHAPES.iter().filter_map(|shape| Row::of(report, shape.name)).collect();
    if rows.is_empty() {
        return None;
    }
    let axis = Axis::of(&rows);
    let height = (1..=rows.len()).fold(TOP + 14.0, |height, _| height + ROW);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<title>Calls a second, Quorate : etcd</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"16\" fill=\"#1f2933\">Calls a second, Quorate : etcd \
         (median of rounds, least to most)</text>\n"
    );
    axis.draw(&mut svg, height);
    let mut y = TOP;
    for row in &rows {
        row.draw(&mut svg, &axis, y);
        y += ROW;
    }
    svg += "</svg>\n";
    Some(svg)
}

/// A shape.
struct Row {
    name: &'static str,
    ratio: Spread,
    ours: f64,
    etcd: f64,
}

impl Row {
    fn of(report: &Report, name: &'static str) -> Option<Self> {
        let median = |system| Some(Spread::of(report.of(name, system).map(|m| m.per_second))?.median);
        let ratio = report.ratio(name, |m| m.per_second)?;
        // Those that are no load have no calls a second.
        ratio.median.is_finite().then_some(())?;
        Some(Self { name, ratio, ours: median(OURS)?, etcd: median(ETCD)? })
    }

    fn draw(&self, svg: &mut String, axis: &Axis, y: f64) {
        let (one, end) = (axis.x(1.0), axis.x(self.ratio.median));
        let (left, width) = (one.min(end), (end - one).abs());
        let colour = if self.ratio.median >= 1.0 { "#2f855a" } else { "#c05621" };
        let middle = y + ROW / 2.0;
        let (top, text) = (middle - BAR / 2.0, middle + 4.5);
        let (least, most) = (axis.x(self.ratio.least), axis.x(self.ratio.most));
        let figures =
            format!("{:.2} ({} : {})", self.ratio.median, grouped(self.ours, 0), grouped(self.etcd, 0));
        // Writing to a string does not fail.
        let _ = writeln!(
            svg,
            "<text x=\"12\" y=\"{text:.1}\" fill=\"#1f2933\">{}</text>\
             <rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
             <line x1=\"{least:.1}\" x2=\"{most:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"#1f2933\" \
             stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{text:.1}\" fill=\"#1f2933\">{figures}</text>",
            self.name,
            RIGHT + 16.0,
        );
    }
}

/// Ratios from left to right.
struct Axis {
    /// The exponents of 2 at its ends.
    ends: (i32, i32),
}

impl Axis {
    fn of(rows: &[Row]) -> Self {
        let mut ends = LEAST;
        for row in rows {
            while row.ratio.least < f64::powi(2.0, ends.0) && ends.0 > -10 {
                ends.0 -= 1;
            }
            while row.ratio.most > f64::powi(2.0, ends.1) && ends.1 < 10 {
                ends.1 += 1;
            }
        }
        Self { ends }
    }

    fn x(&self, ratio: f64) -> f64 {
        let (first, last) = (f64::from(self.ends.0), f64::from(self.ends.1));
        LEFT + (ratio.log2().clamp(first, last) - first) / (last - first) * (RIGHT - LEFT)
    }

    fn draw(&self, svg: &mut String, height: f64) {
        for exponent in self.ends.0..=self.ends.1 {
            let ratio = f64::powi(2.0, exponent);
            let x = self.x(ratio);
            let (colour, label) = if exponent == 0 {
                ("#1f2933", "1 = etcd".to_owned())
            } else {
                ("#cbd5e0", ratio.to_string())
            };
            let bottom = height - 10.0;
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom:.1}\" stroke=\"{colour}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#52606d\">{label}</text>",
                TOP - 8.0,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(least: f64, median: f64, most: f64) -> Row {
        Row { name: "writes-1", ratio: Spread { median, least, most }, ours: 2_000.0, etcd: 1_000.0 }
    }

    #[test]
    fn the_axis_holds_every_ratio_and_doublings_are_equally_far_apart() {
        let axis = Axis::of(&[row(0.2, 1.0, 9.0)]);
        assert_eq!(axis.ends, (-3, 4));
        assert!((axis.x(0.125) - LEFT).abs() < 1e-6 && (axis.x(16.0) - RIGHT).abs() < 1e-6);
        assert!(((axis.x(4.0) - axis.x(2.0)) - (axis.x(2.0) - axis.x(1.0))).abs() < 1e-6);
    }

    #[test]
    fn a_bar_goes_from_etcds_one_to_the_median_and_says_its_figures() {
        let axis = Axis::of(&[row(1.9, 2.0, 2.1)]);
        let mut svg = String::new();
        row(1.9, 2.0, 2.1).draw(&mut svg, &axis, TOP);
        let (one, width) = (axis.x(1.0), axis.x(2.0) - axis.x(1.0));
        assert!(svg.contains(&format!("x=\"{one:.1}\" y=\"65.0\" width=\"{width:.1}\"")), "{svg}");
        assert!(svg.contains("2.00 (2 000 : 1 000)"), "{svg}");
    }
}
