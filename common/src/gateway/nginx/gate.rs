//! What must hold of nginx before anything is changed: it is there, takes its configuration,
//! includes our file, runs, listens on the public address, and says what it has loaded. Each lack is
//! a problem of its own, with the command that helps. Nothing is changed here.

use super::command::Dump;
use super::include::{self, Loaded};
use super::loading::PROOF;
use super::{Client, GatewayStatus};
use crate::address::Address;
use crate::gateway::builtin;
use crate::identity;
use crate::report::{Problem, quoted};

impl Client {
    /// What must hold before anything is changed; the reasons name what the operator can do.
    pub(in crate::gateway) fn ensure(&self) -> Result<GatewayStatus, Problem> {
        let dump = self.nginx.dump();
        if let Err(problem) = &dump
            && problem.kind == "nginx-missing"
        {
            return Err(problem.clone());
        }
        // An edit may well be what nginx refuses.
        include::check(&self.place)?;
        let dump = dump?;
        let path = include::path(&self.place);
        if !dump.includes(&path) {
            return Err(Problem::new("nginx-not-included", "nginx does not include our file")
                .detail(format!("nothing in its configuration leads to {}", path.display()))
                .hint(self.include_hint()));
        }
        match self.ask() {
            Ok(loaded) => self.tell(&loaded).ok_or_else(|| unseen(&loaded)),
            Err(why) => Err(self.unproved(&why, &dump)),
        }
    }

    fn unproved(&self, why: &str, dump: &Dump) -> Problem {
        let address = self.listen.reachable();
        let public = Address::from(address);
        if identity::stranger(&self.listen.0.into()).is_some() {
            let owners = identity::owners(&public).unwrap_or_default();
            if !owners.visible.is_empty()
                && owners.visible.iter().all(|owner| !owner.command.starts_with("nginx"))
            {
                return builtin::port_taken(self.listen);
            }
            return Problem::new(
                "nginx-unproved",
                format!("nginx does not say at {address} what it has loaded"),
            )
            .detail(format!("{PROOF} {why}; the server block is not loaded, or an old one"))
            .hint(self.include_hint());
        }
        if self.nginx.runs(dump) {
            return Problem::new("nginx-elsewhere", format!("nginx does not listen on {address}"))
                .detail("the configuration says `listen` otherwise than deploy.toml, or is not loaded")
                .hint(self.include_hint());
        }
        Problem::new("nginx-stopped", "nginx does not run")
            .detail("it is never started from here: it may serve others as well")
            .hint("systemctl start nginx")
    }

    pub(super) fn include_hint(&self) -> String {
        let block = quoted(self.server_block().display());
        let name = quoted(include::name(&self.place));
        let command = &self.nginx.command;
        format!("ln -sf {block} /etc/nginx/conf.d/{name}.conf && {command} -t && {command} -s reload")
    }
}

/// Whoever waits for its workers must see them.
pub(super) fn unseen(loaded: &Loaded) -> Problem {
    Problem::new("nginx-unseen", "nginx answers, and its processes cannot be seen")
        .detail("without them nobody knows when the old ones have answered what they were asked")
        .hint(format!("ps -o pid,ppid,args -p {}", loaded.worker))
}
