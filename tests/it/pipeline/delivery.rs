//! Every committed change arrives, in order and confirmed only then, whatever breaks.

use std::time::Duration;

use fluvio_protocol::link::ErrorCode;

use crate::support::connector::{ConfigFile, Connector};
use crate::support::fluvio::{Close, Fault, When};
use crate::support::load::{Load, under_load};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Postgres, Stop};
use crate::support::proxy::{Direction, End, Proxy};
use crate::support::random::Random;

const STREAMS: &str = "streaming from";
const TRIES_AGAIN: &str = "trying again in";

/// Reports often, so that there are many confirmed positions to look at, and gives up soon.
fn config(pipeline: &Pipeline) -> ConfigFile {
    let config = pipeline.config().set("status_interval", "10ms");
    config.fluvio("timeout", "1s")
}

fn start(pipeline: &Pipeline) -> Connector {
    pipeline.start_with(&config(pipeline))
}

/// Makes one session fail and waits until a next one has delivered what was
/// written then.
fn break_session(pipeline: &Pipeline, connector: &Connector, load: &Load, fault: impl FnOnce()) {
    let sessions = connector.log_count(STREAMS);
    fault();
    connector.wait_log_count(STREAMS, sessions + 1, DEADLINE);
    load.wait_commits(10);
    pipeline.wait_caught_up();
}

#[test]
fn postgres_restarts_fast() {
    postgres_restarts(Stop::Fast);
}

#[test]
fn postgres_crashes() {
    postgres_restarts(Stop::Immediate);
}

fn postgres_restarts(mode: Stop) {
    let postgres = Postgres::start(&[]);
    let pipeline = Pipeline::on(&postgres, "restart");
    let connector = start(&pipeline);
    under_load(&pipeline, 1, |load| {
        for _ in 0..2 {
            break_session(&pipeline, &connector, load, || postgres.restart(mode));
        }
    });
}

#[test]
fn the_walsender_is_terminated() {
    let pipeline = Pipeline::new("walsender");
    let connector = start(&pipeline);
    under_load(&pipeline, 2, |load| {
        for _ in 0..5 {
            break_session(&pipeline, &connector, load, || {
                assert!(pipeline.database.terminate_walsender(&pipeline.slot));
            });
        }
    });
}

#[test]
fn the_program_is_killed() {
    let pipeline = Pipeline::new("killed");
    let mut connector = Some(start(&pipeline));
    under_load(&pipeline, 3, |load| {
        for _ in 0..5 {
            if let Some(connector) = connector.take() {
                connector.kill();
            }
            load.wait_commits(10);
            connector = Some(start(&pipeline));
            pipeline.wait_caught_up();
        }
    });
}

#[test]
fn fluvio_is_away_for_longer_than_the_walsender_waits() {
    let postgres = Postgres::start(&[("wal_sender_timeout", "1s")]);
    let pipeline = Pipeline::on(&postgres, "away").in_process();
    let connector = start(&pipeline);
    under_load(&pipeline, 4, |load| {
        break_session(&pipeline, &connector, load, || {
            pipeline.server().stop();
            // Each of the last ones comes half a second after the one before.
            connector.wait_log_count(TRIES_AGAIN, 9, DEADLINE);
            pipeline.server().restart();
        });
    });
}

#[test]
fn fluvio_is_frozen_for_longer_than_an_answer_may_take() {
    let pipeline = Pipeline::new("frozen").in_process();
    let connector = start(&pipeline);
    under_load(&pipeline, 5, |load| {
        break_session(&pipeline, &connector, load, || {
            let failures = connector.log_count(TRIES_AGAIN);
            pipeline.server().freeze();
            connector.wait_log_count(TRIES_AGAIN, failures + 1, DEADLINE);
            pipeline.server().thaw();
        });
    });
}

#[test]
fn fluvio_answers_with_errors() {
    let pipeline = Pipeline::new("errors").in_process();
    let server = pipeline.server();
    let connector = start(&pipeline);
    under_load(&pipeline, 6, |load| {
        for fault in [
            Fault::Error(ErrorCode::NotLeaderForPartition),
            Fault::Error(ErrorCode::StorageError),
            Fault::ErrorAfterApply(ErrorCode::NotLeaderForPartition),
            Fault::AckDelay(Duration::from_millis(1500)),
        ] {
            break_session(&pipeline, &connector, load, || {
                server.inject(fault, When::Next);
            });
        }
        break_session(&pipeline, &connector, load, || {
            let failures = connector.log_count(TRIES_AGAIN);
            server.not_leader_for(DEADLINE);
            connector.wait_log_count(TRIES_AGAIN, failures + 1, DEADLINE);
            server.not_leader_for(Duration::from_millis(700));
        });
        server.set_not_leader_after_restart(Some(Duration::from_millis(300)));
        break_session(&pipeline, &connector, load, || {
            server.stop();
            server.restart();
        });
        break_session(&pipeline, &connector, load, || {
            server.inject_offset_error(ErrorCode::PartitionNotLeader, When::Next);
            server.drop_connections(Close::Reset);
        });
    });
}

#[test]
fn fluvio_closes_or_falls_silent() {
    let pipeline = Pipeline::new("silent").in_process();
    let connector = start(&pipeline);
    under_load(&pipeline, 7, |load| {
        for fault in [
            Fault::CloseBefore(Close::Fin),
            Fault::CloseBefore(Close::Reset),
            Fault::CloseAfter(Close::Fin),
            Fault::CloseAfter(Close::Reset),
            Fault::CloseAfterBytes(100, Close::Fin),
            Fault::CloseAfterBytes(100, Close::Reset),
            Fault::SilenceBefore,
            Fault::SilenceAfter,
        ] {
            break_session(&pipeline, &connector, load, || {
                pipeline.server().inject(fault, When::Next);
            });
        }
    });
}

#[test]
fn the_connection_to_postgres_is_cut() {
    let pipeline = Pipeline::new("cut");
    let proxy = Proxy::start(host_and_port(&pipeline));
    let config = config(&pipeline);
    let url = pipeline.database.url_at(proxy.port());
    let connector = Connector::spawn_config(&config, &url, &[]);
    connector.wait_log(STREAMS, DEADLINE);
    under_load(&pipeline, 8, |load| {
        cut(&pipeline, &connector, &proxy, load)
    });
}

#[test]
fn the_connection_to_the_spu_is_cut() {
    let pipeline = Pipeline::new("cut").in_process();
    let proxy = Proxy::start(pipeline.server().spu_addr());
    pipeline.server().advertise_spu(proxy.port());
    let connector = start(&pipeline);
    under_load(&pipeline, 9, |load| {
        cut(&pipeline, &connector, &proxy, load)
    });
}

/// At once, and at odd places of what comes next: in a header, in a record, between two.
fn cut(pipeline: &Pipeline, connector: &Connector, proxy: &Proxy, load: &Load) {
    for end in [End::Fin, End::Reset] {
        break_session(pipeline, connector, load, || proxy.end_all(end));
        for (direction, bytes) in [
            (Direction::ToServer, 0),
            (Direction::ToServer, 37),
            (Direction::ToServer, 39),
            (Direction::ToClient, 0),
            (Direction::ToClient, 21),
            (Direction::ToClient, 4000),
        ] {
            break_session(pipeline, connector, load, || {
                proxy.cut_after(direction, bytes, end);
            });
        }
    }
}

fn host_and_port(pipeline: &Pipeline) -> String {
    format!("127.0.0.1:{}", pipeline.database.port())
}

/// One upon the other, before the last one is mended.
#[test]
fn faults_in_any_order() {
    let pipeline = Pipeline::new("faults").in_process();
    let server = pipeline.server();
    let postgres = Proxy::start(host_and_port(&pipeline));
    let spu = Proxy::start(server.spu_addr());
    server.advertise_spu(spu.port());
    let config = config(&pipeline);
    let spawn =
        || Connector::spawn_config(&config, &pipeline.database.url_at(postgres.port()), &[]);
    let mut connector = spawn();
    connector.wait_log(STREAMS, DEADLINE);
    under_load(&pipeline, 10, |load| {
        let mut random = Random::new(10);
        for _ in 0..60 {
            let bytes = random.below(5000);
            match random.below(8) {
                0 => postgres.end_all(End::Reset),
                1 => postgres.cut_after(Direction::ToClient, bytes, End::Fin),
                2 => spu.end_all(End::Fin),
                3 => spu.cut_after(Direction::ToServer, bytes, End::Reset),
                4 => server.inject(Fault::CloseAfter(Close::Reset), When::Next),
                5 => {
                    let code = ErrorCode::NotLeaderForPartition;
                    server.inject(Fault::ErrorAfterApply(code), When::Next);
                }
                6 => drop(pipeline.database.terminate_walsender(&pipeline.slot)),
                _ => connector = spawn(),
            }
            let commits = usize::try_from(random.below(30)).expect("a small number");
            load.wait_commits(commits);
        }
        postgres.pass();
        spu.pass();
        server.clear_faults();
    });
    drop(connector);
}
