//! The tables that a run prints, and the same figures as JSON.

use std::fmt::Write;

use crate::peers::{FLOOR, SUBJECT};
use crate::row::Reach;
use crate::runner::{Measured, median};

/// The summary (subject, best peer, ratio, reach) and below it every candidate's median.
pub fn markdown(rows: &[Measured], names: &[&str]) -> String {
    let mut text = String::from(
        "| operation | brimfs | best peer | times better | floor | reach | reached |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let best = row.best_peer().map_or("–".to_owned(), |(name, value)| {
            format!("{name} {}", row.unit.show(value))
        });
        let ratio = row
            .ratio()
            .map_or("–".to_owned(), |ratio| format!("{ratio:.1}"));
        let reached = match row.reached() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "–",
        };
        let _ = writeln!(
            text,
            "| {} | {} | {best} | {ratio} | {} | {} | {reached} |",
            row.title,
            cell(row, SUBJECT),
            cell(row, FLOOR),
            reach(row),
        );
    }
    let others: Vec<_> = names
        .iter()
        .filter(|&&name| name != SUBJECT && name != FLOOR)
        .collect();
    let _ = write!(text, "\n| operation |");
    others
        .iter()
        .for_each(|name| text.push_str(&format!(" {name} |")));
    text.push_str("\n|---|");
    others.iter().for_each(|_| text.push_str("---|"));
    for row in rows {
        let _ = write!(text, "\n| {} |", row.title);
        others
            .iter()
            .for_each(|name| text.push_str(&format!(" {} |", cell(row, name))));
    }
    text.push('\n');
    text + &scaling(rows)
}

/// What a second thread adds, for every candidate that ran both rows.
fn scaling(rows: &[Measured]) -> String {
    let find = |id| rows.iter().find(|row| row.id == id);
    let (Some(one), Some(two)) = (find("zipf_one_thread"), find("zipf_two_threads")) else {
        return String::new();
    };
    let mut parts = Vec::new();
    for &name in two.samples.keys() {
        if let (Some(one), Some(two)) = (one.median(name), two.median(name)) {
            parts.push(format!("{name} {:.2}", two / one));
        }
    }
    format!(
        "\nTwo threads against one, as a factor: {}.\n",
        parts.join(", ")
    )
}

fn cell(row: &Measured, name: &str) -> String {
    row.median(name)
        .map_or("–".to_owned(), |value| row.unit.show(value))
}

fn reach(row: &Measured) -> String {
    match row.reach {
        Reach::AtMost(value) => format!("≤ {}", row.unit.show(value)),
        Reach::AtLeast(value) => format!("≥ {}", row.unit.show(value)),
        Reach::OfFloor(share) => format!("≥ {:.0} % of the floor", share * 100.0),
        Reach::TimesFloor(times) => format!("≤ {times} times the floor"),
        Reach::FloorPlus(more) => format!("≤ the floor + {}", row.unit.show(more)),
        Reach::TimesPeer(times) => format!("≥ {times:.0} times better"),
        Reach::Ahead => "ahead".to_owned(),
        Reach::Shown => "–".to_owned(),
    }
}

/// One object per row: the medians and every sample.
pub fn json(rows: &[Measured]) -> String {
    let rows: Vec<String> = rows.iter().map(json_row).collect();
    format!("{{\"rows\": [\n{}\n]}}\n", rows.join(",\n"))
}

fn json_row(row: &Measured) -> String {
    let candidates: Vec<String> = row
        .samples
        .iter()
        .map(|(name, samples)| {
            let median = median(samples).unwrap_or(f64::NAN);
            let samples: Vec<String> = samples.iter().map(|value| format!("{value:.3}")).collect();
            format!(
                "\"{name}\": {{\"median\": {median:.3}, \"samples\": [{}]}}",
                samples.join(", ")
            )
        })
        .collect();
    let or_null = |value: Option<String>| value.unwrap_or_else(|| "null".to_owned());
    format!(
        "  {{\"id\": \"{}\", \"title\": \"{}\", \"unit\": \"{:?}\", \"times_better\": {}, \
         \"reached\": {}, \"candidates\": {{{}}}}}",
        row.id,
        row.title.replace('"', "'"),
        row.unit,
        or_null(row.ratio().map(|ratio| format!("{ratio:.3}"))),
        or_null(row.reached().map(|reached| reached.to_string())),
        candidates.join(", "),
    )
}
