//! Curves as an SVG, without a library: four panels, each of two curves, one above the other, over
//! the same logarithmic axis. The other axes begin at 0, so that flat looks flat.

use std::fmt::Write as _;

/// The size of a panel with its margins, and of the plot of a curve within.
const PANEL: (f64, f64) = (440.0, 330.0);
const PLOT: (f64, f64) = (350.0, 90.0);
/// Where the first plot begins, and how far apart they are.
const MARGIN: (f64, f64) = (66.0, 52.0);
const PLOT_DISTANCE: f64 = 136.0;
const COLORS: [&str; 2] = ["#1f5fa8", "#b4490f"];
/// Lines across a plot, besides the one at 0.
const STEPS: u32 = 3;

/// One curve, of positive numbers.
pub struct Curve {
    /// What it shows, with its unit.
    pub title: String,
    pub points: Vec<(f64, f64)>,
}

/// Two curves over one axis.
pub struct Panel {
    /// What grows.
    pub title: &'static str,
    pub curves: [Curve; 2],
}

/// The picture, two panels a line.
pub fn chart(panels: &[Panel]) -> String {
    let lines = panels.len().div_ceil(2);
    let (width, height) = (PANEL.0 * 2.0, PANEL.1 * lines as f64);
    let mut svg = Svg(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\" \
         fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    ));
    for (index, panel) in panels.iter().enumerate() {
        let left = PANEL.0 * (index % 2) as f64 + MARGIN.0;
        let top = PANEL.1 * (index / 2) as f64 + MARGIN.1;
        svg.panel(panel, left, top);
    }
    svg.0 + "</svg>\n"
}

struct Svg(String);

impl Svg {
    fn panel(&mut self, panel: &Panel, left: f64, top: f64) {
        let middle = left + PLOT.0 / 2.0;
        let attributes = "text-anchor=\"middle\" font-size=\"14\" font-weight=\"bold\"";
        self.text(middle, top - 30.0, attributes, panel.title);
        for (index, curve) in panel.curves.iter().enumerate() {
            let top = top + PLOT_DISTANCE * index as f64;
            let color = COLORS[index];
            self.text(left, top - 7.0, &format!("fill=\"{color}\""), &curve.title);
            self.curve(curve, left, top, color);
        }
    }

    fn curve(&mut self, curve: &Curve, left: f64, top: f64, color: &str) {
        let (width, height) = PLOT;
        let bottom = top + height;
        let xs = || curve.points.iter().map(|(x, _)| x.log10());
        let (first, last) = (xs().fold(f64::MAX, f64::min), xs().fold(f64::MIN, f64::max));
        let step = step(curve.points.iter().map(|(_, y)| *y).fold(0.0, f64::max));
        let most = step * f64::from(STEPS);
        // Also where there is one point only.
        let x_at = |x: f64| left + width * (x.log10() - first) / (last - first).max(1e-9);
        let y_at = |y: f64| bottom - height * y / most;
        for line in 0..=STEPS {
            let value = step * f64::from(line);
            let y = y_at(value);
            self.line((left, y), (left + width, y), "#ddd");
            let label = number(value);
            self.text(left - 6.0, y + 4.0, "text-anchor=\"end\"", &label);
        }
        for (x, _) in &curve.points {
            let at = x_at(*x);
            self.line((at, bottom), (at, bottom + 4.0), "#888");
            self.text(at, bottom + 15.0, "text-anchor=\"middle\"", &power(*x));
        }
        let points = curve.points.iter().map(|(x, y)| (x_at(*x), y_at(*y)));
        let path: Vec<String> = points
            .clone()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        self.element(&format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
            path.join(" ")
        ));
        for (x, y) in points {
            self.element(&format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{color}\"/>"
            ));
        }
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), color: &str) {
        self.element(&format!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{color}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    /// The texts are our own: none needs escapes.
    fn text(&mut self, x: f64, y: f64, attributes: &str, text: &str) {
        self.element(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{text}</text>"
        ));
    }

    fn element(&mut self, element: &str) {
        writeln!(self.0, "{element}").expect("a string takes it");
    }
}

/// The smallest round number that reaches `most` in so many steps.
fn step(most: f64) -> f64 {
    let least = (most / f64::from(STEPS)).max(1e-6);
    let power = 10_f64.powf(least.log10().floor());
    let rounds = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let round = rounds.into_iter().find(|round| round * power >= least);
    round.unwrap_or(10.0) * power
}

/// Without the noise of binary fractions.
fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Powers of ten as such, with digits that stand high, from 10 thousand on.
fn power(x: f64) -> String {
    const HIGH: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let exponent = x.log10().round();
    match HIGH.get(exponent as usize) {
        Some(high) if x >= 10_000.0 && 10_f64.powf(exponent) == x => format!("10{high}"),
        _ => format!("{x}"),
    }
}
