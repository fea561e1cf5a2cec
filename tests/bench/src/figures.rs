//! Figures, their samples and their medians.

use std::collections::BTreeMap;

/// Something that is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Figure {
    /// Its name, as `tcp-up-1280`.
    pub(crate) name: String,
    /// The unit of its values.
    pub(crate) unit: &'static str,
    /// Whether more is better; less is otherwise.
    pub(crate) higher_is_better: bool,
}

impl Figure {
    /// One of which more is better.
    #[must_use]
    pub(crate) fn more(name: impl Into<String>, unit: &'static str) -> Self {
        Self { name: name.into(), unit, higher_is_better: true }
    }

    /// One of which less is better.
    #[must_use]
    pub(crate) fn less(name: impl Into<String>, unit: &'static str) -> Self {
        Self { name: name.into(), unit, higher_is_better: false }
    }
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    figures: Vec<Figure>,
    values: BTreeMap<(String, &'static str), Vec<f64>>,
}

impl Samples {
    /// Adds one of an entrant, which is known by its name.
    pub(crate) fn add(&mut self, figure: Figure, entrant: &'static str, value: f64) {
        self.values.entry((figure.name.clone(), entrant)).or_default().push(value);
        if !self.figures.contains(&figure) {
            self.figures.push(figure);
        }
    }

    /// What there is, in the order of the first measurements.
    #[must_use]
    pub(crate) fn figures(&self) -> &[Figure] {
        &self.figures
    }

    /// The median of an entrant's samples of a figure.
    #[must_use]
    pub(crate) fn median(&self, figure: &Figure, entrant: &'static str) -> Option<f64> {
        median(self.values.get(&(figure.name.clone(), entrant))?)
    }

    /// Whether an entrant has any sample.
    #[must_use]
    pub(crate) fn has(&self, entrant: &str) -> bool {
        self.values.keys().any(|(_, of)| *of == entrant)
    }
}

/// The middle one, or the mean of the two in the middle; nothing of nothing.
#[must_use]
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get((sorted.len() / 2).checked_sub(1)?)?;
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[9.0, 1.0, 5.0, 6.0]), Some(5.5));
    }

    #[test]
    fn samples_are_kept_apart_and_figures_in_order() {
        let mut samples = Samples::default();
        let (up, rss) = (Figure::more("up", "Mbit/s"), Figure::less("rss", "MiB"));
        for value in [1.0, 2.0, 9.0] {
            samples.add(up.clone(), "weft", value);
        }
        samples.add(rss.clone(), "tunnel-pair", 4.0);
        assert_eq!(samples.figures(), [up.clone(), rss.clone()]);
        assert_eq!(samples.median(&up, "weft"), Some(2.0));
        assert_eq!(samples.median(&up, "tunnel-pair"), None);
        assert!(samples.has("tunnel-pair"));
        assert!(!samples.has("gotatun"));
    }
}
