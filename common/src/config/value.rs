//! Values with a form of their own: a listen address and a span of time.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// `HOST:PORT` with a literal address, such as `127.0.0.1:8000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl Listen {
    /// The address a client on this host connects to.
    pub fn reachable(self) -> SocketAddr {
        let mut address = self.0;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        address
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let address: SocketAddr = text
            .parse()
            .map_err(|_| D::Error::custom(format!("'{text}' is not ADDRESS:PORT, such as 127.0.0.1:8000")))?;
        if address.port() == 0 {
            return Err(D::Error::custom("a public address needs a port other than 0"));
        }
        Ok(Self(address))
    }
}

/// A length of time, written `30s`, `500ms`, `2m`, `1h` or `7d`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Parses the written form.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = text[..digits].parse().ok()?;
        let factor = match &text[digits..] {
            "ms" => return Some(Self(Duration::from_millis(number))),
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 24 * 3600,
            _ => return None,
        };
        Some(Self::seconds(number.checked_mul(factor)?))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format!("'{text}' is not a length of time such as 30s, 5m or 7d"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit() {
        assert_eq!(Span::parse("90s"), Some(Span::seconds(90)));
        assert_eq!(Span::parse("7d"), Some(Span::seconds(604_800)));
        assert_eq!(Span::parse("250ms").unwrap().0.as_millis(), 250);
        for bad in ["", "s", "30", "-1s", "1 s", "1w", "99999999999999999999d"] {
            assert_eq!(Span::parse(bad), None, "{bad}");
        }
    }
}
