//! Chart: horizontal bars with whiskers, as a small SVG.
//!
//! In:    a title, a unit, and a median with its spread for each subject.
//! Out:   one self-contained file: readable in light and dark mode and by a screen reader, without
//!        a font of its own.
//! Never: cuts an axis: every bar begins at zero.

use std::fmt::Write;

use crate::statistics::Spread;

/// The kind of a bar, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Byway.
    Ours,
    /// Another program.
    Peer,
    /// A floor or a ceiling, for comparison.
    Bound,
}

impl Tone {
    const fn class(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Peer => "peer",
            Self::Bound => "bound",
        }
    }
}

/// One bar.
#[derive(Clone, Debug)]
struct Bar {
    label: String,
    tone: Tone,
    spread: Spread,
    /// The median as text.
    value: String,
}

/// One chart, for one question.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    title: String,
    unit: String,
    bars: Vec<Bar>,
}

/// All lengths are in SVG units, which are pixels at natural size.
const WIDTH: f64 = 760.0;
const LEFT: f64 = 260.0;
const RIGHT: f64 = 96.0;
const TOP: f64 = 58.0;
const STEP: f64 = 28.0;
const THICK: f64 = 16.0;
const BOTTOM: f64 = 12.0;

impl Chart {
    /// A chart without bars. `unit` names what a bar's length is, and which direction is better.
    pub(crate) fn new(title: &str, unit: &str) -> Self {
        Self {
            title: title.to_owned(),
            unit: unit.to_owned(),
            bars: Vec::new(),
        }
    }

    /// Adds a bar below the others. `value` is the median as the table writes it.
    pub(crate) fn bar(
        &mut self,
        label: &str,
        tone: Tone,
        spread: Spread,
        value: impl Into<String>,
    ) {
        self.bars.push(Bar {
            label: label.to_owned(),
            tone,
            spread,
            value: value.into(),
        });
    }

    /// Whether there is anything to draw.
    pub(crate) const fn is_empty(&self) -> bool {
        self.bars.is_empty()
    }

    /// All of it in one line, for readers who cannot see the picture.
    pub(crate) fn text(&self) -> String {
        let bars: Vec<String> = self
            .bars
            .iter()
            .map(|bar| format!("{} {}", bar.label, bar.value))
            .collect();
        format!("{}, {}: {}", self.title, self.unit, bars.join("; "))
    }

    /// The SVG text.
    pub(crate) fn svg(&self) -> String {
        let height = self.bars.len() as f64 * STEP + TOP + BOTTOM;
        let most = self
            .bars
            .iter()
            .map(|bar| bar.spread.most)
            .fold(0.0, f64::max);
        let scale = if most > 0.0 {
            (WIDTH - LEFT - RIGHT) / most
        } else {
            0.0
        };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\" aria-labelledby=\"t d\">\n<title id=\"t\">{}</title>\n\
             <desc id=\"d\">{}</desc>\n<style>\n{STYLE}</style>\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"8\"/>\n\
             <text class=\"title\" x=\"16\" y=\"25\">{}</text>\n<text class=\"unit\" x=\"16\" y=\"44\">{}</text>\n",
            escaped(&self.title),
            escaped(&self.text()),
            escaped(&self.title),
            escaped(&self.unit),
        );
        for (place, bar) in self.bars.iter().enumerate() {
            draw(&mut svg, bar, TOP + place as f64 * STEP, scale);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// One bar from the axis on, whiskers from the least to the most value, and the median as text to
/// the right of both.
fn draw(svg: &mut String, bar: &Bar, top: f64, scale: f64) {
    let (middle, text) = (top + THICK / 2.0, top + THICK / 2.0 + 4.5);
    let [least, end, most] =
        [bar.spread.least, bar.spread.median, bar.spread.most].map(|value| LEFT + value * scale);
    let class = bar.tone.class();
    let (label, value) = (escaped(&bar.label), escaped(&bar.value));
    let behind = most.max(end) + 7.0;
    // Writing to a String cannot fail.
    let _ = writeln!(
        svg,
        "<text class=\"label {class}\" x=\"{:.0}\" y=\"{text:.1}\">{label}</text>",
        LEFT - 10.0
    );
    let width = (end - LEFT).max(1.0);
    let _ = writeln!(
        svg,
        "<rect class=\"bar {class}\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{THICK}\" rx=\"2\"/>"
    );
    if most - least >= 1.0 {
        let (up, down) = (middle - 4.0, middle + 4.0);
        let _ = writeln!(
            svg,
            "<path class=\"whisker\" d=\"M{least:.1} {middle:.1}H{most:.1}M{least:.1} {up:.1}V{down:.1}M{most:.1} {up:.1}V{down:.1}\"/>"
        );
    }
    let _ = writeln!(
        svg,
        "<text class=\"value\" x=\"{behind:.1}\" y=\"{text:.1}\">{value}</text>"
    );
}

/// The page is part of the picture: text and background change together, whatever the site around
/// it does.
const STYLE: &str = "\
text { font: 13px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.unit { fill: #59636e; font-size: 12px }
.label { text-anchor: end }
.label.ours { font-weight: 600 }
.label.bound { fill: #59636e }
.value { font-variant-numeric: tabular-nums }
.page { fill: #ffffff }
.bar.ours { fill: #0969da }
.bar.peer { fill: #afb8c1 }
.bar.bound { fill: #dfe3e8 }
.whisker { stroke: #1f2328; stroke-width: 1.2; fill: none; opacity: .75 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.unit, .label.bound { fill: #9198a1 }
.page { fill: #0d1117 }
.bar.ours { fill: #4493f8 }
.bar.peer { fill: #59636e }
.bar.bound { fill: #30363d }
.whisker { stroke: #e6edf3 }
}
";

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        let mut chart = Chart::new("A & B <1 KiB>", "requests per CPU-s, more is better");
        chart.bar(
            "byway",
            Tone::Ours,
            Spread {
                least: 90.0,
                median: 100.0,
                most: 110.0,
            },
            "100",
        );
        chart.bar("peer", Tone::Peer, Spread::single(55.0), "55");
        chart
    }

    /// The value of `name="…"` in the first tag that begins with `tag` and holds `with`.
    fn attribute(svg: &str, tag: &str, with: &str, name: &str) -> f64 {
        let line = svg
            .lines()
            .find(|line| line.starts_with(tag) && line.contains(with))
            .unwrap();
        let value = line.split_once(&format!(" {name}=\"")).unwrap().1;
        value.split('"').next().unwrap().parse().unwrap()
    }

    #[test]
    fn bars_begin_at_zero_and_the_longest_whisker_fills_the_width() {
        let svg = chart().svg();
        let (ours, peer) = (
            attribute(&svg, "<rect", "bar ours", "width"),
            attribute(&svg, "<rect", "bar peer", "width"),
        );
        assert!((peer / ours - 0.55).abs() < 0.005, "{ours} {peer}");
        let full = WIDTH - LEFT - RIGHT;
        assert!((ours - full / 1.1).abs() < 0.1, "{ours} of {full}");
    }

    #[test]
    fn what_was_measured_once_has_no_whiskers() {
        assert_eq!(chart().svg().matches("class=\"whisker\"").count(), 1);
    }

    #[test]
    fn every_tag_is_closed_and_no_text_is_read_as_markup() {
        let svg = chart().svg();
        assert!(svg.contains("A &amp; B &lt;1 KiB&gt;"), "{svg}");
        for tag in ["svg", "title", "desc", "style", "text"] {
            let opened =
                svg.matches(&format!("<{tag} ")).count() + svg.matches(&format!("<{tag}>")).count();
            assert_eq!(opened, svg.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(svg.contains("prefers-color-scheme: dark"));
        assert!(
            !svg.contains("url(") && !svg.contains("@import"),
            "it loads something"
        );
    }

    #[test]
    fn the_text_says_what_the_bars_show() {
        assert_eq!(
            chart().text(),
            "A & B <1 KiB>, requests per CPU-s, more is better: byway 100; peer 55"
        );
    }

    #[test]
    fn a_chart_of_zeroes_has_bars_that_can_be_seen() {
        let mut chart = Chart::new("t", "u");
        chart.bar("none", Tone::Peer, Spread::single(0.0), "0");
        assert!(attribute(&chart.svg(), "<rect", "bar peer", "width") >= 1.0);
    }
}
