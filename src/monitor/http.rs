//! Just enough of HTTP: three paths to GET, one request a connection, one connection at a time.
//!
//! No crate for it: what there is either brings an async runtime or is not kept any more, and all of
//! it does far more than is needed here.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::metrics::{Metrics, text};

/// Longer than the request of any scraper, its headers included.
const MAX_REQUEST_BYTES: usize = 8 * 1024;

/// How long one connection may keep others waiting.
const DEADLINE: Duration = Duration::from_secs(2);

/// The pause when no connection can be taken, because there are no file descriptors left for one.
const PAUSE: Duration = Duration::from_secs(1);

/// Answers for as long as the process lives.
pub fn serve(listener: &TcpListener, metrics: &Metrics, connector: &str) {
    loop {
        match listener.accept() {
            // A peer that is slow or gone has nothing to complain about.
            Ok((mut connection, _)) => drop(answer(&mut connection, metrics, connector)),
            Err(error) => {
                log::debug!("metrics: {error}");
                thread::sleep(PAUSE);
            }
        }
    }
}

fn answer(connection: &mut TcpStream, metrics: &Metrics, connector: &str) -> std::io::Result<()> {
    let deadline = Instant::now() + DEADLINE;
    let response = match request(connection, deadline)? {
        Some(head) => respond(&head, metrics, connector),
        None => Response::plain(
            "431 Request Header Fields Too Large",
            "the request is too long",
        ),
    };
    let Response {
        status,
        content_type,
        body,
    } = response;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    connection.set_write_timeout(Some(DEADLINE))?;
    connection.write_all((head + &body).as_bytes())
}

/// The request up to the empty line; `None` when that does not come in time or is too far away.
fn request(connection: &mut TcpStream, deadline: Instant) -> std::io::Result<Option<String>> {
    let (mut request, mut part) = (Vec::new(), [0; 1024]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        connection.set_read_timeout(Some(left))?;
        match connection.read(&mut part)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => request.extend_from_slice(&part[..read]),
        }
        if request.len() > MAX_REQUEST_BYTES {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8_lossy(&request).into_owned()))
}

struct Response {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

impl Response {
    fn plain(status: &'static str, text: &str) -> Response {
        Response {
            status,
            content_type: "text/plain; charset=utf-8",
            body: format!("{text}\n"),
        }
    }

    /// For whoever decides about restarts or traffic.
    fn judged(judged: Result<String, String>) -> Response {
        match judged {
            Ok(text) => Response::plain("200 OK", &text),
            Err(text) => Response::plain("503 Service Unavailable", &text),
        }
    }
}

fn respond(head: &str, metrics: &Metrics, connector: &str) -> Response {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    if !words
        .next()
        .is_some_and(|version| version.starts_with("HTTP/1."))
    {
        return Response::plain("400 Bad Request", "no request of HTTP/1");
    }
    if method != Some("GET") {
        return Response::plain("405 Method Not Allowed", "only GET");
    }
    match target.split('?').next() {
        Some("/metrics") => Response {
            status: "200 OK",
            content_type: text::CONTENT_TYPE,
            body: text::render(metrics, connector),
        },
        Some("/healthz") => Response::judged(metrics.health()),
        Some("/readyz") => Response::judged(metrics.readiness()),
        _ => Response::plain("404 Not Found", "/metrics, /healthz or /readyz"),
    }
}
