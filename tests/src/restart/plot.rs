//! Curves as an SVG: the share of guests that have their key, over time.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 20.0;
/// Height of the legend.
const BELOW: f64 = 170.0;
const COLORS: [&str; 6] = ["#0072b2", "#d55e00", "#cc79a7", "#56b4e9", "#e69f00", "#999999"];
/// Number of points of a curve.
const POINTS: usize = 200;

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// One curve per entry: its name, and the sorted times in seconds at which one more of `all` guests had its key.
pub(super) fn svg(curves: &[(String, Vec<f64>)], all: usize) -> String {
    let last = curves.iter().filter_map(|(_, times)| times.last()).copied().fold(1.0, f64::max);
    // The axis ends at a full minute.
    let end = (last / 60.0).ceil() * 60.0;
    let x = |seconds: f64| LEFT + seconds / end * WIDTH;
    let y = |part: f64| TOP + (1.0 - part) * HEIGHT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        LEFT + WIDTH + 30.0,
        TOP + HEIGHT + BELOW,
    );
    let mut line = |text: String| {
        svg.push_str(&text);
        svg.push('\n');
    };
    for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
        line(format!("<path d=\"M{LEFT} {0:.1}H{1}\" stroke=\"#ddd\"/>", y(part), LEFT + WIDTH));
        line(format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>", LEFT - 8.0, y(part) + 4.0, part * 100.0));
    }
    let step = [60.0, 120.0, 300.0, 600.0, 900.0].into_iter().find(|step| end / step <= 12.0).unwrap_or(1800.0);
    let mut at = 0.0;
    while at <= end {
        line(format!("<path d=\"M{0:.1} {TOP}V{1}\" stroke=\"#eee\"/>", x(at), TOP + HEIGHT));
        line(format!(
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{:.0} min</text>",
            x(at),
            TOP + HEIGHT + 18.0,
            at / 60.0
        ));
        at += step;
    }
    for (index, (name, times)) in curves.iter().enumerate() {
        let color = COLORS.get(index % COLORS.len()).copied().unwrap_or("black");
        let mut path = format!("M{:.1} {:.1}", x(0.0), y(0.0));
        for point in 1..=POINTS {
            let at = times.len() * point / POINTS;
            if let Some(seconds) = at.checked_sub(1).and_then(|at| times.get(at)) {
                write!(path, "L{:.1} {:.1}", x(*seconds), y(number(at) / number(all))).unwrap_or_default();
            }
        }
        line(format!("<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>"));
        let row = TOP + HEIGHT + 44.0 + number(index) * 20.0;
        line(format!("<path d=\"M{LEFT} {0}h30\" stroke=\"{color}\" stroke-width=\"3\"/>", row - 4.0));
        let short = if times.len() < all { format!(" ({} of {all} within 15 min)", times.len()) } else { String::new() };
        line(format!("<text x=\"{}\" y=\"{row}\">{name}{short}</text>", LEFT + 40.0));
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_within_the_frame_and_named() {
        let svg = svg(&[("ours".to_owned(), vec![1.0, 2.0, 90.0]), ("other".to_owned(), vec![5.0])], 3);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(svg.contains(">ours<") && svg.contains(">other (1 of 3 within 15 min)<"), "{svg}");
        assert_eq!(svg.matches("<path d=\"M60.0 380.0").count(), 2, "a curve each from nothing at the start");
    }
}
