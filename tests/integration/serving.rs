//! `status serve` as users meet it: kept beside the gateway, reached through it and at its own address,
//! open to nobody who should not read it, and in nobody's way.

mod contract;
mod events;
mod keeping;
mod pages;
mod visitors;

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::http::exchange;
use tests::ports;
use tests::world::World;

/// A world whose deployments keep a status server, and its own address.
struct Served {
    world: World,
    own: SocketAddr,
    _claim: File,
}

impl Served {
    /// With further keys of the `[status]` table; nothing is deployed yet.
    fn new(keys: &str) -> Self {
        let world = World::new();
        let (own, claim) = ports::claim();
        let table = format!("[status]\nlisten = \"{own}\"\n{keys}\n[environments.dev]\n");
        world.configure("[environments.dev]\n", &table);
        Self { world, own, _claim: claim }
    }

    /// The same, and the first release serves in dev.
    fn serving(keys: &str) -> Self {
        let served = Self::new(keys);
        served.world.release("v1");
        served.world.run("deploy", &["dev"]).ok();
        served.own("/_deploy/version");
        served
    }

    /// Asks at the server's own address, as somebody of this host, until it answers.
    fn own(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = self.own_text(path);
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
    }

    fn own_text(&self, path: &str) -> (u16, String, String) {
        let host = format!("Host: {}", self.own);
        let begun = Instant::now();
        loop {
            match exchange(self.own, "GET", path, &[&host]) {
                Ok(answer) => return answer,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{path}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks through the gateway of dev, as a visitor.
    fn visit(&self, path: &str, headers: &[&str]) -> (u16, String, String) {
        exchange(self.world.listen("dev"), "GET", path, headers).unwrap()
    }

    /// A deployment of dev that runs.
    fn deploying(&self) -> Child {
        let mut command = self.world.command("deploy", &["dev"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn keeper(&self) -> Value {
        let text = std::fs::read(self.world.state().join("status/keeper.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}
