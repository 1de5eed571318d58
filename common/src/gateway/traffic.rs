//! Where the requests of an environment go, also when its gateway does not run or nobody has
//! configured it.

use std::net::SocketAddr;

use super::{Gateway, GatewayStatus, Target, builtin, nginx};
use crate::config::{Environment, GatewayKind, Listen};
use crate::layout::Place;

/// What the gateway says that runs for an environment, configured or not.
pub fn running(place: &Place) -> Option<GatewayStatus> {
    let nowhere = Listen(SocketAddr::from(([0, 0, 0, 0], 0)));
    builtin::Client::new(place, nowhere, None).status()
}

/// Where the requests of an environment go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Traffic {
    /// No gateway was ever told.
    #[default]
    Untold,
    /// They are answered by the gateway itself.
    Nowhere,
    To(Target),
}

impl From<Option<Target>> for Traffic {
    fn from(active: Option<Target>) -> Self {
        active.map_or(Self::Nowhere, Self::To)
    }
}

/// What the gateway of an environment says, else what the last one noted on disk. The one that is
/// configured comes first; an environment that is not may have had either.
pub fn traffic(place: &Place, settings: Option<&Environment>) -> Traffic {
    let asked = match settings {
        Some(settings) => Gateway::of(place, settings).status(),
        None => running(place),
    };
    match (asked.and_then(|status| status.active), settings.map(|settings| settings.gateway)) {
        (Some(target), _) => Traffic::To(target),
        (None, Some(GatewayKind::Nginx)) => nginx::recorded(place),
        (None, _) => builtin::recorded(place),
    }
}
