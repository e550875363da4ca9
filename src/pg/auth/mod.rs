//! Proving who we are: trust, cleartext, MD5 and SCRAM-SHA-256, with channel binding or without.
//!
//! The exchange is a function from the server's requests to our answers; the socket is elsewhere
//! ([authentication messages](https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP)).

pub(crate) mod saslprep;
pub(crate) mod scram;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::frontend;

pub use self::scram::Channel;
use self::scram::{check_iterations, choose, forbidden, unbound, unsupported};
use crate::base::error::{Error, Kind, Result};
use crate::pg::params::ssl::{AuthMethod, ChannelBinding, Ssl};
use crate::pg::wire::cursor::Cursor;

/// The state of the exchange after an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The server's next message is awaited.
    Continue,
    /// The server has let us in.
    Done,
}

/// The authentication of one connection, from the first request to AuthenticationOk.
pub struct Exchange<'a> {
    user: &'a str,
    password: Option<&'a [u8]>,
    ssl: &'a Ssl,
    channel: &'a Channel,
    /// Whether the server has asked for a method. It may do so once: another one, after the first
    /// was answered, can only be meant to get more out of us.
    asked: bool,
    scram: Scram,
    /// Whether the server proves that it is the one at the other end of the TLS connection.
    is_bound: bool,
}

enum Scram {
    NotAsked,
    Running(ScramSha256),
    ServerProved,
}

impl<'a> Exchange<'a> {
    /// An exchange for `user`.
    pub fn new(
        user: &'a str,
        password: Option<&'a [u8]>,
        ssl: &'a Ssl,
        channel: &'a Channel,
    ) -> Self {
        Exchange {
            user,
            password,
            ssl,
            channel,
            asked: false,
            scram: Scram::NotAsked,
            is_bound: false,
        }
    }

    /// Answers one request: `R` · Int32 code · what the method needs.
    pub fn step(&mut self, body: &[u8], out: &mut BytesMut) -> Result<Step> {
        let mut c = Cursor::new(body);
        let code = c.i32("authentication code")?;
        self.check_method(code)?;
        self.asked |= matches!(code, 3 | 5 | 10);
        match code {
            0 => return self.ok(),
            3 => frontend::password_message(self.password()?, out).map_err(unwritable)?,
            5 => {
                let salt = c.bytes(4, "MD5 salt")?;
                let salt = [salt[0], salt[1], salt[2], salt[3]];
                let hash = md5_hash(self.user.as_bytes(), self.password()?, salt);
                frontend::password_message(hash.as_bytes(), out).map_err(unwritable)?;
            }
            10 => self.start_scram(&mut c, out)?,
            11 => {
                let Scram::Running(scram) = &mut self.scram else {
                    return Err(unasked());
                };
                check_iterations(c.rest())?;
                scram.update(c.rest()).map_err(refused)?;
                frontend::sasl_response(scram.message(), out).map_err(unwritable)?;
            }
            12 => {
                let Scram::Running(scram) = &mut self.scram else {
                    return Err(unasked());
                };
                scram.finish(c.rest()).map_err(refused)?;
                self.scram = Scram::ServerProved;
            }
            code => return Err(unsupported(method(code))),
        }
        Ok(Step::Continue)
    }

    /// Refuses a method that the URL forbids before anything is answered: the answer would tell something
    /// to somebody who asks for it in the server's place.
    fn check_method(&self, code: i32) -> Result<()> {
        if self.asked && matches!(code, 3 | 5 | 10) {
            return Err(Error::undeliverable(
                "the server asks for authentication a second time",
            ));
        }
        let (method, what) = match code {
            0 if self.asked => return Ok(()),
            0 => (AuthMethod::None, "lets us in without authentication"),
            3 => (AuthMethod::Password, "asks for the password in clear text"),
            5 => (AuthMethod::Md5, "asks for an MD5 hash of the password"),
            7 | 8 => (AuthMethod::Gss, "asks for GSSAPI"),
            9 => (AuthMethod::Sspi, "asks for SSPI"),
            10..=12 => (AuthMethod::ScramSha256, "asks for SCRAM-SHA-256"),
            _ => return Ok(()),
        };
        if !self.ssl.require_auth.allows(method) {
            return Err(forbidden(&format!(
                "the server {what}, require_auth forbids it"
            )));
        }
        if self.ssl.channel_binding == ChannelBinding::Require && method != AuthMethod::ScramSha256
        {
            return Err(forbidden(&format!(
                "the server {what}, channel_binding=require forbids it"
            )));
        }
        Ok(())
    }

    /// Takes AuthenticationOk, if the server has proved under SCRAM that it knows the password too.
    fn ok(&self) -> Result<Step> {
        match self.scram {
            Scram::Running(_) => Err(Error::new(
                Kind::Permission,
                "the server ended SCRAM authentication without its proof of the password",
            )
            .with_hint("this is not the server it claims to be, or something between alters the connection")),
            Scram::ServerProved
                if self.ssl.channel_binding == ChannelBinding::Require && !self.is_bound =>
            {
                Err(unbound())
            }
            Scram::NotAsked | Scram::ServerProved => Ok(Step::Done),
        }
    }

    fn start_scram(&mut self, c: &mut Cursor<'_>, out: &mut BytesMut) -> Result<()> {
        let mut offered = Vec::new();
        loop {
            match &*c.str("SASL mechanism")? {
                "" => break,
                mechanism => offered.push(mechanism.to_owned()),
            }
        }
        let chosen = choose(&offered, self.channel, self.ssl.channel_binding)?;
        self.is_bound = chosen.mechanism == SCRAM_SHA_256_PLUS;
        let scram = ScramSha256::new(&saslprep::prepare(self.password()?), chosen.binding);
        frontend::sasl_initial_response(chosen.mechanism, scram.message(), out)
            .map_err(unwritable)?;
        self.scram = Scram::Running(scram);
        Ok(())
    }

    fn password(&self) -> Result<&'a [u8]> {
        self.password.ok_or_else(|| {
            Error::new(
                Kind::Permission,
                "the server asks for a password and the database URL has none",
            )
            .with_hint("write it into FLUVIO_PG_DATABASE_URL: postgres://user:password@...")
        })
    }
}

fn method(code: i32) -> &'static str {
    match code {
        2 => "Kerberos V5",
        6 => "SCM credentials",
        7 | 8 => "GSSAPI",
        9 => "SSPI",
        _ => "a method that is not known",
    }
}

fn refused(error: std::io::Error) -> Error {
    Error::new(Kind::Permission, "SCRAM authentication failed")
        .with_source(error)
        .with_hint("this is not the server it claims to be, or it is broken")
}

fn unasked() -> Error {
    Error::undeliverable("the server continued a SASL exchange that was not begun")
}

/// The error of a string that cannot be sent: those of the protocol end with a zero byte.
fn unwritable(_: std::io::Error) -> Error {
    Error::config("the password contains a zero byte")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain<'a>(ssl: &'a Ssl, password: Option<&'a [u8]>) -> Exchange<'a> {
        Exchange::new("bob", password, ssl, &Channel::Plain)
    }

    fn step(exchange: &mut Exchange<'_>, code: i32, rest: &[u8]) -> Result<(Step, Vec<u8>)> {
        let mut out = BytesMut::new();
        let body = [&code.to_be_bytes()[..], rest].concat();
        exchange
            .step(&body, &mut out)
            .map(|step| (step, out.to_vec()))
    }

    #[test]
    fn trust_cleartext_and_md5() {
        let ssl = Ssl::default();
        let mut exchange = plain(&ssl, Some(b"secret"));
        assert_eq!(step(&mut exchange, 0, b"").unwrap().0, Step::Done);
        assert_eq!(
            step(&mut exchange, 3, b"").unwrap().1,
            b"p\0\0\0\x0bsecret\0"
        );
        let mut exchange = plain(&ssl, Some(b"secret"));
        let md5 = step(&mut exchange, 5, b"abcd").unwrap().1;
        // md5(md5("secretbob") + "abcd")
        assert!(
            md5.starts_with(b"p\0\0\0\x28md5") && md5.len() == 41,
            "{md5:?}"
        );
    }

    #[test]
    fn a_scram_server_must_prove_itself() {
        let ssl = Ssl::default();
        let mut exchange = plain(&ssl, Some(b"secret"));
        step(&mut exchange, 10, b"SCRAM-SHA-256\0\0").unwrap();
        let error = step(&mut exchange, 0, b"").unwrap_err();
        assert!(error.to_string().contains("without its proof"));
    }

    #[test]
    fn a_second_method_is_refused() {
        let ssl = Ssl::default();
        for first in [&b"SCRAM-SHA-256\0\0"[..], b""] {
            let mut exchange = plain(&ssl, Some(b"secret"));
            let code = if first.is_empty() { 3 } else { 10 };
            step(&mut exchange, code, first).unwrap();
            for (code, rest) in [(3, &b""[..]), (5, b"abcd"), (10, b"SCRAM-SHA-256\0\0")] {
                let error = step(&mut exchange, code, rest).unwrap_err();
                assert!(error.to_string().contains("a second time"), "{error}");
            }
        }
    }

    #[test]
    fn the_binding_is_that_which_the_channel_and_the_url_allow() {
        let (plain, tls) = (Channel::Plain, Channel::Tls(Vec::new()));
        let both: &[u8] = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
        let (one, plus): (&[u8], &[u8]) = (b"SCRAM-SHA-256\0\0", b"SCRAM-SHA-256-PLUS\0\0");
        use ChannelBinding::{Disable, Prefer, Require};
        let cases = [
            (&plain, Prefer, one, Ok("SCRAM-SHA-256\0\0\0\0 n,,")),
            (&plain, Prefer, both, Err("over a connection without TLS")),
            (&plain, Require, one, Err("does not bind")),
            (&tls, Prefer, one, Ok("SCRAM-SHA-256\0\0\0\0 y,,")),
            (&tls, Disable, one, Ok("SCRAM-SHA-256\0\0\0\0 n,,")),
            (&tls, Disable, both, Ok("SCRAM-SHA-256\0\0\0\0 n,,")),
            (&tls, Disable, plus, Err("SASL (SCRAM-SHA-256-PLUS)")),
            (&tls, Require, one, Err("does not bind")),
            // This one is no certificate and has no hash.
            (&tls, Prefer, both, Err("no hash function")),
        ];
        for (channel, channel_binding, offered, expected) in cases {
            let ssl = Ssl {
                channel_binding,
                ..Ssl::default()
            };
            let mut exchange = Exchange::new("bob", Some(b"secret"), &ssl, channel);
            let answer = step(&mut exchange, 10, offered);
            match (answer, expected) {
                (Ok((_, bytes)), Ok(expected)) => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let (name, gs2) = expected.split_once("\0\0\0\0 ").unwrap();
                    assert!(
                        text.contains(&format!("{name}\0")) && text.contains(gs2),
                        "{text}"
                    );
                }
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{error}");
                }
                (answer, expected) => panic!("{answer:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn channel_binding_that_is_required_takes_nothing_else() {
        let ssl = Ssl {
            channel_binding: ChannelBinding::Require,
            ..Ssl::default()
        };
        for code in [0, 3, 5] {
            let mut exchange = plain(&ssl, Some(b"secret"));
            let error = step(&mut exchange, code, b"abcd").unwrap_err();
            assert!(
                error.to_string().contains("channel_binding=require"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_cannot_be_answered_is_an_error() {
        let ssl = Ssl::default();
        let mut exchange = plain(&ssl, None);
        assert_eq!(
            step(&mut exchange, 3, b"").unwrap_err().kind(),
            Kind::Permission
        );
        assert!(
            step(&mut exchange, 7, b"")
                .unwrap_err()
                .to_string()
                .contains("GSSAPI")
        );
        assert!(step(&mut exchange, 11, b"").is_err());
        for mechanisms in [&b"SCRAM-SHA-1\0\0"[..], b"SCRAM"] {
            let mut exchange = plain(&ssl, Some(b"secret"));
            assert!(step(&mut exchange, 10, mechanisms).is_err());
        }
        assert!(exchange.step(b"\0", &mut BytesMut::new()).is_err());
    }
}
