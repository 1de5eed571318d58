//! A request's hold on its target: counted from the moment the target was
//! chosen until the response, or the tunnel, is over.

use std::sync::Arc;

use crate::client::Client;
use crate::target::Target;

#[derive(Debug)]
pub(crate) struct Claim {
    target: Arc<Target>,
    key: u64,
}

impl Claim {
    pub(crate) fn new(target: Arc<Target>, client: Arc<Client>) -> Self {
        let key = target.enter(client);
        Self { target, key }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.target.leave(self.key);
    }
}
