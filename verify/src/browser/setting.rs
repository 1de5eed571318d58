//! What each page begins with: the same window each time, in front of its user, nothing that moves,
//! the cookies of the login, and nothing of another page. Scripts may not write unless the release
//! says so.

use reqwest::Url;
use serde_json::{Value, json};

use crate::checks::Browser as Rules;
use crate::http::Jar;

pub(super) const COOKIES: &str = "Network.setCookies";

/// A command with what it takes.
pub(super) type Command = (&'static str, Value);

const EVENTS: [&str; 5] =
    ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable", "Inspector.enable"];
/// What a page may have kept, but for its cookies.
const STORES: &str = "local_storage,indexeddb,cache_storage,service_workers,file_systems,storage_buckets";
const SCRIPTS: &str = "Emulation.setScriptExecutionDisabled";

/// For a tab that has not gone anywhere yet. Of workers and frames of other sites it is told.
pub(super) fn beginning(rules: &Rules, jar: &Jar, url: &Url) -> Vec<Command> {
    let mut settings: Vec<Command> = EVENTS.iter().map(|name| (*name, json!({}))).collect();
    let window =
        json!({ "width": rules.width, "height": rules.height, "deviceScaleFactor": 1, "mobile": false });
    let still = json!({ "features": [{ "name": "prefers-reduced-motion", "value": "reduce" }] });
    let attaching = json!({ "autoAttach": true, "waitForDebuggerOnStart": false, "flatten": true });
    settings.push(("Emulation.setDeviceMetricsOverride", window));
    settings.push(("Emulation.setEmulatedMedia", still));
    settings.push(("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })));
    settings.push(("Target.setAutoAttach", attaching));
    if !rules.writes {
        let kinds = ["Document", "XHR", "Fetch", "Ping"];
        let patterns = kinds.map(|kind| json!({ "resourceType": kind }));
        settings.push(("Fetch.enable", json!({ "patterns": patterns })));
    }
    settings.push(cookies(jar, url));
    settings
}

/// Stops a page of the origin of `url`: none of its scripts runs again, not even as it is left.
pub(super) fn stopping(url: &Url) -> Vec<Command> {
    // The store that a tab has is reached only as long as the page is shown.
    let store = json!({ "securityOrigin": url.origin().ascii_serialization(), "isLocalStorage": false });
    vec![(SCRIPTS, json!({ "value": true })), ("DOMStorage.clear", json!({ "storageId": store }))]
}

/// Takes away what the page that was left had kept.
pub(super) fn cleaning(jar: &Jar, url: &Url) -> Vec<Command> {
    let stores = json!({ "origin": url.origin().ascii_serialization(), "storageTypes": STORES });
    vec![
        ("Network.clearBrowserCookies", json!({})),
        ("Storage.clearDataForOrigin", stores),
        cookies(jar, url),
        (SCRIPTS, json!({ "value": false })),
    ]
}

/// The login's, for the whole app that `url` is a page of.
fn cookies(jar: &Jar, url: &Url) -> Command {
    let root = url.join("/").unwrap_or_else(|_| url.clone());
    let cookie = |(name, value)| json!({ "name": name, "value": value, "url": root.as_str() });
    (COOKIES, json!({ "cookies": jar.pairs().map(cookie).collect::<Vec<_>>() }))
}
