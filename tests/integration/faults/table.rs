//! What came of all trials of one scenario: the states reached, by the way of breaking.

use std::collections::BTreeMap;

use tests::fault::Kind;
use tests::load::Tally;

pub(super) struct Table {
    name: String,
    points: usize,
    states: BTreeMap<Kind, BTreeMap<String, usize>>,
}

impl Table {
    pub(super) fn new(name: String, points: usize) -> Self {
        Self { name, points, states: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, kind: Kind, state: &str) {
        *self.states.entry(kind).or_default().entry(state.to_owned()).or_default() += 1;
    }

    pub(super) fn tell(&self, tally: &Tally) {
        for (kind, states) in &self.states {
            let tried: usize = states.values().sum();
            let states: Vec<String> =
                states.iter().map(|(state, count)| format!("{state} {count}")).collect();
            let (name, points, kind) = (&self.name, self.points, format!("{kind:?}"));
            tests::tell(&format!(
                "| {name:18} | {kind:7} | {points:4} points | {tried:4} tried | {} |",
                states.join(", ")
            ));
        }
        let asked: usize = tally.ok.values().sum();
        tests::tell(&format!("| {:18} | {asked} requests | {} lost |", self.name, tally.lost.len()));
    }
}
