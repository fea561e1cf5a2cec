//! The table and the file of results.

use serde::Serialize;

use crate::figures::{Figure, Samples};

/// One figure beside one peer's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    /// The figure's name; those of an entrant of ours beside Weft begin with its name.
    pub(crate) name: String,
    /// The unit of both values.
    pub(crate) unit: &'static str,
    /// Weft's value; none where Weft was not measured.
    pub(crate) weft: Option<f64>,
    /// The peer's name.
    pub(crate) peer: &'static str,
    /// The peer's value.
    pub(crate) peer_value: f64,
    /// Weft's value divided by the peer's.
    pub(crate) ratio: Option<f64>,
    /// Whether a ratio over 1 is in Weft's favour; one under 1 is otherwise.
    pub(crate) higher_is_better: bool,
}

/// Who is compared.
#[derive(Clone, Debug)]
pub(crate) struct Entrants {
    /// Weft, and what else of ours is measured beside it.
    pub(crate) ours: &'static [&'static str],
    /// The others, in the order of their columns.
    pub(crate) peers: Vec<&'static str>,
}

impl Entrants {
    fn all(&self) -> impl Iterator<Item = &'static str> {
        self.ours.iter().copied().chain(self.peers.iter().copied())
    }
}

/// What has been measured of one kind of program.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Who was to be measured.
    pub(crate) entrants: Entrants,
    /// What was measured.
    pub(crate) samples: Samples,
    /// How.
    pub(crate) legend: String,
    /// What else is to be known of single figures.
    pub(crate) notes: Vec<String>,
    /// Who was not measured, or not to the end, and why.
    pub(crate) missing: Vec<(&'static str, String)>,
    /// Whether one that was there broke down.
    pub(crate) failed: bool,
}

impl Part {
    /// Prints it for people.
    pub(crate) fn print(&self) {
        print!("\n{}\n", table(&self.samples, &self.entrants));
        println!("{}", self.legend);
        self.notes.iter().for_each(|note| println!("{note}"));
        for (name, reason) in &self.missing {
            println!("Not measured: {name}: {}", reason.lines().next().unwrap_or_default());
        }
    }
}

/// A row for every figure and peer.
#[must_use]
pub(crate) fn rows(samples: &Samples, entrants: &Entrants) -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, own) in entrants.ours.iter().enumerate() {
        if index == 0 {
            rows.extend(rows_of(samples, entrants, own, ""));
        } else if samples.has(own) {
            rows.extend(rows_of(samples, entrants, own, &format!("{own}/")));
        }
    }
    rows
}

fn rows_of(samples: &Samples, entrants: &Entrants, ours: &'static str, prefix: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for figure in samples.figures() {
        let own = samples.median(figure, ours);
        for peer in &entrants.peers {
            let Some(value) = samples.median(figure, peer) else { continue };
            rows.push(Row {
                name: format!("{prefix}{}", figure.name),
                unit: figure.unit,
                weft: own.map(rounded),
                peer,
                peer_value: rounded(value),
                ratio: own.and_then(|own| ratio(own, value)).map(rounded),
                higher_is_better: figure.higher_is_better,
            });
        }
    }
    rows
}

fn ratio(own: f64, theirs: f64) -> Option<f64> {
    Some(own / theirs).filter(|ratio| ratio.is_finite())
}

/// To four digits that mean something.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// The table for people: a line for each figure, a column for each entrant, and the ratio of each of ours to the best
/// peer.
#[must_use]
pub(crate) fn table(samples: &Samples, entrants: &Entrants) -> String {
    let columns = entrants.all().filter(|column| samples.has(column)).collect::<Vec<_>>();
    let mut head = vec!["figure".to_owned(), "unit".to_owned()];
    head.extend(columns.iter().map(|column| (*column).to_owned()));
    let ours = entrants.ours.iter().filter(|own| samples.has(own)).collect::<Vec<_>>();
    head.extend(ours.iter().map(|own| format!("{own} / best peer")));
    let mut lines = vec![head];
    for figure in samples.figures() {
        let mut line = vec![figure.name.clone(), figure.unit.to_owned()];
        for column in &columns {
            line.push(samples.median(figure, column).map_or_else(|| "-".to_owned(), shown));
        }
        line.extend(
            ours.iter().map(|own| verdict(samples, entrants, figure, own).unwrap_or_else(|| "-".to_owned())),
        );
        lines.push(line);
    }
    aligned(&lines)
}

fn verdict(samples: &Samples, entrants: &Entrants, figure: &Figure, own: &'static str) -> Option<String> {
    let own = samples.median(figure, own)?;
    let theirs = entrants.peers.iter().filter_map(|peer| samples.median(figure, peer));
    let best = theirs.reduce(if figure.higher_is_better { f64::max } else { f64::min })?;
    let Some(ratio) = ratio(own, best) else {
        return Some(if own > best { "behind" } else { "equal" }.to_owned());
    };
    let behind = if figure.higher_is_better { ratio < 1.0 } else { ratio > 1.0 };
    Some(format!("{ratio:.2} {}", if behind { "behind" } else { "ahead" }))
}

fn shown(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// Columns as wide as their widest cell: the first two to the left, numbers to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| lines.iter().filter_map(|line| Some(line.get(column)?.len())).max().unwrap_or(0);
    let widths = (0..columns).map(width).collect::<Vec<_>>();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entrants() -> Entrants {
        Entrants { ours: &["weft", "tunnel-pair"], peers: vec!["wireguard-go", "gotatun"] }
    }

    fn samples() -> Samples {
        let mut samples = Samples::default();
        let (up, rss) = (Figure::more("tcp-up-1280", "Mbit/s"), Figure::less("rss-idle", "MiB"));
        for (entrant, speed, memory) in
            [("weft", 1800.0, 12.0), ("wireguard-go", 1500.0, 7.5), ("gotatun", 700.0, 5.0)]
        {
            samples.add(up.clone(), entrant, speed);
            samples.add(rss.clone(), entrant, memory);
        }
        samples
    }

    #[test]
    fn every_figure_has_a_row_for_every_peer() {
        let rows = rows(&samples(), &entrants());
        assert_eq!(rows.len(), 4);
        let expected = Row {
            name: "tcp-up-1280".into(),
            unit: "Mbit/s",
            weft: Some(1800.0),
            peer: "wireguard-go",
            peer_value: 1500.0,
            ratio: Some(1.2),
            higher_is_better: true,
        };
        assert_eq!(rows[0], expected);
        assert_eq!((rows[3].peer, rows[3].ratio), ("gotatun", Some(2.4)));
        assert_eq!(
            serde_json::to_string(&rows[0]).unwrap(),
            r#"{"name":"tcp-up-1280","unit":"Mbit/s","weft":1800.0,"peer":"wireguard-go","peer_value":1500.0,"ratio":1.2,"higher_is_better":true}"#
        );
    }

    #[test]
    fn the_data_plane_alone_has_rows_of_its_own() {
        let mut samples = samples();
        samples.add(Figure::more("tcp-up-1280", "Mbit/s"), "tunnel-pair", 3000.0);
        let rows = rows(&samples, &entrants());
        let own = rows.iter().find(|row| row.name == "tunnel-pair/tcp-up-1280").unwrap();
        assert_eq!((own.weft, own.ratio), (Some(3000.0), Some(2.0)));
    }

    #[test]
    fn what_was_not_measured_has_no_ratio() {
        let mut samples = Samples::default();
        samples.add(Figure::more("up", "Mbit/s"), "gotatun", 700.0);
        let row = &rows(&samples, &entrants())[0];
        assert_eq!((row.weft, row.ratio), (None, None));
        assert_eq!(table(&samples, &entrants()), "figure  unit    gotatun\nup      Mbit/s      700\n");
    }

    #[test]
    fn the_table_compares_with_the_best_peer() {
        let table = table(&samples(), &entrants());
        let lines = table.lines().collect::<Vec<_>>();
        assert_eq!(lines[0], "figure       unit    weft  wireguard-go  gotatun  weft / best peer");
        assert_eq!(lines[1], "tcp-up-1280  Mbit/s  1800          1500      700        1.20 ahead");
        assert_eq!(lines[2], "rss-idle     MiB     12.0          7.50     5.00       2.40 behind");
    }

    #[test]
    fn nothing_is_compared_with_nothing() {
        let mut samples = Samples::default();
        let wakes = Figure::less("wakeups", "1/min");
        samples.add(wakes.clone(), "gotatun", 0.0);
        samples.add(wakes.clone(), "weft", 0.0);
        assert_eq!(verdict(&samples, &entrants(), &wakes, "weft").as_deref(), Some("equal"));
        samples.add(wakes.clone(), "weft", 4.0);
        assert_eq!(verdict(&samples, &entrants(), &wakes, "weft").as_deref(), Some("behind"));
    }

    #[test]
    fn values_are_rounded_to_four_digits() {
        assert_eq!(rounded(1_234.567), 1235.0);
        assert_eq!(rounded(0.012_345_6), 0.01235);
        assert_eq!(ratio(1.0, 0.0), None);
    }
}
