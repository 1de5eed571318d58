//! Sending a form as a browser does: its page first, for the hidden inputs and the cookies.

use std::time::Duration;

use crate::checks::Route;
use crate::finding::Finding;
use crate::http::{Asker, Form, Jar, Reply, Request, encode, find_form};

/// The encoded body of a route with a form; `None` for other routes.
///
/// The page may be missing (404, 405) or have no form: then the fields alone are sent.
pub(super) fn prepare(
    asker: &Asker,
    route: &Route,
    jar: &mut Jar,
    limit: Duration,
) -> Result<Option<String>, Finding> {
    let form = &route.terms().form;
    if form.is_empty() {
        return Ok(None);
    }
    let request = Request { cookies: jar.header(), ..Request::get(&route.path, limit) };
    let page = asker.ask(&request)?;
    jar.absorb(&page.headers);
    let hidden = hidden_inputs(asker, route, &page)?;
    let own = form.iter().map(|field| (field.name.as_str(), field.value.as_str()));
    let named = |name: &str| form.iter().any(|field| field.name == name);
    let kept = hidden.iter().filter(|(name, _)| !named(name));
    let kept = kept.map(|(name, value)| (name.as_str(), value.as_str()));
    Ok(Some(encode(kept.chain(own))))
}

fn hidden_inputs(asker: &Asker, route: &Route, page: &Reply) -> Result<Vec<(String, String)>, Finding> {
    match page.status {
        404 | 405 => return Ok(Vec::new()),
        200 => {}
        status => {
            return Err(Finding::new("form-missing", format!("has no form: its page answers {status}"))
                .line("excerpt", page.excerpt()));
        }
    }
    let url = asker.url(&route.path);
    let fields: Vec<&str> = route.terms().form.iter().map(|field| field.name.as_str()).collect();
    match find_form(&page.text, &url, &url, &fields) {
        Form::Fits { lacking, .. } if !lacking.is_empty() => {
            let names = lacking.join(", ");
            Err(Finding::new("form-field-missing", format!("has a form without the field {names}")))
        }
        Form::Fits { hidden, .. } => Ok(hidden),
        Form::Other(actions) => Err(Finding::new("form-missing", "has no form on its page that posts there")
            .line("actual", format!("forms that post to {}", actions.join(", ")))),
        Form::None => Ok(Vec::new()),
    }
}
