//! Where the server listens: an address of this host alone, and a socket in the state directory that
//! only its owner can open, for gateways. A kernel lock says that one serves; it never goes stale.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use common::address::socket_within;
use common::config::Config;
use common::identity;
use common::layout::{Place, create_private_dir};
use common::ownership::{self, Use, open_unlinked};
use common::report::{OrProblem, Problem};
use common::status_server::SOCKET;

/// The open sockets.
pub(super) struct Sockets {
    own: Option<TcpListener>,
    gateways: UnixListener,
    /// Held as long as this serves.
    _lock: File,
}

impl Sockets {
    /// # Errors
    /// `status-served`, `address-taken`, `state-unwritable`, `state-untrusted`; exit 2 for an address
    /// that others can reach.
    pub(super) fn open(config: &Config, listen: Option<SocketAddr>) -> Result<Self, Problem> {
        ownership::check(&config.state_dir(), Use::Writing)?;
        let place = Place::of_status_server(config);
        create_private_dir(&place.root())?;
        let title = || format!("cannot write {}", place.root().display());
        let lock = open_unlinked(OpenOptions::new().append(true), &place.root().join("serve.lock"))
            .or_problem("state-unwritable", title)?;
        if lock.try_lock().is_err() {
            return Err(Problem::new(
                "status-served",
                "a status server runs for this state directory already",
            )
            .hint("status all"));
        }
        // What waits for the socket takes it for a server that serves.
        let own = listen.map(own).transpose()?;
        let gateways = bind(&place).or_problem("state-unwritable", title)?;
        Ok(Self { own, gateways, _lock: lock })
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.own.as_ref()?.local_addr().ok()
    }

    /// For the runtime that this is called in.
    pub(super) fn listeners(
        &self,
    ) -> io::Result<(Option<tokio::net::TcpListener>, tokio::net::UnixListener)> {
        let own = self.own.as_ref().map(TcpListener::try_clone).transpose()?;
        if let Some(own) = &own {
            own.set_nonblocking(true)?;
        }
        self.gateways.set_nonblocking(true)?;
        let gateways = tokio::net::UnixListener::from_std(self.gateways.try_clone()?)?;
        Ok((own.map(tokio::net::TcpListener::from_std).transpose()?, gateways))
    }
}

fn own(address: SocketAddr) -> Result<TcpListener, Problem> {
    if !address.ip().is_loopback() {
        return Err(Problem::usage(
            "--listen must be a loopback address: visitors come through the gateways",
        )
        .hint("status serve --listen 127.0.0.1:9100"));
    }
    TcpListener::bind(address).map_err(|error| {
        let who = identity::stranger(&address.into()).unwrap_or_else(|| "somebody else".into());
        Problem::new("address-taken", format!("cannot listen on {address}, which {who} has"))
            .detail(error.to_string())
            .hint(format!("ss -ltnp 'sport = :{}'", address.port()))
    })
}

/// A socket that a dead server left is replaced; under the lock none can be alive.
fn bind(place: &Place) -> io::Result<UnixListener> {
    let dir = File::open(place.root())?;
    let path = socket_within(&dir, SOCKET);
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}
