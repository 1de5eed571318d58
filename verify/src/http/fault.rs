//! What a server does instead of answering, told apart by what the error is made of.

use std::error::Error;
use std::io;
use std::time::Duration;

use crate::finding::Finding;

pub(super) const REFUSED: &str = "connection-refused";
const RESET: &str = "connection-reset";
const CLOSED: &str = "closed-early";
/// How a connection ends that the server had closed before it was used again.
pub(super) const STALE: [&str; 2] = [RESET, CLOSED];

/// The finding for an error before the head of the answer was complete.
pub(super) fn before_answer(error: &reqwest::Error, limit: Duration) -> Finding {
    if error.is_timeout() {
        let waited = format!("did not answer within {} s", limit.as_secs_f32());
        return Finding::new("no-answer", waited);
    }
    let finding = match (io_kind(error), hyper_error(error)) {
        (Some(io::ErrorKind::ConnectionRefused), _) => {
            Finding::new(REFUSED, "could not be asked: the connection was refused")
        }
        (Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), _) => {
            Finding::new(RESET, "was cut off by the server before it answered")
        }
        (_, Some(hyper)) if hyper.is_incomplete_message() => {
            Finding::new(CLOSED, "got no answer: the server closed the connection")
        }
        (_, Some(hyper)) if hyper.is_parse_too_large() => {
            Finding::new("head-too-large", "answers with more headers than any client reads")
        }
        (_, Some(hyper)) if hyper.is_parse() => Finding::new("not-http", "got an answer that is not HTTP"),
        _ => Finding::new("no-answer", "could not be asked"),
    };
    finding.line("actual", innermost(error))
}

/// The finding for an error while the body was read.
pub(super) fn within_body(error: &io::Error, limit: Duration) -> Finding {
    let source = error.get_ref().map(|inner| inner as &(dyn Error + 'static));
    let request = source.and_then(|inner| inner.downcast_ref::<reqwest::Error>());
    if request.is_some_and(reqwest::Error::is_timeout) {
        return slow_body(limit, None);
    }
    let kind = source.and_then(io_kind).unwrap_or(error.kind());
    let cut = source.and_then(hyper_error).is_some_and(hyper::Error::is_incomplete_message);
    let finding = match kind {
        io::ErrorKind::UnexpectedEof => Finding::new("body-cut-off", "sends less than it announces"),
        _ if cut => Finding::new("body-cut-off", "sends less than it announces"),
        io::ErrorKind::ConnectionReset => {
            Finding::new("body-cut-off", "was cut off by the server in the middle of the body")
        }
        _ => Finding::new("body-broken", "sends a body that cannot be read"),
    };
    finding.line("actual", source.map_or_else(|| error.to_string(), innermost))
}

/// The finding for a body that does not arrive in time; `received` bytes are known of some.
pub(super) fn slow_body(limit: Duration, received: Option<usize>) -> Finding {
    let finding =
        Finding::new("body-slow", format!("did not send its body within {} s", limit.as_secs_f32()));
    match received {
        Some(bytes) => finding.line("actual", format!("{bytes} bytes so far")),
        None => finding,
    }
}

type Cause<'a> = &'a (dyn Error + 'static);

fn chain<'a>(error: Cause<'a>) -> impl Iterator<Item = Cause<'a>> {
    std::iter::successors(Some(error), |error: &Cause<'a>| (*error).source())
}

fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind).last()
}

fn hyper_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a hyper::Error> {
    chain(error).find_map(|cause| cause.downcast_ref::<hyper::Error>())
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}
