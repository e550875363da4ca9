//! Servers that let nobody in: they ask, answer and fail as no real one does, or none at a time that
//! a test can choose.

use crate::support::connector::{ConfigFile, Connector};
use crate::support::outcome::{assert_fails, assert_fails_once};
use crate::support::pipeline::DEADLINE;
use crate::support::script::{Peer, Script, Step, frames};

fn config() -> ConfigFile {
    ConfigFile::new("t", "p", "s").set("name", "script")
}

/// The URL, with a password that must not be told.
fn url(script: &Script) -> String {
    format!("postgres://postgres:hunter2@127.0.0.1:{}/db", script.port())
}

#[track_caller]
fn assert_ends(play: impl Fn(&mut Peer) -> Step + Send + Sync + 'static, code: i32, says: &[&str]) {
    assert_ends_at("", play, code, says);
}

/// The same with something behind the URL.
#[track_caller]
fn assert_ends_at(
    options: &str,
    play: impl Fn(&mut Peer) -> Step + Send + Sync + 'static,
    code: i32,
    says: &[&str],
) {
    let script = Script::start(play);
    let place = format!("PostgreSQL at 127.0.0.1:{}", script.port());
    let mut all = vec![place.as_str()];
    all.extend(says);
    let url = format!("{}{options}", url(&script));
    assert_fails_once(&config().path(), &url, code, &all);
    script.finish();
}

#[test]
fn the_startup_packet_pins_what_values_look_like() {
    let script = Script::start(|peer| {
        let found = peer.expect_startup()?;
        let expected = [
            ("DateStyle", "ISO"),
            ("IntervalStyle", "postgres"),
            ("TimeZone", "UTC"),
            ("application_name", "postgres-source/script"),
            ("bytea_output", "hex"),
            ("client_encoding", "UTF8"),
            ("client_min_messages", "notice"),
            ("database", "db"),
            ("default_transaction_deferrable", "off"),
            ("default_transaction_isolation", "read committed"),
            ("default_transaction_read_only", "off"),
            ("extra_float_digits", "3"),
            ("idle_in_transaction_session_timeout", "0"),
            ("lc_monetary", "C"),
            ("lock_timeout", "0"),
            ("options", "-c work_mem=77kB"),
            ("quote_all_identifiers", "off"),
            ("replication", "database"),
            ("role", "none"),
            ("search_path", "pg_catalog"),
            ("standard_conforming_strings", "on"),
            ("statement_timeout", "0"),
            ("user", "postgres"),
        ];
        let found: Vec<_> = found
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(found, expected);
        peer.send(&frames::error_response("28000", "seen"))
    });
    let url = format!("{}?options=-c%20work_mem%3D77kB", url(&script));
    assert_fails(&config().path(), &url, 77, &["seen [SQLSTATE 28000]"]);
    script.finish();
}

#[test]
fn methods_that_cannot_be_answered_are_named() {
    let cases: [(Vec<u8>, &str); 6] = [
        (frames::authentication_other(2), "Kerberos V5"),
        (frames::authentication_other(7), "GSSAPI"),
        (frames::authentication_other(9), "SSPI"),
        (
            frames::authentication_other(99),
            "a method that is not known",
        ),
        (
            frames::authentication_sasl(&["OAUTHBEARER", "SCRAM-SHA-1"]),
            "SASL (OAUTHBEARER, SCRAM-SHA-1)",
        ),
        (frames::authentication_sasl(&[]), "SASL ()"),
    ];
    for (request, method) in cases {
        let play = move |peer: &mut Peer| {
            peer.expect_startup()?;
            peer.send(&request)?;
            peer.expect_closed()
        };
        let says = format!("the server asks for authentication by {method}");
        assert_ends(play, 77, &[&says, "allow scram-sha-256 for this user"]);
    }
}

/// What the client says first in SCRAM: its nonce.
fn scram_nonce(peer: &mut Peer) -> Step<String> {
    peer.expect_startup()?;
    peer.send(&frames::authentication_sasl(&["SCRAM-SHA-256"]))?;
    let body = peer.expect(b'p')?;
    let text = String::from_utf8_lossy(&body).into_owned();
    if !text.starts_with("SCRAM-SHA-256\0") {
        return Err(format!("not SCRAM-SHA-256 but {text}"));
    }
    let (_, nonce) = text
        .split_once(",r=")
        .ok_or("a first message has a nonce")?;
    Ok(nonce.to_owned())
}

fn scram_challenge(peer: &mut Peer, nonce: &str) -> Step {
    let challenge = format!("r={nonce}and-more,s=c2FsdA==,i=4096");
    peer.send(&frames::authentication_sasl_continue(challenge.as_bytes()))?;
    peer.expect(b'p').map(drop)
}

#[test]
fn a_scram_server_must_prove_that_it_knows_the_password() {
    let without_proof = "the server ended SCRAM authentication without its proof of the password";
    let at_once = |peer: &mut Peer| {
        scram_nonce(peer)?;
        peer.send_welcome()?;
        peer.expect_closed()
    };
    assert_ends(
        at_once,
        77,
        &[without_proof, "not the server it claims to be"],
    );

    let after_our_proof = |peer: &mut Peer| {
        let nonce = scram_nonce(peer)?;
        scram_challenge(peer, &nonce)?;
        peer.send_welcome()?;
        peer.expect_closed()
    };
    assert_ends(after_our_proof, 77, &[without_proof]);

    let with_a_wrong_one = |peer: &mut Peer| {
        let nonce = scram_nonce(peer)?;
        scram_challenge(peer, &nonce)?;
        let proof = b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        peer.send(&frames::authentication_sasl_final(proof))?;
        peer.send_welcome()?;
        peer.expect_closed()
    };
    assert_ends(with_a_wrong_one, 77, &["SCRAM authentication failed"]);

    let with_anothers_nonce = |peer: &mut Peer| {
        scram_nonce(peer)?;
        let challenge = b"r=somebody-elses,s=c2FsdA==,i=4096";
        peer.send(&frames::authentication_sasl_continue(challenge))?;
        peer.expect_closed()
    };
    assert_ends(with_anothers_nonce, 77, &["SCRAM authentication failed"]);
}

#[test]
fn a_scram_exchange_that_was_not_begun_is_refused() {
    for request in [
        frames::authentication_sasl_continue(b"r=x,s=c2FsdA==,i=1"),
        frames::authentication_sasl_final(b"v=x"),
    ] {
        let play = move |peer: &mut Peer| {
            peer.expect_startup()?;
            peer.send(&request)?;
            peer.expect_closed()
        };
        let says = "continued a SASL exchange that was not begun";
        assert_ends(play, 65, &[says]);
    }
}

#[test]
fn what_is_no_postgres_server_is_said_to_be_none() {
    let hint = "is this a PostgreSQL server?";
    let http = |peer: &mut Peer| {
        peer.expect_startup()?;
        peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")?;
        peer.expect_closed()
    };
    assert_ends(http, 65, &["start-up: message 'H' claims a length", hint]);

    let other = |peer: &mut Peer| {
        peer.expect_startup()?;
        peer.send(&frames::frame(b'x', b"what is this"))?;
        peer.expect_closed()
    };
    assert_ends(other, 65, &["unexpected message 'x' during start-up", hint]);

    let oversized = |peer: &mut Peer| {
        peer.expect_startup()?;
        peer.send(&frames::frame_of_length(b'R', i32::MAX, b""))?;
        peer.expect_closed()
    };
    assert_ends(
        oversized,
        65,
        &[
            "message 'R' claims a length of 2147483647 bytes; at most",
            hint,
        ],
    );

    // Nobody is let in without having been asked.
    let ready_without_ok = |peer: &mut Peer| {
        peer.expect_startup()?;
        peer.send(&frames::ready_for_query(b'I'))?;
        peer.expect_closed()
    };
    assert_ends(ready_without_ok, 65, &["unexpected message 'Z'"]);
}

#[test]
fn a_server_that_says_nothing_or_goes_away_is_unreachable() {
    // Only here: a busy machine may need longer for a server that does answer.
    let at = "?connect_timeout=1";
    let silent = |peer: &mut Peer| {
        peer.expect_startup()?;
        peer.expect_closed()
    };
    assert_ends_at(
        at,
        silent,
        69,
        &["start-up: the server did not answer in time"],
    );

    let without_a_session = |peer: &mut Peer| {
        peer.expect_startup()?;
        peer.send(b"Ecould not fork new process for connection: Cannot allocate memory\n\0")?;
        peer.close()
    };
    assert_ends(
        without_a_session,
        69,
        &["the server says: could not fork new process for connection: Cannot allocate memory"],
    );

    let never_ready = |peer: &mut Peer| {
        peer.expect_startup()?;
        peer.send(&frames::authentication_ok())?;
        peer.expect_closed()
    };
    assert_ends_at(
        at,
        never_ready,
        69,
        &["start-up: the server did not answer in time"],
    );

    let closes = |peer: &mut Peer| {
        peer.expect_startup()?;
        peer.close()
    };
    assert_ends(closes, 69, &["start-up: the server closed the connection"]);

    let resets = |peer: &mut Peer| {
        peer.expect_startup()?;
        peer.reset_at_end();
        Ok(())
    };
    assert_ends(resets, 69, &["start-up: the connection was lost"]);

    let half_a_message = |peer: &mut Peer| {
        peer.expect_startup()?;
        peer.send(&frames::authentication_ok()[..5])?;
        peer.close()
    };
    assert_ends(half_a_message, 69, &["the server closed the connection"]);
}

/// What an error is worth does not depend on when it comes, nor on the end of the connection that
/// comes right behind it.
#[test]
fn an_error_at_every_stage_of_the_start_up() {
    let stages: [fn(&mut Peer) -> Step; 5] = [
        |_| Ok(()),
        |peer| peer.expect_startup().map(drop),
        |peer| {
            peer.expect_startup()?;
            peer.send(&frames::authentication_md5([1, 2, 3, 4]))?;
            peer.expect_password().map(drop)
        },
        |peer| {
            let nonce = scram_nonce(peer)?;
            scram_challenge(peer, &nonce)
        },
        |peer| {
            peer.expect_startup()?;
            peer.send(&frames::authentication_ok())?;
            peer.send(&frames::parameter_status("server_version", "15.0"))
        },
    ];
    let errors = [
        ("28P01", 77, "check the user and the password"),
        ("3D000", 78, "check the database name"),
        ("57P03", 69, "no, says the script"),
        ("53300", 69, "raise max_wal_senders or max_connections"),
        ("XX000", 77, "no, says the script"),
    ];
    for stage in stages {
        for (sqlstate, code, says) in errors {
            let play = move |peer: &mut Peer| {
                stage(peer)?;
                peer.send(&frames::error_response(sqlstate, "no, says the script"))?;
                peer.close()
            };
            let server =
                format!("the server says: FATAL no, says the script [SQLSTATE {sqlstate}]");
            // Who asks for TLS first is answered by the first of these errors.
            assert_ends_at("?sslmode=disable", play, code, &[&server, says]);
        }
    }
}

#[test]
fn what_may_mend_itself_is_tried_again() {
    let refuse = |sqlstate: &'static str| {
        move |peer: &mut Peer| {
            peer.expect_startup()?;
            peer.send(&frames::error_response(sqlstate, "not now"))?;
            peer.close()
        }
    };
    let script = Script::sequence(vec![
        Box::new(refuse("57P03")),
        Box::new(refuse("53300")),
        Box::new(refuse("28P01")),
    ]);
    let config = config().set("retry", "{ min: 10ms, max: 20ms }");
    let mut connector = Connector::spawn_config(&config, &url(&script), &["--stdout"]);
    assert_eq!(connector.wait_exit(DEADLINE), 77, "{}", connector.log());
    let log = connector.log();
    for sqlstate in ["57P03", "53300"] {
        let line = log.lines().find(|line| line.contains(sqlstate));
        assert!(
            line.is_some_and(|line| line.contains("trying again in 0.0 s")),
            "{log}"
        );
    }
    script.finish();
}
