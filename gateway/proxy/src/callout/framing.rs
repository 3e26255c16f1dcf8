// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! gRPC messages in a byte stream: a flag, a length of four bytes, the message (gRPC over HTTP2, "Length-Prefixed-Message").

use super::grpc::GrpcError;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// The bytes before each message.
const PREFIX: usize = 5;

/// A message with its prefix.
pub(super) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(PREFIX + length);
    out.put_u8(0);
    // A message of 4 GiB does not fit into memory limits anywhere; the peer would refuse the wrong length.
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    out.extend_from_slice(&message.encode_to_vec());
    out.freeze()
}

/// Bytes on their way to become messages.
#[derive(Debug)]
pub(super) struct Deframer {
    bytes: BytesMut,
    max: usize,
}

impl Deframer {
    /// Takes messages of up to `max` bytes.
    pub(super) fn new(max: usize) -> Self {
        Self { bytes: BytesMut::new(), max }
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    /// Whether nothing is left over.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next message, where it is complete.
    ///
    /// # Errors
    /// Where it is compressed (nobody offered to take that), too large or no message of this type.
    pub(super) fn next<M: Message + Default>(&mut self) -> Result<Option<M>, GrpcError> {
        let Some(prefix) = self.bytes.get(..PREFIX) else { return Ok(None) };
        let (mut length, compressed) = (&prefix[1..], prefix[0] != 0);
        let length = usize::try_from(length.get_u32()).unwrap_or(usize::MAX);
        if compressed {
            return Err(GrpcError::Malformed);
        }
        if length > self.max {
            return Err(GrpcError::TooLarge);
        }
        if self.bytes.len() - PREFIX < length {
            return Ok(None);
        }
        self.bytes.advance(PREFIX);
        M::decode(self.bytes.split_to(length)).map(Some).map_err(|_| GrpcError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::{Deframer, frame};
    use crate::callout::grpc::GrpcError;
    use gateway_xds_api::pb::google::protobuf::StringValue;

    fn text(value: &str) -> StringValue {
        StringValue { value: value.to_owned() }
    }

    #[test]
    fn messages_come_out_however_the_bytes_are_cut() {
        let sent = [frame(&text("one")), frame(&text("")), frame(&text(&"x".repeat(300)))].concat();
        for size in [1, 4, 5, 6, sent.len()] {
            let mut deframer = Deframer::new(1000);
            let mut seen = Vec::new();
            for part in sent.chunks(size) {
                deframer.push(part);
                while let Some(message) = deframer.next::<StringValue>().unwrap() {
                    seen.push(message.value);
                }
            }
            assert_eq!(seen, ["one".to_owned(), String::new(), "x".repeat(300)], "{size}");
            assert!(deframer.is_empty());
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for (bytes, error) in [
            (&b"\x01\0\0\0\x01a"[..], GrpcError::Malformed),
            (b"\0\0\0\x04\0", GrpcError::TooLarge),
            (b"\0\xff\xff\xff\xff", GrpcError::TooLarge),
            (b"\0\0\0\0\x02\x0a\x09", GrpcError::Malformed),
        ] {
            let mut deframer = Deframer::new(1000);
            deframer.push(bytes);
            assert_eq!(deframer.next::<StringValue>(), Err(error), "{bytes:?}");
        }
    }
}
