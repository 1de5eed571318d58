//! Ports for tests that run at the same time: claimed by a locked file each.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};

/// Below the ports that the kernel gives to outgoing connections, above the instances' first.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// A port that no other test of this machine uses while the file is open.
pub fn claim() -> (SocketAddr, File) {
    let dir = std::env::temp_dir().join("deploy-test-ports");
    fs::create_dir_all(&dir).expect("a directory for port claims");
    let count = PORTS.len();
    let start = usize::try_from(std::process::id()).unwrap_or(0) * 37;
    for step in 0..count {
        let port = PORTS.start + u16::try_from((start + step) % count).expect("a port");
        let claim = File::create(dir.join(port.to_string())).expect("a claim");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if claim.try_lock().is_ok() && TcpListener::bind(address).is_ok() {
            return (address, claim);
        }
    }
    panic!("no port is free");
}
