//! Whom an environment tells what happens: one entry of `notify`, as it is written. `$NAME` in an
//! address stands for a value of the env file, which is not known here.

use std::net::IpAddr;

/// Somebody who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver<'a> {
    /// Gets a POST of JSON.
    Webhook(&'a str),
    /// Gets a mail by way of sendmail.
    Mail(&'a str),
    /// Gets the JSON on its stdin.
    Command(&'a str),
}

impl<'a> Receiver<'a> {
    /// Reads what is written.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn read(written: &'a str) -> Result<Self, &'static str> {
        if let Some(line) = written.strip_prefix("command ") {
            let line = line.trim();
            return if line.is_empty() { Err("has an empty command") } else { Ok(Self::Command(line)) };
        }
        if let Some(address) = written.strip_prefix("mailto:") {
            let fits = names_a_value(address) || is_mail_address(address);
            return if fits { Ok(Self::Mail(address)) } else { Err("has no plain mail address") };
        }
        if names_a_value(written) || is_webhook(written) {
            return Ok(Self::Webhook(written));
        }
        Err("is none of https://…, mailto:ADDRESS, command LINE, $NAME (http:// on this host alone)")
    }

    /// What may be shown of it: the path of a webhook is often a secret.
    pub fn shown(self) -> String {
        match self {
            Self::Webhook(url) => match url.split_once("://") {
                Some((scheme, rest)) => format!("{scheme}://{}/…", host_and_port(rest)),
                None => url.to_owned(),
            },
            Self::Mail(address) => format!("mailto:{address}"),
            Self::Command(line) => {
                format!("command {}", line.split_whitespace().next().unwrap_or_default())
            }
        }
    }

    /// Whether values of the env file are needed to reach it.
    pub fn needs_secrets(self) -> bool {
        let (Self::Webhook(text) | Self::Mail(text) | Self::Command(text)) = self;
        text.contains('$')
    }
}

/// Encrypted, or not leaving this host.
pub fn is_webhook(url: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '\\' | '"' | '<' | '>');
    if !url.chars().all(plain) {
        return false;
    }
    match url.split_once("://") {
        Some(("https", rest)) => !host(rest).is_empty(),
        Some(("http", rest)) => is_loopback(host(rest)),
        _ => false,
    }
}

/// One address that cannot be taken for more than one, nor for a line of a mail's head.
pub fn is_mail_address(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !r#",;:<>()[]"\"#.contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

/// `$NAME` and nothing else.
pub(super) fn names_a_value(text: &str) -> bool {
    let name = text.strip_prefix('$').unwrap_or_default();
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn host_and_port(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

fn host(rest: &str) -> &str {
    let place = host_and_port(rest);
    match place.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        Some((address, _)) => address,
        None => place.split(':').next().unwrap_or_default(),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_told_apart_and_nothing_else_is_taken() {
        for (written, receiver) in [
            ("https://hooks.example/a?b=c", Receiver::Webhook("https://hooks.example/a?b=c")),
            ("https://hooks.example/$TOKEN", Receiver::Webhook("https://hooks.example/$TOKEN")),
            ("http://127.0.0.1:8080/x", Receiver::Webhook("http://127.0.0.1:8080/x")),
            ("http://[::1]/x", Receiver::Webhook("http://[::1]/x")),
            ("$HOOK", Receiver::Webhook("$HOOK")),
            ("mailto:ops@example.com", Receiver::Mail("ops@example.com")),
            ("mailto:$OPS", Receiver::Mail("$OPS")),
            ("command  notify-send x ", Receiver::Command("notify-send x")),
        ] {
            assert_eq!(Receiver::read(written), Ok(receiver), "{written}");
        }
        for bad in [
            "",
            "http://example.com/x",
            "http://127.0.0.1@example.com/",
            "http://example.com\\@127.0.0.1/",
            "http://localhost.example.com/",
            "https://",
            "https:///path",
            "https://a b/",
            "https://a/\nurl",
            "ftp://a/",
            "mailto:",
            "mailto:a@b, c@d",
            "mailto:a@b\nBcc: c@d",
            "command ",
            "$",
            "$A/x",
            "ops@example.com",
        ] {
            assert!(Receiver::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let shown = |written| Receiver::read(written).unwrap().shown();
        assert_eq!(
            shown("https://user:pw@hooks.example:8443/services/T0/B0?k=v"),
            "https://hooks.example:8443/…"
        );
        assert_eq!(shown("command curl -H secret"), "command curl");
        assert_eq!(
            (shown("$HOOK"), shown("mailto:ops@example.com")),
            ("$HOOK".into(), "mailto:ops@example.com".into())
        );
    }
}
