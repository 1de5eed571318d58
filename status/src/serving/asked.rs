//! A question: who asks, about which environments, with which parameters. Every parameter that an
//! endpoint does not know is refused, so that none is ever dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::Server;
use super::caller::{Caller, View};
use super::refusal::Refusal;
use super::source::Setting;

/// What is known of a question before it is answered.
pub(crate) struct Asked {
    pub(crate) setting: Arc<Setting>,
    pub(crate) caller: Caller,
    /// The environment asked for by path, parameter or gateway.
    pub(crate) only: Option<String>,
    /// The environments that the answer is about.
    pub(crate) names: Vec<String>,
    path: BTreeMap<String, String>,
    query: BTreeMap<String, String>,
}

impl FromRequestParts<Arc<Server>> for Asked {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Refusal> {
        let setting = server.source.setting();
        let caller = parts.extensions.get::<Caller>().cloned().ok_or_else(Refusal::nothing)?;
        let params = RawPathParams::from_request_parts(parts, server).await;
        let params = params.map_err(|_| Refusal::senseless("the path is not UTF-8"))?;
        let path: BTreeMap<String, String> =
            params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let query = parse(parts.uri.query().unwrap_or_default())?;
        let mut asked = Self { setting, caller, only: None, names: Vec::new(), path, query };
        asked.choose()?;
        Ok(asked)
    }
}

impl Asked {
    /// A gateway's visitor sees that gateway's environment and no other, and nothing where the gateway
    /// does not tell which.
    fn choose(&mut self) -> Result<(), Refusal> {
        let named = self.path.get("environment").or(self.query.get("environment"));
        let told = self.caller.environment.as_ref();
        let only = named.or(told);
        if only.is_none() && !self.caller.is_trusted {
            return Err(Refusal::whose());
        }
        if let Some(name) = only {
            let is_others = !self.caller.is_trusted && told.is_some_and(|told| told != name);
            if is_others || !self.setting.config.environments.contains_key(name) {
                return Err(Refusal::no_environment(name));
            }
        }
        self.names = only.map_or_else(|| self.setting.names(), |name| vec![name.clone()]);
        self.only = only.cloned();
        Ok(())
    }

    /// Begins an answer of `endpoint`, which knows these parameters besides `environment`.
    ///
    /// # Errors
    /// 400 for others, 401 and 403.
    pub(crate) fn of(&self, endpoint: &str, known: &[&str]) -> Result<View, Refusal> {
        let view = self.caller.view(endpoint, &self.setting)?;
        let is_known = |name: &&String| *name == "environment" || known.contains(&name.as_str());
        match self.query.keys().find(|name| !is_known(name)) {
            Some(unknown) => Err(Refusal::senseless(format!("there is no parameter {unknown:?}"))),
            None => Ok(view),
        }
    }

    /// A part of the path.
    pub(crate) fn part(&self, name: &str) -> &str {
        self.path.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A parameter, read by `parse`.
    ///
    /// # Errors
    /// 400 with the sentence of `parse`.
    pub(crate) fn parameter<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Refusal> {
        let value = self.query.get(name).map(|text| parse(text)).transpose();
        value.map_err(|why| Refusal::senseless(format!("{name}: {why}")))
    }
}

fn parse(query: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let mut found = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if found.insert(name.to_string(), value.into_owned()).is_some() {
            return Err(Refusal::senseless(format!("{name:?} stands there twice")));
        }
    }
    Ok(found)
}
