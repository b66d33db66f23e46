//! The table's ratios to SELECT 1 as bars.

use std::fmt::Write as _;

use crate::connection::Result;
use crate::rounds::Standings;

const WIDTH: f64 = 860.0;
/// Where bars begin, and the length of that for 1.
const LEFT: f64 = 350.0;
const ONE: f64 = 400.0;
const LINE: f64 = 19.0;
/// Bars end here at the latest.
const LONGEST: f64 = WIDTH - LEFT - 50.0;

const OURS: &str = "#2f6fb7";
const OTHERS: &str = "#a9b1ba";

/// The groups that have floors: what the others have beside these would make it too long.
pub fn svg(results: &[Standings]) -> Result<String> {
    let results: Vec<&Standings> =
        results.iter().filter(|standings| standings.group.has_floors()).collect();
    let lines: usize = results.iter().map(|standings| standings.scores.len() + 2).sum();
    let height = LINE * (lines + 2) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Calls a second, as a share of SELECT 1</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">Calls a second; SELECT 1 in the same group is 1</text>\n\
         <line x1=\"{x}\" y1=\"28\" x2=\"{x}\" y2=\"{height}\" stroke=\"#d0d4d8\"/>\n",
        x = LEFT + ONE,
    );
    let mut y = LINE * 2.0;
    for Standings { group, scores } in results {
        y += LINE;
        writeln!(svg, "<text x=\"10\" y=\"{y}\" font-weight=\"bold\">{group}</text>")?;
        for score in scores {
            y += LINE;
            let ratio = score.ratio_to(&scores[0]);
            let length = (ratio * ONE).clamp(0.5, LONGEST);
            let colour = if score.competitor.is_ours() { OURS } else { OTHERS };
            writeln!(
                svg,
                "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{LEFT}\" y=\"{}\" width=\"{length:.1}\" height=\"13\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{y}\">{ratio:.2}</text>",
                LEFT - 6.0,
                score.competitor.name.replace('`', ""),
                y - 11.0,
                LEFT + length + 5.0,
            )?;
        }
        y += LINE;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}
