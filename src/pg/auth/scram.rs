//! The choices of SCRAM: the mechanism, what binds it to the channel, and how much work it may be
//! ([SASL authentication](https://www.postgresql.org/docs/current/sasl-authentication.html)).

use postgres_protocol::authentication::sasl::{
    ChannelBinding as Binding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS,
};

use crate::base::error::{Error, Kind, Result};
use crate::base::tls::certificate::Certificate;
use crate::pg::params::ssl::ChannelBinding;

/// The most iterations that a server may ask for; the library computes no more. PostgreSQL's default
/// is 4096. This many take a tenth of a second, but the protocol allows two billion, with which a
/// server could keep us computing for a quarter of an hour, deadline or not.
const MAX_SCRAM_ITERATIONS: u32 = 100_000;

/// The channel that the exchange runs over.
#[derive(Debug)]
pub enum Channel {
    /// No TLS.
    Plain,
    /// TLS, with this certificate of the server, in DER.
    Tls(Vec<u8>),
}

/// The mechanism that was chosen of those that a server offers.
pub struct Chosen {
    /// The name of the mechanism.
    pub mechanism: &'static str,
    /// The binding to the channel, which is under the signature.
    pub binding: Binding,
}

/// Chooses the strongest that is offered and that the URL allows.
pub fn choose(offered: &[String], channel: &Channel, wanted: ChannelBinding) -> Result<Chosen> {
    let offers = |name: &str| offered.iter().any(|mechanism| mechanism == name);
    if offers(SCRAM_SHA_256_PLUS) && may_bind(channel, wanted)? {
        return Ok(Chosen {
            mechanism: SCRAM_SHA_256_PLUS,
            binding: Binding::tls_server_end_point(end_point(channel)?),
        });
    }
    if wanted == ChannelBinding::Require {
        return Err(unbound());
    }
    if !offers(SCRAM_SHA_256) {
        return Err(unsupported(&format!("SASL ({})", offered.join(", "))));
    }
    Ok(Chosen {
        mechanism: SCRAM_SHA_256,
        binding: no_binding(channel, wanted),
    })
}

/// Whether to take up the offer of channel binding.
fn may_bind(channel: &Channel, wanted: ChannelBinding) -> Result<bool> {
    match channel {
        Channel::Plain => Err(forbidden(
            "the server offers SCRAM-SHA-256-PLUS over a connection without TLS",
        )),
        Channel::Tls(_) => Ok(wanted != ChannelBinding::Disable),
    }
}

/// The binding where none is offered, under the signature: a server that does offer it then knows that
/// somebody has taken its offer away.
fn no_binding(channel: &Channel, wanted: ChannelBinding) -> Binding {
    match channel {
        Channel::Tls(_) if wanted != ChannelBinding::Disable => Binding::unrequested(),
        _ => Binding::unsupported(),
    }
}

fn end_point(channel: &Channel) -> Result<Vec<u8>> {
    let found = match channel {
        Channel::Plain => None,
        Channel::Tls(der) => Certificate::parse(der).and_then(|found| found.end_point()),
    };
    found.ok_or_else(|| {
        Error::config(
            "no hash function belongs to the signature of the server's certificate, and so \
             there is no channel binding",
        )
        .with_hint(
            "so it is with Ed25519: have the certificate signed with RSA or ECDSA, or add \
             channel_binding=disable to the database URL",
        )
    })
}

/// The error of a method that this program does not have.
pub fn unsupported(method: &str) -> Error {
    Error::new(
        Kind::Permission,
        format!("the server asks for authentication by {method}"),
    )
    .with_hint("allow scram-sha-256 for this user in pg_hba.conf")
}

/// Refuses more iterations than are computed, in the server's first message: `r=` nonce, `s=` salt, `i=`
/// number of iterations ([RFC 5802](https://www.rfc-editor.org/rfc/rfc5802#section-5.1)). What cannot be
/// read is left to the library.
pub fn check_iterations(message: &[u8]) -> Result<()> {
    let mut attributes = message.split(|byte| *byte == b',');
    let digits = attributes.find_map(|attribute| attribute.strip_prefix(b"i="));
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    match digits.map(str::parse::<u32>) {
        Some(Ok(iterations)) if iterations > MAX_SCRAM_ITERATIONS => Err(Error::new(
            Kind::Permission,
            format!(
                "the server asks for {iterations} iterations of SCRAM, at most \
                 {MAX_SCRAM_ITERATIONS} are computed"
            ),
        )
        .with_hint(
            "SET scram_iterations to less, and then the password of this user once more with \
             \\password",
        )),
        _ => Ok(()),
    }
}

/// The error of a server that does less than the URL demands.
pub fn forbidden(what: &str) -> Error {
    Error::new(Kind::Permission, what).with_hint(
        "the server is configured for less than the database URL demands, or something between \
         alters the connection",
    )
}

/// The error where nothing binds the authentication to TLS.
pub fn unbound() -> Error {
    forbidden(
        "the server does not bind the authentication to TLS, channel_binding=require demands it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iterations_are_limited_and_the_error_says_so() {
        for (message, says) in [
            (&b"r=x,s=c2FsdA==,i=100000"[..], None),
            (
                b"r=x,s=c2FsdA==,i=2147483647",
                Some("2147483647 iterations"),
            ),
            (b"r=x,s=c2FsdA==,i=100001,m=1", Some("100001 iterations")),
            // The library says what it thinks of these.
            (b"r=x,s=c2FsdA==,i=9999999999999999", None),
            (b"r=x,s=c2FsdA==,i=-1", None),
            (b"\xFF", None),
        ] {
            match (check_iterations(message), says) {
                (Ok(()), None) => {}
                (Err(error), Some(says)) => {
                    assert!(error.to_string().contains(says), "{error}");
                    assert_eq!(error.kind(), Kind::Permission);
                }
                (found, says) => panic!("{found:?}, not {says:?}"),
            }
        }
    }
}
