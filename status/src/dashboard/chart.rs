//! How long the newest deployments took, as bars; a picture that needs no script and no colour to be
//! read.

use common::ledger::{Deployment, Kind};

use super::moment::length;

const WIDTH: u64 = 720;
const HEIGHT: u64 = 120;
const MOST: usize = 40;

/// Bars from the oldest to the newest.
pub(super) struct Chart {
    pub(super) width: u64,
    pub(super) height: u64,
    pub(super) bars: Vec<Bar>,
    pub(super) longest: String,
}

/// One deployment; in units of the picture.
pub(super) struct Bar {
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) width: u64,
    pub(super) height: u64,
    /// Its state: also its class.
    pub(super) state: &'static str,
    pub(super) title: String,
    pub(super) address: String,
}

impl Chart {
    /// Of rows that are newest first; nothing for fewer than two that ended.
    pub(super) fn of(rows: &[Deployment]) -> Option<Self> {
        let ended: Vec<(&Deployment, u64)> = rows
            .iter()
            .filter(|row| matches!(row.kind, Kind::Deploy | Kind::Rollback))
            .filter_map(|row| Some((row, row.duration_ms()?.unsigned_abs())))
            .take(MOST)
            .collect();
        let longest = ended.iter().map(|(_, taken)| *taken).max()?.max(1);
        if ended.len() < 2 {
            return None;
        }
        let room = WIDTH / u64::try_from(ended.len()).ok()?.max(12);
        let bar = |(index, (row, taken)): (u64, &(&Deployment, u64))| {
            let height = (taken * (HEIGHT - 4) / longest).max(3);
            Bar {
                x: index * room,
                y: HEIGHT - height,
                width: room.saturating_sub(3).max(2),
                height,
                state: row.state.word(),
                title: format!("{} {}: {}, {}", row.kind.word(), row.id, row.state.word(), length(*taken)),
                address: format!("/_deploy/view/{}/{}", row.environment, row.id),
            }
        };
        let bars = (0..).zip(ended.iter().rev()).map(bar).collect();
        Some(Self { width: WIDTH, height: HEIGHT, bars, longest: length(longest) })
    }
}
