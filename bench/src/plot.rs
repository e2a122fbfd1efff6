//! Plots as SVG: throughput and p99 over the number of clients, each value beside its limit.

use std::fmt::Write as _;

use crate::float;

/// A line of a plot, with dashes when it is a limit.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it shows, for the legend.
    pub name: String,
    /// Whether it is what was measured beside the value.
    pub is_limit: bool,
    /// By clients, both above zero.
    pub points: Vec<(f64, f64)>,
}

const COLORS: [&str; 4] = ["#0b62a4", "#c0392b", "#1e8449", "#7d3c98"];
const WIDTH: f64 = 760.0;
const PANEL: f64 = 240.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const GAP: f64 = 60.0;
const TOP: f64 = 50.0;

/// A page with a panel for throughput, a panel for p99 and a legend. A value and its limit follow one another in each.
pub fn page(title: &str, throughput: &[Line], p99: &[Line]) -> String {
    let legend = TOP + 2.0 * (PANEL + GAP);
    let height = legend + 20.0 * float(throughput.len()) + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"26\" font-size=\"16\">{}</text>\n",
        escaped(title)
    );
    panel(&mut svg, TOP, "appends a second", throughput);
    panel(&mut svg, TOP + PANEL + GAP, "p99 in ms", p99);
    for (n, line) in throughput.iter().enumerate() {
        let y = legend + 20.0 * float(n);
        let end = LEFT + 40.0;
        polyline(&mut svg, n, line.is_limit, &format!("{LEFT},{y} {end},{y}"));
        let (x, y) = (end + 10.0, y + 4.0);
        writeln(&mut svg, format_args!("<text x=\"{x}\" y=\"{y}\">{}</text>", escaped(&line.name)));
    }
    svg + "</svg>\n"
}

/// One panel, both of its axes logarithmic.
fn panel(svg: &mut String, top: f64, unit: &str, lines: &[Line]) {
    let points = || lines.iter().flat_map(|line| &line.points);
    let largest = points().map(|point| point.0).fold(2.0, f64::max).log2();
    let (low, high) = points()
        .fold((f64::MAX, f64::MIN), |(low, high), point| (low.min(point.1), high.max(point.1)));
    let (low, high) = (low.log10().floor(), high.log10().ceil());
    let x = |clients: f64| LEFT + clients.log2() / largest * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| top + PANEL - (value.log10() - low) / (high - low) * PANEL;
    let mut power = low;
    while power <= high {
        let (value, at) = (10_f64.powf(power), y(10_f64.powf(power)));
        let (right, label, text) = (WIDTH - RIGHT, at + 4.0, LEFT - 8.0);
        writeln(
            svg,
            format_args!(
                "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ccc\"/>\
                 <text x=\"{text}\" y=\"{label:.1}\" text-anchor=\"end\">{value}</text>"
            ),
        );
        power += 1.0;
    }
    let bottom = top + PANEL;
    let mut clients = 1.0;
    while clients <= 2_f64.powf(largest) {
        let (at, label) = (x(clients), bottom + 18.0);
        writeln(
            svg,
            format_args!(
                "<path d=\"M{at:.1} {top}V{bottom}\" stroke=\"#eee\"/>\
                 <text x=\"{at:.1}\" y=\"{label}\" text-anchor=\"middle\">{clients}</text>"
            ),
        );
        clients *= 4.0;
    }
    let (middle, label, above) = ((LEFT + WIDTH - RIGHT) / 2.0, bottom + 36.0, top - 8.0);
    writeln(
        svg,
        format_args!(
            "<text x=\"{middle}\" y=\"{label}\" text-anchor=\"middle\">clients</text>\
             <text x=\"{LEFT}\" y=\"{above}\">{unit}</text>"
        ),
    );
    for (n, line) in lines.iter().enumerate() {
        let points = line.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)));
        polyline(svg, n, line.is_limit, &points.collect::<Vec<_>>().join(" "));
    }
}

/// The `n`-th line: a value and its limit have the same color.
fn polyline(svg: &mut String, n: usize, is_limit: bool, points: &str) {
    let color = COLORS[n / 2 % COLORS.len()];
    let dashes = if is_limit { " stroke-dasharray=\"6 5\"" } else { "" };
    writeln(
        svg,
        format_args!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"{dashes}/>"
        ),
    );
}

fn writeln(svg: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(svg, "{line}").expect("a String takes everything");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
