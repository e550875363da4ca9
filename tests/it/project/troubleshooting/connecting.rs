//! The way to a server: names, certificates, passwords.

use std::process::Command;

use rcgen::IsCa;

use super::row::Row;
use super::site;
use crate::config::Home;
use crate::support::certificates::{Authority, Files, Pair, self_signed};
use crate::support::connector::URL_VARIABLE;
use crate::support::postgres::{PASSWORD, Postgres, Stop};

const ADDRESS: &str = "127.0.0.1";

/// The server shows this certificate from now on.
fn show(server: &Postgres, certificate: &Pair) {
    server.write_data_file("server.crt", &certificate.cert);
    server.write_data_file("server.key", &certificate.key);
    server.restart(Stop::Fast);
}

pub fn no_tls(row: &Row) {
    let server = Postgres::start(&[]);
    let pipeline = site::on(&server, "plain");
    let (database, config) = (&pipeline.database, pipeline.config());
    let demands = format!("{}?sslmode=require", database.url());
    site::ends(row, &config, &demands, 78);
    let prefers = format!("{}?{}", database.url(), row.code("sslmode=prefer"));
    site::streams(database, &config, &prefers);

    let (key, value) = row.code("ssl = ").split_once(" = ").expect("a setting");
    server.add_settings(&[(key, value)]);
    show(&server, &Authority::new("the CA").server(&[ADDRESS]));
    site::streams(database, &config, &demands);
}

pub fn unknown_signer(row: &Row) {
    let (ca, files) = (Authority::new("the CA"), Files::new());
    let server = ca.postgres(&ca.server(&[ADDRESS]), "trust");
    let pipeline = site::on(&server, "signed");
    let (database, config) = (&pipeline.database, pipeline.config());
    let trusting = |name: &str, roots: &str| {
        let file = files.write(name, roots);
        let key = row.code("sslrootcert");
        format!(
            "{}?sslmode=verify-full&{key}={}",
            database.url(),
            file.display()
        )
    };
    let another = trusting("another.crt", &Authority::new("another CA").cert);
    site::ends(row, &config, &another, 78);
    site::streams(database, &config, &trusting("ca.crt", &ca.cert));

    let itself = self_signed(&[ADDRESS], IsCa::NoCa);
    show(&server, &itself);
    site::ends(row, &config, &trusting("ca.crt", &ca.cert), 78);
    site::streams(database, &config, &trusting("itself.crt", &itself.cert));
}

pub fn certificate_of_another_name(row: &Row) {
    let (ca, files) = (Authority::new("the CA"), Files::new());
    let server = ca.postgres(&ca.server(&["localhost"]), "trust");
    let pipeline = site::on(&server, "named");
    let (database, config) = (&pipeline.database, pipeline.config());
    let roots = files.write("ca.crt", &ca.cert);
    let options = format!("sslmode=verify-full&sslrootcert={}", roots.display());
    let url = format!("{}?{options}", database.url());
    site::ends(row, &config, &url, 78);
    row.advises("connect by a name that is in it");
    site::streams(database, &config, &url.replace(ADDRESS, "localhost"));

    row.advises("have it made anew");
    show(&server, &ca.server(&[ADDRESS]));
    site::streams(database, &config, &url);
}

pub fn password_file_that_others_read(row: &Row) {
    let pipeline = site::shared("passwords");
    let (database, config) = (&pipeline.database, pipeline.config());
    let home = Home::new();
    let line = format!("*:*:*:*:{PASSWORD}\n");
    let file = home.write(".pgpass", &line, 0o644).display().to_string();
    let url = database.url().replace(&format!(":{PASSWORD}"), "");
    let directory = home.path("").display().to_string();
    let variables = [(URL_VARIABLE, url.as_str()), ("HOME", directory.as_str())];
    site::ends_with(row, &config, &variables, 77, &["--stdout"]);
    let command = format!("{} '{file}'", row.code("chmod"));
    let status = Command::new("sh").args(["-c", &command]).status();
    assert!(status.expect("sh runs").success(), "{command}");
    site::streams_with(database, &config, &variables);
}

pub fn unknown_host(row: &Row) {
    let pipeline = site::shared("resolved");
    let (database, config) = (&pipeline.database, pipeline.config());
    let url = database.url().replace(ADDRESS, "no-such-host.invalid");
    site::ends_once(row, &config, &format!("{url}?connect_timeout=2"), 69);
    let without = format!("{url}?{}{ADDRESS}", row.code("hostaddr="));
    site::streams(database, &config, &without);
}
