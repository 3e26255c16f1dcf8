// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The two messages of `grpc.health.v1`, in their wire form.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

/// `HealthCheckRequest {service}` as a gRPC message.
pub(super) fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        message.put_u8(u8::try_from(length).unwrap_or_default());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or_default());
    framed.put_slice(&message);
    framed.freeze()
}

/// Whether an answer says SERVING; else why not.
pub(super) fn verdict(
    status: StatusCode,
    headers: &HeaderMap,
    trailers: &HeaderMap,
    body: &[u8],
) -> Result<(), String> {
    if status != StatusCode::OK {
        return Err(format!("status {}", status.as_u16()));
    }
    let code = trailers.get("grpc-status").or_else(|| headers.get("grpc-status"));
    match code.map(|code| code.as_bytes()) {
        Some(b"0") => {}
        Some(code) => return Err(format!("gRPC status {}", String::from_utf8_lossy(code))),
        None => return Err("the answer has no gRPC status".to_owned()),
    }
    let message = body.get(5..).unwrap_or_default();
    match serving_status(message) {
        Some(1) => Ok(()),
        Some(other) => Err(format!("serving status {other}")),
        None => Err("the answer is malformed".to_owned()),
    }
}

/// Field 1 of the answer; other fields are skipped.
fn serving_status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => {
                let value = varint(&mut message)?;
                if key >> 3 == 1 {
                    status = value;
                }
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{question, serving_status, verdict};
    use http::{HeaderMap, StatusCode};

    #[test]
    fn messages_have_their_wire_form() {
        assert_eq!(&question("")[..], [0; 5]);
        assert_eq!(&question("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(question(&"x".repeat(300)).len(), 5 + 1 + 2 + 300);
        for (message, expected) in [
            (&[][..], Some(0)),
            (&[0x08, 1], Some(1)),
            (&[0x12, 1, 7, 0x08, 2], Some(2)),
            (&[0x08], None),
            (&[0x12, 9, 7], None),
            (&[0x0b], None),
        ] {
            assert_eq!(serving_status(message), expected, "{message:?}");
        }
        let ok = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
        let serving = [0, 0, 0, 0, 2, 8, 1];
        assert_eq!(verdict(StatusCode::OK, &HeaderMap::new(), &ok, &serving), Ok(()));
        assert!(verdict(StatusCode::OK, &HeaderMap::new(), &HeaderMap::new(), &serving).is_err());
        assert!(verdict(StatusCode::OK, &HeaderMap::new(), &ok, &serving[..5]).is_err());
        assert!(verdict(StatusCode::NOT_FOUND, &HeaderMap::new(), &ok, &serving).is_err());
    }
}
