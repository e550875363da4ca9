//! A server that is there and says nothing, or as good as nothing.
//!
//! A middlebox that keeps our side open and passes nothing on, or a walsender that hangs, looks like a
//! database in which nothing happens. So statuses ask for a reply, as those of PostgreSQL's own
//! walreceiver do. No reply is told of after a while, and ends the session once the server would have
//! given us up for the same silence.
//!
//! A reply is behind what is being sent, which may take long. So the time begins anew with whatever
//! shows that something gets on: a reply, a message that was sent after the question, or enough bytes.
//! A frame that trickles, and keepalives that want a reply themselves, show nothing.

use std::time::{Duration, Instant};

use crate::base::error::{Error, Result};
use crate::observe::metrics::Metrics;
use crate::observe::peer::Side;
use crate::sink::lease::{Lease, Moment};

/// Positions may be confirmed in quick succession: not each of them asks.
const ASKED_APART: Duration = Duration::from_millis(100);

/// A reply that takes longer than this is waited for.
const PROMPT: Duration = Duration::from_secs(1);

/// A silence that lasts longer than this is worth a line.
const NOTICEABLE: Duration = Duration::from_secs(5);

/// How many bytes show that something gets on, whatever is in them. Less in the time that is worth a line
/// is less than the slowest of links has, 1 kB/s.
const MOVES_BYTES: usize = 4096;

/// A keepalive: Byte1 'd' · Int32 length · Byte1 'k' · Int64 · Int64 · Byte1.
const KEEPALIVE_BYTES: usize = 23;

/// What the server has let us wait for. A reader that does not read, because its producer has no room,
/// hears nothing, which does not count.
pub struct Silence {
    lease: Lease,
    /// The server's name.
    server: String,
    /// The time of a status whose reply has not come.
    asked: Option<Moment>,
    /// The time of the last status that asked for a reply.
    asked_last: Option<Moment>,
    /// The time since which nothing has got on.
    since: Option<Moment>,
    /// How many bytes have come since nothing got on.
    crept_bytes: usize,
    /// How many of them belong to keepalives that answer nothing.
    idle_bytes: usize,
    /// Whether a message has shown that something gets on.
    has_moved: bool,
    /// The time of the last read.
    read: Moment,
    /// The time of the last keepalive, by the server's clock.
    keepalive_us: Option<i64>,
    is_logged: bool,
    /// How much our clock is ahead of the server's, and how long the quickest message took: in ms.
    ahead_ms: Option<i64>,
    /// How much our clock is ahead of the server's at the least, by its last reply: in ms.
    surely_ahead_ms: Option<i64>,
    /// Whether the next message is the first of a read.
    is_first: bool,
}

impl Silence {
    /// Begins with a server of this name that has just begun to stream.
    pub fn of(server: String, lease: Lease) -> Silence {
        Silence {
            lease,
            server,
            asked: None,
            asked_last: None,
            since: None,
            crept_bytes: 0,
            idle_bytes: 0,
            has_moved: false,
            read: Moment::now(),
            keepalive_us: None,
            is_logged: false,
            ahead_ms: None,
            surely_ahead_ms: None,
            is_first: false,
        }
    }

    /// Decides whether the status that is sent now asks for a reply. One question is enough at a time; but
    /// the reply may have been taken for something else, so one that does not come is asked for again.
    pub fn must_ask(&mut self) -> bool {
        let apart = match self.asked {
            None => ASKED_APART,
            Some(_) => PROMPT,
        };
        let apart = apart.min(self.lease.patience() / 16);
        let asks = self.asked_last.is_none_or(|last| last.elapsed() >= apart);
        if asks {
            let now = Moment::now();
            self.asked.get_or_insert(now);
            self.asked_last = Some(now);
        }
        asks
    }

    /// Decides whether a status is to ask for a reply although none is due, while something is on its way to
    /// the topic: what may be written needs a new sign that the slot is ours.
    pub fn must_prove(&mut self) -> bool {
        self.lease.proved().elapsed() >= self.lease.new_for() / 2 && self.must_ask()
    }

    /// Takes down a message that the server sent at this time by its clock. One of each read is enough.
    pub fn message(&mut self, sent_us: i64) {
        if std::mem::take(&mut self.is_first) {
            self.message_at(sent_us / 1000, Moment::now());
        }
    }

    /// What was sent before the question may trickle out of a line that takes nothing any more.
    fn message_at(&mut self, sent_ms: i64, now: Moment) {
        let ahead_ms = self.compare_clocks(sent_ms, now);
        let sent = Moment::since_boot(sent_ms.saturating_add(ahead_ms));
        self.has_moved |= self.asked.is_none_or(|asked| sent >= asked);
        // Nobody but the walsender that has the slot for us sends it.
        if let Some(surely_ahead_ms) = self.surely_ahead_ms {
            let sent = Moment::since_boot(sent_ms.saturating_add(surely_ahead_ms));
            self.lease.renew(sent.min(now));
        }
    }

    /// Takes down a keepalive. It may have waited for us for long, while we were stopped or had no room, and
    /// be none that was asked for: it proves no more than that the server had the slot for us when it
    /// sent that. A clock of the server's that is set back makes it older than it is, which costs a
    /// question.
    ///
    /// A keepalive that wants a reply is no reply: the server has heard nothing of us for a while. Nor is
    /// one that comes a second time.
    pub fn keepalive(&mut self, sent_us: i64, wants_reply: bool) {
        let is_new = self.keepalive_us.replace(sent_us) != Some(sent_us);
        let answers = is_new && !wants_reply;
        self.keepalive_at(sent_us / 1000, answers, Moment::now());
    }

    fn keepalive_at(&mut self, sent_ms: i64, answers: bool, now: Moment) {
        let ahead_ms = self.compare_clocks(sent_ms, now);
        if let Some(asked) = self.asked {
            let sent = Moment::since_boot(sent_ms.saturating_add(ahead_ms));
            self.lease.renew(asked.min(sent));
            if answers {
                // A reply is not sent before it is asked for; what is none took at least as long as the
                // quickest message.
                let least_ms = asked.since_boot_ms().saturating_sub(sent_ms);
                self.surely_ahead_ms = Some(least_ms.min(ahead_ms));
            }
        }
        match answers {
            true => {
                self.asked = None;
                self.has_moved = true;
            }
            false => self.idle_bytes += KEEPALIVE_BYTES,
        }
    }

    fn compare_clocks(&mut self, sent_ms: i64, now: Moment) -> i64 {
        let ahead_ms = now.since_boot_ms().saturating_sub(sent_ms);
        let least_ms = self
            .ahead_ms
            .map_or(ahead_ms, |before| before.min(ahead_ms));
        self.ahead_ms = Some(least_ms);
        least_ms
    }

    /// Begins anew, because nobody was listening until now.
    pub fn pause(&mut self) {
        self.since = None;
        (self.crept_bytes, self.idle_bytes) = (0, 0);
    }

    /// Takes down how many bytes one read brought, once the messages of the reads before are taken down.
    /// Returns whether a status is due, because the server has been silent for half of the time after which
    /// that is an error.
    pub fn follow(&mut self, bytes: usize, metrics: &Metrics) -> Result<bool> {
        self.follow_at(bytes, metrics, Moment::now())
    }

    fn follow_at(&mut self, bytes: usize, metrics: &Metrics, now: Moment) -> Result<bool> {
        let patience = self.lease.patience();
        let shows_something = self.crept_bytes.saturating_sub(self.idle_bytes);
        if std::mem::take(&mut self.has_moved) || shows_something >= MOVES_BYTES {
            self.end(metrics);
        }
        // We were stopped, or had something else to do.
        if now.since(self.read) > patience / 4 {
            self.pause();
        }
        self.read = now;
        self.is_first |= bytes > 0;
        self.crept_bytes += bytes;
        let silent = now.since(*self.since.get_or_insert(now));
        if silent >= patience {
            return Err(self.went_silent(silent));
        }
        let Some(unanswered) = self.asked.map(|asked| now.since(asked)) else {
            return Ok(silent >= patience / 2);
        };
        // What got on in between was no reply, but no silence either.
        let waited = unanswered.min(silent);
        if waited >= PROMPT {
            let begun = Instant::now();
            let since = begun.checked_sub(waited).unwrap_or(begun);
            metrics.waits.begin_at(Side::Postgres, since);
        }
        if waited >= NOTICEABLE.min(patience / 2) && !std::mem::replace(&mut self.is_logged, true) {
            log::warn!(
                "waiting for {}: it has not answered for {} s; the session ends when it has not for {} s",
                self.server,
                waited.as_secs(),
                patience.as_secs()
            );
        }
        Ok(false)
    }

    fn end(&mut self, metrics: &Metrics) {
        self.pause();
        if metrics.waits.of(Side::Postgres).is_some() {
            metrics.waits.answered(Side::Postgres);
        }
        if std::mem::take(&mut self.is_logged) {
            log::info!("{} answers again", self.server);
        }
    }

    fn went_silent(&self, silent: Duration) -> Error {
        let (server, seconds) = (&self.server, silent.as_secs());
        Error::unreachable(match self.crept_bytes {
            0 => format!(
                "{server} has sent nothing for {seconds} s, not even the reply that was asked for"
            ),
            bytes => format!(
                "{server} has sent {bytes} bytes in {seconds} s, and not the reply that was asked for"
            ),
        })
        .with_hint(
            "the server hangs, or something between here and there keeps the connection open",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    /// The clock of the server has another beginning than ours.
    const SERVER_MS: i64 = 800_000_000_000;

    /// A server with 60 s, its metrics, and when it began to stream.
    struct Stage {
        silence: Silence,
        metrics: Metrics,
        begun: i64,
        _peer: UnixStream,
    }

    impl Stage {
        fn new() -> Stage {
            let (socket, peer) = UnixStream::pair().unwrap();
            let ask = || Ok(false);
            let timeout = Some(Duration::from_secs(60));
            let lease = Lease::begin(OwnedFd::from(socket), timeout, Box::new(ask));
            let begun = lease.proved().since_boot_ms();
            Stage {
                silence: Silence::of("PostgreSQL".to_owned(), lease),
                metrics: Metrics::default(),
                begun,
                _peer: peer,
            }
        }

        fn at(&self, ms: i64) -> Moment {
            Moment::since_boot(self.begun + ms)
        }

        /// A question at the beginning that has no answer, and ten reads a second, each of which brings so
        /// many bytes, and `message`. How many ms went by until that was said, and until it was an error.
        fn last(
            mut self,
            bytes: usize,
            mut message: impl FnMut(&mut Silence, i64, Moment),
        ) -> [Option<i64>; 2] {
            self.silence.compare_clocks(SERVER_MS, self.at(0));
            self.silence.asked = Some(self.at(0));
            let mut said = None;
            for ms in (100..200_000).step_by(100) {
                let now = self.at(ms);
                let followed = self.silence.follow_at(bytes, &self.metrics, now);
                if self.silence.is_logged {
                    said.get_or_insert(ms);
                    assert!(self.metrics.waits.of(Side::Postgres).is_some());
                }
                if followed.is_err() {
                    return [said, Some(ms)];
                }
                message(&mut self.silence, ms, now);
            }
            [said, None]
        }
    }

    #[test]
    fn what_was_sent_before_a_freeze_proves_nothing_after_it() {
        let mut stage = Stage::new();
        let lease = stage.silence.lease.clone();
        let mut keepalive = |asked_at: i64, sent: i64, read_at: i64| {
            stage.silence.asked = Some(stage.at(asked_at));
            let read_at = stage.at(read_at);
            stage.silence.keepalive_at(SERVER_MS + sent, true, read_at);
            lease.proved().since_boot_ms() - stage.begun
        };
        assert_eq!(keepalive(1_000, 1_001, 1_002), 1_000);
        // It was sent before the freeze, and is read after it: no answer to what was asked then.
        assert_eq!(keepalive(90_000, 2_000, 90_001), 2_001);
        assert_eq!(keepalive(90_002, 90_003, 90_005), 90_002);
    }

    #[test]
    fn a_message_is_a_sign_once_a_reply_has_told_the_clock() {
        let mut stage = Stage::new();
        let lease = stage.silence.lease.clone();
        let proved = |stage: &Stage| lease.proved().since_boot_ms() - stage.begun;
        let now = stage.at(1_000);
        stage.silence.message_at(SERVER_MS + 990, now);
        assert_eq!(proved(&stage), 0);
        stage.silence.asked = Some(stage.at(2_000));
        let now = stage.at(2_004);
        stage.silence.keepalive_at(SERVER_MS + 2_003, true, now);
        assert_eq!(proved(&stage), 2_000);
        // The reply may have been on its way for all of its 4 ms.
        let now = stage.at(5_010);
        stage.silence.message_at(SERVER_MS + 5_000, now);
        assert_eq!(proved(&stage), 4_997);
        // It was sent before a freeze, and is read after it.
        let now = stage.at(90_000);
        stage.silence.message_at(SERVER_MS + 6_000, now);
        assert_eq!(proved(&stage), 5_997);
    }

    #[test]
    fn what_trickles_is_as_good_as_nothing() {
        let nothing = |_: &mut Silence, _: i64, _: Moment| {};
        assert_eq!(Stage::new().last(0, nothing), [Some(5_100), Some(60_100)]);
        assert_eq!(Stage::new().last(1, nothing), [Some(5_100), Some(60_100)]);
        assert_eq!(Stage::new().last(200, nothing), [None, None]);
        // Whole messages, but those of long ago.
        let late = |silence: &mut Silence, ms: i64, now: Moment| {
            silence.message_at(SERVER_MS - 1_000 + ms / 1_000, now);
        };
        assert_eq!(Stage::new().last(6, late), [Some(5_100), Some(60_100)]);
        let new = |silence: &mut Silence, ms: i64, now: Moment| {
            silence.message_at(SERVER_MS + ms, now);
        };
        assert_eq!(Stage::new().last(6, new), [None, None]);
    }

    #[test]
    fn only_a_reply_answers() {
        let keepalive = |wants_reply: bool, advances: i64| {
            move |silence: &mut Silence, ms: i64, _: Moment| {
                silence.keepalive((SERVER_MS + ms * advances) * 1_000, wants_reply);
                // It is asked anew at once.
                silence.asked.get_or_insert(Moment::since_boot(ms));
            }
        };
        let last = |keepalive| Stage::new().last(KEEPALIVE_BYTES, keepalive);
        assert_eq!(last(keepalive(false, 1)), [None, None]);
        assert_eq!(last(keepalive(true, 1)), [Some(5_100), Some(60_100)]);
        // The first of them may be one.
        assert_eq!(last(keepalive(false, 0)), [Some(5_200), Some(60_200)]);
    }

    #[test]
    fn nobody_is_silent_while_we_do_not_listen() {
        let mut stage = Stage::new();
        stage.silence.asked = Some(stage.at(0));
        for ms in [100, 50_000, 100_000, 104_000] {
            let now = stage.at(ms);
            let followed = stage.silence.follow_at(0, &stage.metrics, now);
            assert!(!followed.unwrap(), "{ms}");
            assert!(!stage.silence.is_logged, "{ms}");
        }
    }
}
