//! A Fluvio for development: the server that the tests run in-process, started by hand. It keeps
//! everything in memory only.

#[path = "../it/support/fluvio/mod.rs"]
mod fluvio;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use argh::FromArgs;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::fluvio::{FluvioServer, TopicReader, delete_topic, end_offset};

/// A Fluvio for development. It keeps everything in memory only.
#[derive(FromArgs)]
struct Arguments {
    /// the port of the SC, 9003 by default; 0 is any free one
    #[argh(option, default = "9003")]
    sc_port: u16,

    /// the port of the SPU, 9010 by default; 0 is any free one
    #[argh(option, default = "9010")]
    spu_port: u16,

    /// how many SPUs there are, 1 by default; the others listen on any free ports
    #[argh(option, default = "1")]
    spus: usize,

    /// ends when standard input closes, as well as on a signal
    #[argh(switch)]
    until_stdin_closes: bool,

    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Consume(Consume),
    Delete(Delete),
    Profile(Profile),
}

/// Prints the records of a topic from its beginning to its end, one a line.
#[derive(FromArgs)]
#[argh(subcommand, name = "consume")]
struct Consume {
    /// the address of the SC, host:port
    #[argh(option)]
    sc: String,

    /// ends after so many records; it does not wait for them
    #[argh(option, short = 'n', default = "usize::MAX")]
    records: usize,

    /// the topic
    #[argh(positional)]
    topic: String,
}

/// Deletes a topic.
#[derive(FromArgs)]
#[argh(subcommand, name = "delete")]
struct Delete {
    /// the address of the SC, host:port
    #[argh(option)]
    sc: String,

    /// the topic
    #[argh(positional)]
    topic: String,
}

/// Prints the address of the SC of the current profile; fails when there is no profile.
#[derive(FromArgs)]
#[argh(subcommand, name = "profile")]
struct Profile {}

fn main() -> ExitCode {
    let arguments: Arguments = argh::from_env();
    let result = match &arguments.command {
        Some(Command::Consume(consume)) => print_records(consume),
        Some(Command::Delete(delete)) => delete_topic(&delete.sc, &delete.topic),
        Some(Command::Profile(Profile {})) => print_profile(),
        None => serve(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fluvio-dev: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    let (sc_port, spu_port) = (arguments.sc_port, arguments.spu_port);
    // A signal writes a byte here, and so does the end of standard input.
    let (mut ended, end) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGTERM, end.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGINT, end.try_clone()?)?;

    let server = FluvioServer::start_on(sc_port, spu_port, arguments.spus).map_err(|error| {
        io::Error::other(format!(
            "cannot listen on the ports {sc_port} and {spu_port} of 127.0.0.1: {error}"
        ))
    })?;
    println!(
        "fluvio-dev: a Fluvio for development on {}, kept in memory only: everything is gone when it stops",
        server.sc_addr()
    );

    if arguments.until_stdin_closes {
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            let _ = (&end).write_all(b"E");
        });
    }
    ended.read_exact(&mut [0])
}

fn print_records(consume: &Consume) -> io::Result<()> {
    if end_offset(&consume.sc, &consume.topic)?.is_none() {
        return Err(io::Error::other(format!(
            "there is no topic {}",
            consume.topic
        )));
    }
    let mut reader = TopicReader::new(&consume.sc, &consume.topic);
    reader.read(consume.records)?;
    let mut out = io::stdout().lock();
    for value in reader.values() {
        out.write_all(value)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

fn print_profile() -> io::Result<()> {
    let file = ::fluvio::config::ConfigFile::load(None).map_err(io::Error::other)?;
    let cluster = file.config().current_cluster().map_err(io::Error::other)?;
    println!("{}", cluster.endpoint);
    Ok(())
}
