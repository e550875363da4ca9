//! Frames on the wire, and a record set that keeps its bytes as they came.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use fluvio_protocol::api::{Request, ResponseMessage};
use fluvio_protocol::link::versions::ApiVersionKey;
use fluvio_protocol::{Decoder, Encoder, Version};

/// A frame is a length of four bytes, then that many bytes.
pub(super) const LENGTH_SIZE: usize = 4;

/// No client sends more than one batch of 32 MiB and a little around it. The limit is far above
/// that, so that a batch that is too large is refused by its error code and not by the framing.
pub(super) const FRAME_MAX: usize = 256 << 20;

/// The record set of a produce request or of a fetch response: an `i32` length, then batches.
///
/// The official type takes batches apart and computes their checksum again on the way out. A
/// server has to keep what it was given.
#[derive(Debug, Default, Clone)]
pub(super) struct RawRecordSet(pub Bytes);

impl Encoder for RawRecordSet {
    fn write_size(&self, _version: Version) -> usize {
        LENGTH_SIZE + self.0.len()
    }

    fn encode<T: BufMut>(&self, out: &mut T, version: Version) -> io::Result<()> {
        length_of(&self.0)?.encode(out, version)?;
        out.put_slice(&self.0);
        Ok(())
    }
}

impl Decoder for RawRecordSet {
    fn decode<T: Buf>(&mut self, src: &mut T, version: Version) -> io::Result<()> {
        let len = i32::decode_from(src, version)?;
        match usize::try_from(len) {
            Ok(len) if len <= src.remaining() => {
                self.0 = src.copy_to_bytes(len);
                Ok(())
            }
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("a record set of {len} bytes in {}", src.remaining()),
            )),
        }
    }
}

/// The frame of a response: length, correlation id, body at the version of the request.
pub(super) fn response_frame<P: Encoder + Default>(
    correlation_id: i32,
    version: Version,
    body: P,
) -> io::Result<Bytes> {
    let message = ResponseMessage::new(correlation_id, body);
    let mut frame = BytesMut::with_capacity(LENGTH_SIZE + message.write_size(version));
    frame.put_i32(0);
    message.encode(&mut frame, version)?;
    let len = length_of(&frame[LENGTH_SIZE..])?;
    frame[..LENGTH_SIZE].copy_from_slice(&len.to_be_bytes());
    Ok(frame.freeze())
}

/// One line of the answer to ApiVersions, with the range that the type itself declares.
pub(super) fn version_range<R: Request>() -> ApiVersionKey {
    version_range_from::<R>(R::MIN_API_VERSION)
}

/// The same with another lower end: the real server serves some requests from version 0.
pub(super) fn version_range_from<R: Request>(min_version: i16) -> ApiVersionKey {
    ApiVersionKey {
        api_key: R::API_KEY.cast_signed(),
        min_version,
        max_version: R::MAX_API_VERSION,
    }
}

fn length_of(bytes: &[u8]) -> io::Result<i32> {
    i32::try_from(bytes.len()).map_err(io::Error::other)
}
