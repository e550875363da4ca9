//! One connection to a Fluvio server: a request out, its response in, each before a deadline.
//!
//! Both are an Int32 length and that many bytes; a request begins with a header (key, version,
//! correlation id, client), a response with the correlation id. The versions are agreed on when
//! the connection is made, each the highest that both sides have.

use std::io::{Cursor, IoSlice};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use fluvio_protocol::api::{Request, RequestHeader};
use fluvio_protocol::link::ErrorCode;
use fluvio_protocol::link::versions::{ApiVersionKey, ApiVersionsRequest};
use fluvio_protocol::{Decoder, Encoder};
use fluvio_spu_schema::fetch::FetchRequest;

use super::answer::Ask;
use super::server::FluvioServer;
use super::stream::FluvioStream;
use super::unpack::RecordSet;
use crate::base::error::{Context, Error, Kind, Result};
use crate::base::printable::capped;
use crate::sink::lease::Lease;

/// The longest response taken that has records. The server's largest batch is 32 MiB and a fetch returns
/// little more than one.
const MAX_RECORDS_BYTES: usize = 80 * 1024 * 1024;

/// The longest of the others: the largest is a list of the SPUs, of which each takes some hundred bytes.
/// What is read of it may take ten times as much memory.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// Responses grow in steps of what has arrived, never by what a length field promises.
const READ_BYTES: usize = 64 * 1024;

/// A connection. After an error it is of no use: what the server did is not known. Dropping it gives up
/// what the server has not taken; what it has taken and not read may still come.
pub struct Rpc {
    stream: FluvioStream,
    address: String,
    timeout: Duration,
    versions: Vec<ApiVersionKey>,
    correlation_id: i32,
    out: Vec<u8>,
    /// The longest that the server took to answer a call since this was taken last.
    slowest: Duration,
}

/// A request under way; its response has not been read.
pub struct Pending<R> {
    correlation_id: i32,
    version: i16,
    request: PhantomData<R>,
}

/// A part of a request that is not encoded with it but sent from where it is.
pub struct Payload<'a> {
    /// The bytes of the part.
    pub bytes: &'a [u8],
    /// How many bytes of the encoded request follow the part; at least one if that is to be held back.
    pub followed_by: usize,
}

/// A request whose last byte has not been sent.
pub struct Begun<R> {
    pending: Pending<R>,
    last: u8,
}

impl Rpc {
    /// Connects and agrees on versions. `timeout` holds for this and for each request.
    pub fn connect(server: &FluvioServer, timeout: Duration) -> Result<Rpc> {
        let stream = FluvioStream::connect(server, timeout)
            .at(|| format!("Fluvio at {}", server.address))?;
        let mut rpc = Rpc {
            stream,
            address: server.address.clone(),
            timeout,
            versions: Vec::new(),
            correlation_id: 0,
            out: Vec::new(),
            slowest: Duration::ZERO,
        };
        rpc.agree_on_versions()?;
        Ok(rpc)
    }

    /// Waits for nothing and delivers nothing once the lease is over, from now on.
    pub fn hold_under(&mut self, lease: Lease) -> Result<()> {
        let held = self.stream.hold_under(lease, self.timeout);
        held.map_err(|e| self.error(e))
    }

    fn agree_on_versions(&mut self) -> Result<()> {
        let request = ApiVersionsRequest {
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
            client_os: std::env::consts::OS.to_owned(),
            client_arch: std::env::consts::ARCH.to_owned(),
        };
        let pending = self.send_at(&request, ApiVersionsRequest::DEFAULT_API_VERSION)?;
        let response = self.receive(&pending)?;
        if response.error_code.0 != ErrorCode::None {
            let code = response.error_code.0.to_string();
            return Err(self.error(Error::config(capped(&code))));
        }
        self.versions = response.api_keys;
        Ok(())
    }

    /// The highest version of `R` that both sides have.
    pub fn version<R: Request>(&self) -> Result<i16> {
        let server = self
            .versions
            .iter()
            .find(|key| key.api_key == R::API_KEY as i16);
        // An SPU does not list every request that it answers; those are asked at our version.
        let Some(server) = server else {
            return Ok(R::DEFAULT_API_VERSION);
        };
        let highest = server.max_version.min(R::MAX_API_VERSION);
        if highest >= server.min_version.max(R::MIN_API_VERSION) {
            return Ok(highest);
        }
        let error = Error::config(format!(
            "incompatible server: request {} at versions {} to {}, this program has {} to {}",
            R::API_KEY,
            server.min_version,
            server.max_version,
            R::MIN_API_VERSION,
            R::MAX_API_VERSION
        ));
        Err(self.error(
            error.with_hint("this program speaks the protocol of Fluvio 0.18 (client 0.50)"),
        ))
    }

    /// Sends a request and waits for its response.
    pub fn call<R: Ask>(&mut self, request: &R) -> Result<R::Answer> {
        let sent = Instant::now();
        let pending = self.send(request)?;
        let answer = self.receive(&pending)?;
        self.slowest = self.slowest.max(sent.elapsed());
        Ok(answer)
    }

    /// The longest that the server took to answer a call since this was asked last.
    pub fn take_slowest(&mut self) -> Duration {
        std::mem::take(&mut self.slowest)
    }

    /// Sends a request. Responses come in the order of the requests.
    pub fn send<R: Request>(&mut self, request: &R) -> Result<Pending<R>> {
        let version = self.version::<R>()?;
        self.send_at(request, version)
    }

    fn send_at<R: Request>(&mut self, request: &R, version: i16) -> Result<Pending<R>> {
        self.write_around(request, version, &[], 0)
    }

    /// Sends a request and, in their places, the parts that are not encoded with it.
    pub fn send_around<R: Request>(
        &mut self,
        request: &R,
        parts: &[Payload<'_>],
    ) -> Result<Pending<R>> {
        self.write_around(request, self.version::<R>()?, parts, 0)
    }

    /// Sends a request, with the parts that are not encoded with it, but for its last byte. The server cannot
    /// begin with it before [`Rpc::complete`], and never does if the connection ends before that.
    pub fn begin_around<R: Request>(
        &mut self,
        request: &R,
        parts: &[Payload<'_>],
    ) -> Result<Begun<R>> {
        let pending = self.write_around(request, self.version::<R>()?, parts, 1)?;
        let last = self.out.last().copied().unwrap_or_default();
        Ok(Begun { pending, last })
    }

    /// Sends the last byte of a request.
    pub fn complete<R: Request>(&mut self, begun: Begun<R>) -> Result<Pending<R>> {
        let deadline = Instant::now() + self.timeout;
        let written = self
            .stream
            .write_all(&mut [IoSlice::new(&[begun.last])], deadline);
        written.map_err(|e| self.error(e))?;
        Ok(begun.pending)
    }

    /// Sends a request with the parts that are not encoded with it, but for its last `held` bytes.
    fn write_around<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        parts: &[Payload<'_>],
        held: usize,
    ) -> Result<Pending<R>> {
        let missing = parts.iter().map(|part| part.bytes.len()).sum();
        let pending = self.encode(request, version, missing)?;
        let deadline = Instant::now() + self.timeout;
        let mut slices = Vec::with_capacity(2 * parts.len() + 1);
        let mut begin = 0;
        for part in parts {
            let end = self.out.len() - part.followed_by;
            slices.push(IoSlice::new(&self.out[begin..end]));
            slices.push(IoSlice::new(part.bytes));
            begin = end;
        }
        slices.push(IoSlice::new(&self.out[begin..self.out.len() - held]));
        let written = self.stream.write_all(&mut slices, deadline);
        written.map_err(|e| self.error(e))?;
        Ok(pending)
    }

    /// Puts a request into `out`, except for `missing` bytes of it.
    fn encode<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        missing: usize,
    ) -> Result<Pending<R>> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let mut header = RequestHeader::new_with_client(R::API_KEY, "postgres-source");
        header
            .set_api_version(version)
            .set_correlation_id(self.correlation_id);
        let out = &mut self.out;
        out.clear();
        out.reserve(4 + header.write_size(0) + request.write_size(version));
        out.extend_from_slice(&[0; 4]);
        let encoded = header
            .encode(out, 0)
            .and_then(|()| request.encode(out, version));
        let len = out.len() - 4 + missing;
        encoded.map_err(|e| {
            self.error(Error::new(Kind::Bug, "cannot encode a request").with_source(e))
        })?;
        let len = i32::try_from(len)
            .map_err(|_| self.error(Error::undeliverable("a request of more than 2 GiB")))?;
        self.out[..4].copy_from_slice(&len.to_be_bytes());
        Ok(Pending {
            correlation_id: self.correlation_id,
            version,
            request: PhantomData,
        })
    }

    /// Whether a response has come, or the end of the connection: [`Rpc::receive`] does not wait
    /// then, or not for long.
    pub fn has_response(&self) -> Result<bool> {
        self.stream.is_readable().map_err(|e| self.error(e))
    }

    /// Waits for the response to a request. The time counts from now: it may have come long ago,
    /// while the caller had other things to do.
    pub fn receive<R: Ask>(&mut self, pending: &Pending<R>) -> Result<R::Answer> {
        let deadline = Instant::now() + self.timeout;
        let most = match R::API_KEY == FetchRequest::<RecordSet>::API_KEY {
            true => MAX_RECORDS_BYTES,
            false => MAX_ANSWER_BYTES,
        };
        let response = read_response(&mut self.stream, most, deadline);
        let response = response.map_err(|e| self.error(e))?;
        let (correlation_id, decoded) =
            decode::<R>(&response, pending.version).map_err(|e| self.error(e))?;
        if correlation_id != pending.correlation_id {
            return Err(self.error(Error::undeliverable(format!(
                "a response to request {correlation_id}, expected was {}",
                pending.correlation_id
            ))));
        }
        Ok(decoded)
    }

    /// An error of this connection, with the server it is to.
    pub fn error(&self, error: Error) -> Error {
        error.at(format!("Fluvio at {}", self.address))
    }
}

/// Decodes a response: Int32 correlation id · what the request asked for.
pub fn decode<R: Ask>(response: &[u8], version: i16) -> Result<(i32, R::Answer)> {
    let mut cursor = Cursor::new(response);
    let mut correlation_id = 0i32;
    let mut decoded = R::Answer::default();
    guarded(|| {
        correlation_id.decode(&mut cursor, 0)?;
        decoded.decode(&mut cursor, version)
    })?;
    Ok((correlation_id, decoded))
}

/// Runs a decoder of the official types. Some of them panic at values that no server sends, such as
/// a duration that is too long; that must not end the program as if it were broken itself.
pub fn guarded<T, E>(decode: impl FnOnce() -> Result<T, E>) -> Result<T>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let unreadable = || Error::undeliverable("a response that cannot be read");
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok(decoded)) => Ok(decoded),
        Ok(Err(e)) => Err(unreadable().with_source(e)),
        Err(_) => Err(unreadable().with_source("it has values that make no sense")),
    }
}

fn read_response(stream: &mut FluvioStream, most: usize, deadline: Instant) -> Result<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len, deadline)?;
    let len = i32::from_be_bytes(len);
    let len = usize::try_from(len)
        .ok()
        .filter(|len| *len <= most)
        .ok_or_else(|| {
            let error = Error::undeliverable(format!("a response of {len} bytes"));
            error.with_hint("is this a Fluvio server, without TLS?")
        })?;
    let mut response = Vec::new();
    while response.len() < len {
        let start = response.len();
        response.resize(len.min(start + READ_BYTES), 0);
        stream.read_exact(&mut response[start..], deadline)?;
    }
    Ok(response)
}
