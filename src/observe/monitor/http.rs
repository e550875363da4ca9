//! Just enough of HTTP: three paths to GET, one request a connection, a few connections at once.
//!
//! No crate for it: what there is either brings an async runtime or is not kept any more, and all of
//! it does far more than is needed here.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::base::tls::stream::is_timeout;
use crate::observe::metrics::{Metrics, text};

/// The longest request, longer than any scraper's, its headers included.
const MAX_REQUEST_BYTES: usize = 8 * 1024;

/// The time that one connection may last.
const DEADLINE: Duration = Duration::from_secs(2);

/// The most connections at once; more of them end the oldest: whoever only holds them keeps nobody from
/// being answered.
const MOST: usize = 16;

/// The pause when no connection can be taken, because there are no file descriptors left for one.
const PAUSE: Duration = Duration::from_secs(1);

/// Answers requests for as long as the process lives.
pub fn serve(listener: &TcpListener, metrics: &Metrics, connector: &str) {
    let mut visits = Vec::new();
    // Somebody may have given up between being announced and being let in.
    let mut ready = listener.set_nonblocking(true);
    loop {
        let served = ready.and_then(|()| serve_once(listener, &mut visits, metrics, connector));
        ready = Ok(());
        if let Err(error) = served
            && !is_timeout(&error)
        {
            log::debug!("metrics: {error}");
            thread::sleep(PAUSE);
        }
    }
}

/// Waits until there is something to do, and does it.
fn serve_once(
    listener: &TcpListener,
    visits: &mut Vec<Visit>,
    metrics: &Metrics,
    connector: &str,
) -> io::Result<()> {
    let mut polled = vec![PollFd::new(listener, PollFlags::IN)];
    polled.extend(visits.iter().map(Visit::polled));
    // The oldest is the first whose time is over.
    let left = visits.first().map(Visit::left);
    poll(&mut polled, left.map(timespec).as_ref())?;
    let is_ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
    let mut ready = is_ready[1..].iter();
    visits.retain_mut(|visit| {
        let is_ready = ready.next().copied().unwrap_or_default();
        // A peer that is slow or gone has nothing to complain about.
        !visit.left().is_zero() && (!is_ready || visit.go_on(metrics, connector).unwrap_or(false))
    });
    if is_ready[0] {
        let (connection, _) = listener.accept()?;
        if visits.len() == MOST {
            visits.remove(0);
        }
        visits.push(Visit::begin(connection)?);
    }
    Ok(())
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

/// A connection, from its request to the end of the answer.
struct Visit {
    connection: TcpStream,
    since: Instant,
    request: Vec<u8>,
    answer: Vec<u8>,
    sent: usize,
}

impl Visit {
    fn begin(connection: TcpStream) -> io::Result<Visit> {
        connection.set_nonblocking(true)?;
        Ok(Visit {
            connection,
            since: Instant::now(),
            request: Vec::new(),
            answer: Vec::new(),
            sent: 0,
        })
    }

    fn left(&self) -> Duration {
        DEADLINE.saturating_sub(self.since.elapsed())
    }

    fn polled(&self) -> PollFd<'_> {
        let wanted = match self.answer.is_empty() {
            true => PollFlags::IN,
            false => PollFlags::OUT,
        };
        PollFd::new(&self.connection, wanted)
    }

    /// Reads or writes once: whether there is more to do.
    fn go_on(&mut self, metrics: &Metrics, connector: &str) -> io::Result<bool> {
        if self.answer.is_empty() {
            let mut part = [0; 1024];
            match self.connection.read(&mut part)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => self.request.extend_from_slice(&part[..read]),
            }
            let is_whole = self.request.windows(4).any(|end| end == b"\r\n\r\n");
            if self.request.len() > MAX_REQUEST_BYTES {
                self.answer = too_long().bytes(Body::Sent);
            } else if is_whole {
                let head = String::from_utf8_lossy(&self.request);
                self.answer = respond(&head, metrics, connector);
            } else {
                return Ok(true);
            }
        }
        self.sent += self.connection.write(&self.answer[self.sent..])?;
        Ok(self.sent < self.answer.len())
    }
}

/// Whether a response has the body that its head tells of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    Sent,
    LeftOut,
}

fn too_long() -> Response {
    Response::plain(
        "431 Request Header Fields Too Large",
        "the request is too long",
    )
}

struct Response {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

impl Response {
    fn bytes(self, body: Body) -> Vec<u8> {
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.status,
            self.content_type,
            self.body.len()
        );
        match body {
            Body::Sent => (head + &self.body).into_bytes(),
            Body::LeftOut => head.into_bytes(),
        }
    }

    fn plain(status: &'static str, text: &str) -> Response {
        Response {
            status,
            content_type: "text/plain; charset=utf-8",
            body: format!("{text}\n"),
        }
    }

    /// The response to whoever decides about restarts or traffic.
    fn judged(judged: Result<String, String>) -> Response {
        match judged {
            Ok(text) => Response::plain("200 OK", &text),
            Err(text) => Response::plain("503 Service Unavailable", &text),
        }
    }
}

fn respond(head: &str, metrics: &Metrics, connector: &str) -> Vec<u8> {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    let is_http = |version: &str| version.starts_with("HTTP/1.");
    if !words.next().is_some_and(is_http) {
        return Response::plain("400 Bad Request", "no request of HTTP/1").bytes(Body::Sent);
    }
    match method {
        Some("GET") => page(target, metrics, connector).bytes(Body::Sent),
        Some("HEAD") => page(target, metrics, connector).bytes(Body::LeftOut),
        _ => Response::plain("405 Method Not Allowed", "only GET and HEAD").bytes(Body::Sent),
    }
}

fn page(target: &str, metrics: &Metrics, connector: &str) -> Response {
    match target.split('?').next() {
        Some("/metrics") => Response {
            status: "200 OK",
            content_type: text::CONTENT_TYPE,
            body: text::render_metrics(metrics, connector),
        },
        Some("/healthz") => Response::judged(metrics.health()),
        Some("/readyz") => Response::judged(metrics.readiness()),
        _ => Response::plain("404 Not Found", "/metrics, /healthz or /readyz"),
    }
}
