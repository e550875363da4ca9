//! Requests for authentication by a server that does not know the password.

use bytes::BytesMut;
use postgres_source::pg::Ssl;
use postgres_source::pg::{Channel, Exchange, Step};

const PASSWORD: &[u8] = b"hunter2";

/// What stands in the input for our nonce, which is another one each time.
const NONCE: &[u8] = b"NONCE";

const CLEARTEXT: i32 = 3;
const SASL: i32 = 10;

/// The input is a sequence of requests.
pub fn auth(data: &[u8]) {
    let (ssl, channel) = (Ssl::default(), Channel::Plain);
    let mut exchange = Exchange::new("bob", Some(PASSWORD), &ssl, &channel);
    let mut nonce = Vec::new();
    let mut in_scram = false;
    for piece in super::pieces(data) {
        let request = with_nonce(piece, &nonce);
        if is_slow(&request) {
            return;
        }
        let mut out = BytesMut::new();
        let Ok(step) = exchange.step(&request, &mut out) else {
            return;
        };
        let code = request.first_chunk().map(|code| i32::from_be_bytes(*code));
        in_scram |= code == Some(SASL);
        if step == Step::Done {
            assert!(!in_scram, "let in without a proof of the password");
            assert!(out.is_empty());
            return;
        }
        let told = out.windows(PASSWORD.len()).any(|part| part == PASSWORD);
        assert!(
            !told || code == Some(CLEARTEXT) && !in_scram,
            "the password is told where it was not asked for"
        );
        if let Some(at) = out.windows(3).position(|part| part == b",r=") {
            nonce = out[at + 3..].to_vec();
        }
    }
}

fn with_nonce(piece: &[u8], nonce: &[u8]) -> Vec<u8> {
    match piece.windows(NONCE.len()).position(|part| part == NONCE) {
        Some(at) => [&piece[..at], nonce, &piece[at + NONCE.len()..]].concat(),
        None => piece.to_vec(),
    }
}

/// So many iterations take longer than there is time for each input.
fn is_slow(request: &[u8]) -> bool {
    let digits = request.windows(2).position(|part| part == b"i=");
    digits.is_some_and(|at| {
        let digits = request[at + 2..].iter().take_while(|b| b.is_ascii_digit());
        (4..=6).contains(&digits.count())
    })
}
