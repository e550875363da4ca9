//! The tests: the program as a child process between real servers, and its parts.
//!
//! - `accept`: the only way past a gap, and what it leaves on record
//! - `batches`: how records are batched, and which topic and partition they go to
//! - `check`: what a healthy setup is told, in which forms, and that nothing is changed
//! - `check_identity`: what is said of replica identities, beside what the server does
//! - `check_publication`: publications that leave out or break something, and what mends them
//! - `check_role`: servers and poolers that do not let the program in
//! - `check_script`: names that would be lines of a script, and are none
//! - `check_server`: settings of a server, and the statements that mend them
//! - `check_slot`: slots that cannot be read, made or kept
//! - `check_topic`: topics that cannot be written, and files that are not as they should be
//! - `dashboard`: the dashboard and the alerts, in a real Prometheus that scrapes a real connector
//! - `confirm_delay`: a slot that stays behind, and a topic that loses its last seconds
//! - `continuity`: what was done to the slot or the publication behind the program's back
//! - `continuity_cluster`: a database that is not the one that the topic was filled from
//! - `continuity_topic`: what was done to the topic, and others that write to it
//! - `delivery`: every committed change arrives, in order, whatever breaks
//! - `ddl`: definitions that change while rows stream, and the messages that they cause
//! - `decoder`: recorded messages of a real server, whole and damaged
//! - `frozen`: a program that has lost its slot and does not know it, with batches in hand
//! - `fuzz`: hostile input that a fuzzer found worth keeping, run again and damaged
//! - `fluvio_tls`: TLS to Fluvio, as the profile has it
//! - `golden`: the event sequence of the specification, byte for byte
//! - `drained`: everything there is, and then the end, as a timer wants it
//! - `in_flight`: the batch that is under way, and the one behind it
//! - `layers`: the layers of the source, which import in one direction
//! - `least_role`: a role with the fewest rights that a server streams to, and each verb under it
//! - `logging`: log lines as text, as JSON and for the journal
//! - `long_work`: what is said of a transaction that takes long, and when
//! - `history`: a restored database that has other transactions where the topic has its last
//! - `hostile`: servers that mean harm, or are out of their mind
//! - `identity`: what updates and deletes carry of the old row
//! - `invalidated`: a slot that the server has made useless, for each reason, and the way on from there
//! - `torture`: faults drawn at random, one after the other
//! - `tls`: TLS with real servers, beside psql, which must end the same
//! - `tls_script`: servers that answer a request for TLS, or ask for a password, as none should
//! - `tls_session`: whole sessions over TLS
//! - `troubleshooting`: each message that the README explains, and what it says to do, which is done
//! - `triggers`: code of users that refuses us, and logins that are refused for a time
//! - `types`: every type, name and encoding at its extremes, against what SQL reads under the pinned settings
//! - `resume`: the arithmetic of resuming, with every cut of a small stream
//! - `resume_e2e`: the program dies, or loses an acknowledgement, and goes on without a seam
//! - `resume_history`: the arithmetic of resuming, when what comes again is not what the topic has
//! - `replicas`: records that not every replica has yet when a session opens
//! - `retention`: a topic that has lost its oldest records, and what goes on is among them
//! - `metrics`: what is counted, over HTTP and in a file, and what it says of a program that cannot go on
//! - `peek`: what is pending, shown and left pending, whoever reads the slot
//! - `planted`: functions and operators of others in the path, which nothing of ours calls
//! - `role_settings`: whatever ALTER ROLE and ALTER DATABASE can set, on a primary and a standby
//! - `saslprep`: passwords that are not plain ASCII, and what the server makes of them
//! - `schema`: the JSON Schemas, held to real records, to the parser and to the example
//! - `promotion`: a standby that is promoted while it is read, and what comes after that
//! - `provision`: `setup` and `teardown`, which say what they do before they do it
//! - `large`: memory of values so large that their records are not held whole
//! - `memory`: what the program holds, and values as large as Fluvio takes and larger
//! - `messages`: messages of pg_logical_emit_message as events, and each of them once
//! - `network`: a network that is cut below TCP, where the kernel goes on with what was sent
//! - `parameters`: what not every version has: it does what it says, or names the version that has it
//! - `silence`: a PostgreSQL that is there and silent, and what is said of it
//! - `slot`: what the slot confirms and keeps, and what the server sees
//! - `stop`: a signal ends the program in time, and nothing comes twice
//! - `auth`: who is let in and who is not, by real servers and by scripted ones
//! - `auth_script`: servers that let nobody in, each in its own way
//! - `service`: what a service manager hears, and when a watchdog hears no more
//! - `readme`: what the README points at is there
//! - `reload`: SIGHUP, and what it changes
//! - `cli`: arguments, outputs, log levels and exit codes of the program
//! - `completions`: what the shells offer that read the program's scripts
//! - `man`: the manual page, beside the command line and the README
//! - `config`: what is wrong with a config file, told without its secret
//! - `config_example`: the example has every key, and its defaults are true
//! - `config_sources`: where the secret, the names and the cluster come from
//! - `secrets`: the password and the rows, which nothing may tell at any log level
//! - `session_script`: servers that fail in the midst of a session
//! - `setup`: publication and slot: made, found or missing
//! - `setup_foreign`: a slot or publication that is somebody else's, or is taken away
//! - `setup_limits`: what a server's configuration, or a role's rights, do not allow
//! - `several_hosts`: a URL with several hosts, whose primary is away for a while
//! - `standby`: a standby as source: made, promoted, in conflict with its primary; or refused
//! - `standby_behind`: a standby whose replay is behind what was read of it, or what it received
//! - `status`: what it says, and that its exit code tells the healthy, the late and the broken apart
//! - `stdout`: records on standard output, confirmed when they are written
//! - `takeover`: another process that had the slot between the look at it and the taking of it
//! - `timeouts`: limits of time that a role has, which the stream must outlast
//! - `url`: what the database URL leaves open, and which of several servers is taken
//! - `verify`: a topic as the program writes it, and each thing that it would never write
//! - `waiting`: statements that wait for others, what is told of it, and what a stop leaves behind
//! - `sync_standby`: a program that is the synchronous standby, and how long a commit then takes
#![allow(missing_docs)]

mod support;

mod accept;
mod auth;
mod auth_script;
mod batches;
mod check;
mod check_identity;
mod check_publication;
mod check_role;
mod check_script;
mod check_server;
mod check_slot;
mod check_topic;
mod cli;
mod completions;
mod config;
mod config_example;
mod config_sources;
mod confirm_delay;
mod confirmation;
mod continuity;
mod continuity_cluster;
mod continuity_topic;
mod dashboard;
mod ddl;
mod decoder;
mod delivery;
mod drained;
mod first_start;
mod fluvio_tls;
mod frozen;
mod fuzz;
mod golden;
mod hidden_names;
mod history;
mod hostile;
mod identity;
mod in_flight;
mod inputs;
mod invalidated;
mod large;
mod layers;
mod least_role;
mod logging;
mod long_work;
mod looked_into;
mod man;
mod memory;
mod messages;
mod metrics;
mod network;
mod no_threads;
mod notices;
mod orphans;
mod output;
mod parameters;
mod password_command;
mod peek;
mod planted;
mod promotion;
mod provision;
mod readme;
mod reload;
mod replicas;
mod resume;
mod resume_e2e;
mod resume_history;
mod retention;
mod role_settings;
mod saslprep;
mod schema;
mod secrets;
mod service;
mod session_script;
mod setup;
mod setup_foreign;
mod setup_limits;
mod several_hosts;
mod shared_state;
mod silence;
mod slot;
mod standby;
mod standby_behind;
mod status;
mod stdout;
mod stop;
mod sync_standby;
mod takeover;
mod timeouts;
mod tls;
mod tls_script;
mod tls_session;
mod torture;
mod triggers;
mod troubleshooting;
mod types;
mod url;
mod verify;
mod waiting;
mod ways_out;
