//! The published figures of other policies on the public traces.

use crate::trace::Trace;

static FIGURES: &str = include_str!("published.csv");

/// A published miss ratio of one policy on one trace at one size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) size: &'static str,
    pub(crate) policy: &'static str,
    pub(crate) object: f64,
    /// Of sized traces only.
    pub(crate) sized: Option<Sized>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sized {
    pub(crate) byte: f64,
    pub(crate) cost: f64,
}

impl Figure {
    /// What policies are compared by: the cost, or the number of misses where all objects are alike.
    pub(crate) fn decisive(&self) -> f64 {
        self.sized.map_or(self.object, |sized| sized.cost)
    }
}

fn lines() -> impl Iterator<Item = Vec<&'static str>> {
    let lines = FIGURES.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(',').collect())
}

/// The name of a trace that figures are known of: its numbers tell it, not the file's name.
pub(crate) fn name_of(trace: &Trace) -> Option<&'static str> {
    let numbers = [
        trace.requests.len() as u64,
        trace.objects.len() as u64,
        trace.footprint(),
    ];
    lines().find_map(|fields| match fields[..] {
        ["trace", name, requests, objects, footprint] => {
            let known = [requests, objects, footprint].map(str::parse::<u64>);
            known
                .iter()
                .zip(numbers)
                .all(|(known, number)| *known == Ok(number))
                .then_some(name)
        }
        _ => None,
    })
}

/// All figures of a trace.
pub(crate) fn figures(trace: &str) -> Vec<Figure> {
    let number = |text: &str| text.parse::<f64>().ok();
    let figure = |fields: Vec<&'static str>| match fields[..] {
        ["ratio", name, size, policy, object, byte, cost] if name == trace => Some(Figure {
            size,
            policy,
            object: number(object)?,
            sized: number(byte)
                .zip(number(cost))
                .map(|(byte, cost)| Sized { byte, cost }),
        }),
        _ => None,
    };
    lines().filter_map(figure).collect()
}

/// The best figure at a size.
pub(crate) fn best(figures: &[Figure], size: &str) -> Option<Figure> {
    let at_size = figures.iter().filter(|figure| figure.size == size);
    at_size
        .min_by(|a, b| a.decisive().total_cmp(&b.decisive()))
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_file_is_understood() {
        let (mut traces, mut ratios) = (Vec::new(), 0);
        for fields in lines() {
            match fields[..] {
                ["trace", name, ..] => traces.push(name),
                ["ratio", ..] => ratios += 1,
                _ => panic!("{fields:?}"),
            }
        }
        assert_eq!(traces.len(), 4);
        let understood: usize = traces.iter().map(|name| figures(name).len()).sum();
        assert_eq!(understood, ratios);
    }

    #[test]
    fn the_best_is_found() {
        let figures = figures("rust_build");
        let best = best(&figures, "10%").unwrap();
        assert_eq!((best.policy, best.decisive()), ("S3-FIFO", 0.2348));
    }
}
