//! A websocket as a visitor has it open for a while: each text that it sends comes back, and it is
//! closed by the visitor alone. Small frames only.

use std::thread;
use std::time::{Duration, Instant};

use super::exchange::{Connection, Reply};

/// The headers of the handshake, with the key that RFC 6455 uses as its example.
pub(super) const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const TEXTS: u8 = 6;
const PAUSE: Duration = Duration::from_millis(50);
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const MASK: [u8; 4] = [1, 2, 3, 4];

/// From the answer to the handshake to the end; gives that answer.
pub(super) fn converse(connection: &mut Connection, deadline: Instant) -> Result<Reply, String> {
    let reply = connection.receive_upgrade(deadline)?;
    if reply.status != 101 {
        return Ok(reply);
    }
    if reply.accept.as_deref() != Some(ACCEPT) {
        return Err(format!("the handshake was answered with {:?}", reply.accept));
    }
    for number in 0..TEXTS {
        exchange(connection, TEXT, &[b'a' + number; 20], deadline)?;
        thread::sleep(PAUSE);
    }
    exchange(connection, CLOSE, &1000_u16.to_be_bytes(), deadline)?;
    Ok(reply)
}

fn exchange(connection: &mut Connection, kind: u8, payload: &[u8], deadline: Instant) -> Result<(), String> {
    let length = u8::try_from(payload.len()).map_err(|_| "the payload is too long".to_owned())?;
    let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    let frame: Vec<u8> = [kind, 0x80 | length].into_iter().chain(MASK).chain(masked).collect();
    connection.send(&frame, deadline)?;
    let expected: Vec<u8> = [kind, length].into_iter().chain(payload.iter().copied()).collect();
    let got =
        connection.receive_exactly(expected.len(), deadline).map_err(|what| format!("websocket: {what}"))?;
    if got == expected { Ok(()) } else { Err(format!("websocket: got {got:?} for {expected:?}")) }
}
