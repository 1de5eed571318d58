//! Where requests go: one instance of the app, known by slot, address and
//! deployment, with the requests in flight there and its idle connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::client::{Client, Order};
use crate::pool::Pool;
use crate::unpoisoned::lock;

/// A target as `gateway.json` and the control protocol write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) slot: String,
    pub(crate) address: SocketAddr,
    pub(crate) deployment: String,
}

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) description: Description,
    pub(crate) pool: Pool,
    in_flight: Mutex<InFlight>,
    /// Shared by all targets: told whenever one of them has nothing in flight.
    idle: Arc<Notify>,
}

/// The clients whose requests are under way.
#[derive(Debug, Default)]
struct InFlight {
    next_key: u64,
    clients: HashMap<u64, Arc<Client>>,
}

impl Target {
    pub(crate) fn new(description: Description, idle: Arc<Notify>) -> Self {
        Self { pool: Pool::new(description.address), description, in_flight: Mutex::default(), idle }
    }

    pub(crate) fn in_flight(&self) -> usize {
        lock(&self.in_flight).clients.len()
    }

    pub(crate) fn enter(&self, client: Arc<Client>) -> u64 {
        let mut in_flight = lock(&self.in_flight);
        in_flight.next_key += 1;
        let key = in_flight.next_key;
        in_flight.clients.insert(key, client);
        key
    }

    pub(crate) fn leave(&self, key: u64) {
        let (client, empty) = {
            let mut in_flight = lock(&self.in_flight);
            let client = in_flight.clients.remove(&key);
            (client, in_flight.clients.is_empty())
        };
        drop(client);
        if empty {
            self.idle.notify_waiters();
        }
    }

    /// Ends every request in flight with its connection; says how many there were.
    pub(crate) fn cut(&self) -> usize {
        let in_flight = lock(&self.in_flight);
        for client in in_flight.clients.values() {
            client.order(Order::Cut);
        }
        in_flight.clients.len()
    }
}
