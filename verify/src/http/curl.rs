//! The `curl` line that asks the same by hand; secrets stay `$NAME`.

use std::fmt::Write;

use common::address::Address;
use common::report::quoted;
use reqwest::Url;

use crate::checks::Route;

/// A command for a shell in which the named secrets are set.
pub(crate) fn command(route: &Route, url: &Url, address: &Address) -> String {
    let mut line = String::from("curl -si");
    if let Address::Unix(socket) = address {
        let _ = write!(line, " --unix-socket {}", quoted(socket.display()));
    }
    if route.method == "HEAD" {
        line.push_str(" -I");
    } else if route.method != "GET" {
        let _ = write!(line, " -X {}", quoted(&route.method));
    }
    for field in &route.terms().form {
        let _ = match field.written.strip_prefix('$') {
            Some(_) => write!(line, " --data-urlencode {}=\"{}\"", quoted(&field.name), field.written),
            None => write!(line, " --data-urlencode {}", quoted(format!("{}={}", field.name, field.written))),
        };
    }
    match route.session() {
        Some(_) if route.is_login() => line.push_str(" -b cookies -c cookies"),
        Some(_) => line.push_str(" -b cookies"),
        None => {}
    }
    let _ = write!(line, " {}", quoted(url));
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::route::Field;

    #[test]
    fn secrets_keep_their_names() {
        let field = |name: &str, written: &str, value: &str| Field {
            name: name.into(),
            written: written.into(),
            value: value.into(),
        };
        let mut route = Route { method: "POST".into(), ..Route::get("/login/") };
        route.terms_mut().session = Some("user".into());
        route.terms_mut().form =
            vec![field("user", "it's", "it's"), field("password", "$PASSWORD", "hunter2")];
        let tcp = "127.0.0.1:1".parse().unwrap();
        let url = Url::parse("http://127.0.0.1:1/login/?a='b'").unwrap();
        assert_eq!(
            command(&route, &url, &tcp),
            r#"curl -si -X POST --data-urlencode "user=it's" --data-urlencode password="$PASSWORD" -b cookies -c cookies 'http://127.0.0.1:1/login/?a=%27b%27'"#
        );
        assert_eq!(command(&Route::get("/"), &url, &tcp), "curl -si 'http://127.0.0.1:1/login/?a=%27b%27'");
    }

    #[test]
    fn a_unix_socket_is_named() {
        let socket = "unix:/run/a b.sock".parse().unwrap();
        let url = Url::parse("http://localhost/").unwrap();
        let line = command(&Route::get("/"), &url, &socket);
        assert_eq!(line, "curl -si --unix-socket '/run/a b.sock' http://localhost/");
    }
}
