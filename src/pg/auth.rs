//! Proving who we are: trust, cleartext, MD5 and SCRAM-SHA-256.
//!
//! The exchange is a function from the server's requests to our answers; the socket is elsewhere
//! ([authentication messages](https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP)).

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;

use super::wire::Cursor;
use crate::error::{Error, Kind, Result};

/// What an answer leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The server's next message is awaited.
    Continue,
    /// We are in.
    Done,
}

/// One exchange, from the first request to AuthenticationOk.
pub struct Exchange<'a> {
    user: &'a str,
    password: Option<&'a [u8]>,
    scram: Scram,
}

enum Scram {
    NotAsked,
    Running(ScramSha256),
    ServerProved,
}

impl<'a> Exchange<'a> {
    /// An exchange for `user`.
    pub fn new(user: &'a str, password: Option<&'a [u8]>) -> Self {
        Exchange {
            user,
            password,
            scram: Scram::NotAsked,
        }
    }

    /// Answers one request: `R` · Int32 code · what the method needs.
    pub fn step(&mut self, body: &[u8], out: &mut BytesMut) -> Result<Step> {
        let mut c = Cursor::new(body);
        match c.i32("authentication code")? {
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

    /// Under SCRAM the server has to prove that it knows the password too.
    fn ok(&self) -> Result<Step> {
        match self.scram {
            Scram::Running(_) => Err(Error::new(
                Kind::Permission,
                "the server ended SCRAM authentication without its proof of the password",
            )
            .with_hint("this is not the server it claims to be, or something between alters the connection")),
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
        if !offered.iter().any(|mechanism| mechanism == SCRAM_SHA_256) {
            return Err(unsupported(&format!("SASL ({})", offered.join(", "))));
        }
        // Without TLS there is no channel to bind to.
        let scram = ScramSha256::new(self.password()?, ChannelBinding::unsupported());
        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), out).map_err(unwritable)?;
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

fn unsupported(method: &str) -> Error {
    Error::new(
        Kind::Permission,
        format!("the server asks for authentication by {method}"),
    )
    .with_hint("allow scram-sha-256 for this user in pg_hba.conf")
}

fn refused(error: std::io::Error) -> Error {
    Error::new(Kind::Permission, "SCRAM authentication failed")
        .with_source(error)
        .with_hint("this is not the server it claims to be, or it is broken")
}

fn unasked() -> Error {
    Error::undeliverable("the server continued a SASL exchange that was not begun")
}

/// The protocol's strings end with a zero byte.
fn unwritable(_: std::io::Error) -> Error {
    Error::config("the password contains a zero byte")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(exchange: &mut Exchange<'_>, code: i32, rest: &[u8]) -> Result<(Step, Vec<u8>)> {
        let mut out = BytesMut::new();
        let body = [&code.to_be_bytes()[..], rest].concat();
        exchange
            .step(&body, &mut out)
            .map(|step| (step, out.to_vec()))
    }

    #[test]
    fn trust_cleartext_and_md5() {
        let mut exchange = Exchange::new("bob", Some(b"secret"));
        assert_eq!(step(&mut exchange, 0, b"").unwrap().0, Step::Done);
        assert_eq!(
            step(&mut exchange, 3, b"").unwrap().1,
            b"p\0\0\0\x0bsecret\0"
        );
        let md5 = step(&mut exchange, 5, b"abcd").unwrap().1;
        // md5(md5("secretbob") + "abcd")
        assert!(
            md5.starts_with(b"p\0\0\0\x28md5") && md5.len() == 41,
            "{md5:?}"
        );
    }

    #[test]
    fn a_scram_server_must_prove_itself() {
        let mut exchange = Exchange::new("bob", Some(b"secret"));
        step(&mut exchange, 10, b"SCRAM-SHA-256\0\0").unwrap();
        let error = step(&mut exchange, 0, b"").unwrap_err();
        assert!(error.to_string().contains("without its proof"));
    }

    #[test]
    fn what_cannot_be_answered_is_an_error() {
        let mut exchange = Exchange::new("bob", None);
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
        assert!(step(&mut exchange, 10, b"SCRAM-SHA-1\0\0").is_err());
        assert!(step(&mut exchange, 10, b"SCRAM").is_err());
        assert!(exchange.step(b"\0", &mut BytesMut::new()).is_err());
    }
}
