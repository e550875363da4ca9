//! Finding the server that leads a partition, and creating the topic when it is missing.

use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use fluvio::config::{ConfigError, ConfigFile};
use fluvio::{FluvioClusterConfig, FluvioError};
use fluvio_protocol::link::ErrorCode;
use fluvio_sc_schema::objects::{
    CommonCreateRequest, CreateRequest, ListRequest, Metadata, ObjectApiCreateRequest,
    ObjectApiListRequest,
};
use fluvio_sc_schema::partition::PartitionSpec;
use fluvio_sc_schema::spu::SpuSpec;
use fluvio_sc_schema::topic::{CompressionAlgorithm, TopicSpec};
use fluvio_sc_schema::{AdminSpec, TryEncodableFrom};

use super::Options;
use super::rpc::{Rpc, guarded};
use super::server::FluvioServer;
use crate::base::error::{Error, Kind, Result};
use crate::base::input;
use crate::base::printable::capped;

/// How often the SC is asked again while it sets a new topic up.
const POLL: Duration = Duration::from_millis(50);

/// Where a partition is written.
pub struct Leader {
    /// The SPU that leads it.
    pub server: FluvioServer,
    /// What the topic allows.
    pub compression: CompressionAlgorithm,
    /// Whether other SPUs have to have the records too.
    pub is_replicated: bool,
}

/// The cluster: the configured endpoint, or the current profile's.
pub fn endpoint(options: &Options) -> Result<FluvioClusterConfig> {
    match &options.endpoint {
        Some(endpoint) => Ok(FluvioClusterConfig::new(endpoint)),
        None => profile(),
    }
}

fn profile() -> Result<FluvioClusterConfig> {
    const HINT: &str = "name the cluster in the config, \"fluvio: { endpoint: host:port }\", or set \
        a profile up with \"fluvio profile\"; it is read from FLV_PROFILE_PATH or ~/.fluvio/config";
    check_profile().map_err(|e| e.with_hint(HINT))?;
    let file = ConfigFile::load(None).map_err(|e| unreadable(e).with_hint(HINT))?;
    let cluster = file.config().current_cluster();
    cluster.cloned().map_err(|e| {
        Error::config("no Fluvio profile")
            .with_source(e)
            .with_hint(HINT)
    })
}

/// Fails when the library, which knows no limits, cannot read the file; what else is wrong with it, or
/// that it is not there, the library says itself. A pipe can be read only once.
fn check_profile() -> Result<()> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".fluvio/config"));
    let named = env::var_os("FLV_PROFILE_PATH").map(PathBuf::from);
    let Some(path) = named.or_else(home) else {
        return Ok(());
    };
    if fs::metadata(&path).is_ok_and(|found| found.file_type().is_fifo()) {
        return Ok(());
    }
    match input::read_text(&path, input::CONFIG_BYTES) {
        Err(e) if matches!(e.kind(), ErrorKind::InvalidData | ErrorKind::FileTooLarge) => {
            let what = format!("cannot read the Fluvio profile {}", path.display());
            Err(Error::config(what).with_source(e))
        }
        _ => Ok(()),
    }
}

/// The TOML parser shows the line that it does not understand, which may be that of a TLS key; only
/// the place is told.
fn unreadable(error: FluvioError) -> Error {
    let what = "cannot read the Fluvio profile";
    match error {
        FluvioError::ClientConfig(ConfigError::ConfigFileError { msg, source }) => {
            Error::config(format!("{what} {msg}")).with_source(source)
        }
        FluvioError::ClientConfig(ConfigError::TomlError { msg, source }) => {
            let place = source.to_string();
            let place = place.lines().next().unwrap_or_default();
            Error::config(format!("{what} {msg}: {place}"))
        }
        other => Error::config(what).with_source(other),
    }
}

/// A topic as the SC describes it, if there is one of this name; none is created.
pub fn topic(cluster: &FluvioClusterConfig, options: &Options) -> Result<Option<TopicSpec>> {
    let mut sc = Rpc::connect(&FluvioServer::sc(cluster), options.timeout)?;
    find_topic(&mut sc, options)
}

fn find_topic(sc: &mut Rpc, options: &Options) -> Result<Option<TopicSpec>> {
    let topics = list::<TopicSpec>(sc, &options.topic)?;
    let mut topics = topics.into_iter();
    let found = topics.find(|found| found.name == options.topic);
    Ok(found.map(|found| found.spec))
}

/// Asks the SC for the leader of the partition, and creates the topic first if that is wanted.
pub fn find_leader(cluster: &FluvioClusterConfig, options: &Options) -> Result<Leader> {
    let deadline = Instant::now() + options.timeout;
    let mut sc = Rpc::connect(&FluvioServer::sc(cluster), options.timeout)?;
    if find_topic(&mut sc, options)?.is_none() {
        create_topic(&mut sc, options)?;
    }
    loop {
        match partition(&mut sc, options)? {
            Some(found) => return leader(&mut sc, cluster, options, found),
            // A topic that was just made has no partition for a moment.
            None if Instant::now() < deadline => thread::sleep(POLL),
            None => return Err(no_partition(&mut sc, options)),
        }
    }
}

fn create_topic(sc: &mut Rpc, options: &Options) -> Result<()> {
    let name = &options.topic;
    if !options.create_topic {
        return Err(
            Error::config(format!("the topic {name} does not exist")).with_hint(format!(
                "run \"fluvio topic create {name}\", or set \"create-topic: true\""
            )),
        );
    }
    let common = CommonCreateRequest {
        name: name.clone(),
        dry_run: false,
        timeout: u32::try_from(options.timeout.as_millis()).ok(),
    };
    let request = CreateRequest::new(common, TopicSpec::new_computed(1, 1, None));
    let version = sc.version::<ObjectApiCreateRequest>()?;
    let request = ObjectApiCreateRequest::try_encode_from(request, version).map_err(unencodable)?;
    let status = sc.call(&request)?;
    match status.error_code.0 {
        ErrorCode::None => log::info!("created the topic {name} with one partition"),
        ErrorCode::TopicAlreadyExists => {}
        code => {
            let detail = status.error_message.unwrap_or_else(|| code.to_string());
            let kind = match code {
                ErrorCode::PermissionDenied => Kind::Permission,
                ErrorCode::TopicInvalidName | ErrorCode::TopicInvalidConfiguration => Kind::Config,
                _ => Kind::Unreachable,
            };
            return Err(Error::new(
                kind,
                format!("cannot create the topic {name}: {}", capped(&detail)),
            ));
        }
    }
    Ok(())
}

fn partition(sc: &mut Rpc, options: &Options) -> Result<Option<PartitionSpec>> {
    let name = format!("{}-{}", options.topic, options.partition);
    let partitions = list::<PartitionSpec>(sc, &name)?;
    Ok(partitions
        .into_iter()
        .find(|found| found.name == name)
        .map(|found| found.spec))
}

fn no_partition(sc: &mut Rpc, options: &Options) -> Error {
    let (topic, partition) = (&options.topic, options.partition);
    let found = match find_topic(sc, options) {
        Ok(found) => found,
        Err(error) => return error,
    };
    if let Err(error) = check_partition(found.as_ref(), options) {
        return error;
    }
    Error::unreachable(format!(
        "partition {partition} of the topic {topic} is not set up"
    ))
    .with_hint("is an SPU online? See \"fluvio cluster spu list\"")
}

/// Fails when the topic does not have the partition at all.
pub fn check_partition(found: Option<&TopicSpec>, options: &Options) -> Result<()> {
    let (topic, partition) = (&options.topic, options.partition);
    let count = found.map_or(0, |topic| topic.replicas().partitions());
    if partition < count {
        return Ok(());
    }
    let what = format!("the topic {topic} has no partition {partition}, it has {count}");
    Err(Error::config(what).with_hint("they are counted from 0; see \"partition\" in the config"))
}

fn leader(
    sc: &mut Rpc,
    cluster: &FluvioClusterConfig,
    options: &Options,
    partition: PartitionSpec,
) -> Result<Leader> {
    let spus = list::<SpuSpec>(sc, "")?;
    let name = || {
        format!(
            "the leader of partition {} of {}",
            options.partition, options.topic
        )
    };
    let Some(spu) = spus.into_iter().find(|spu| spu.spec.id == partition.leader) else {
        return Err(Error::unreachable(format!(
            "{}, SPU {}, is not known",
            name(),
            partition.leader
        )));
    };
    if !spu.status.is_online() {
        return Err(Error::unreachable(format!(
            "{}, SPU {}, is offline",
            name(),
            partition.leader
        ))
        .with_hint("see \"fluvio cluster spu list\""));
    }
    let address = match &spu.spec.public_endpoint_local {
        Some(local) if cluster.use_spu_local_address => local.to_string(),
        _ => spu.spec.public_endpoint.addr(),
    };
    Ok(Leader {
        server: FluvioServer::sc(cluster).spu(address, &spu.name),
        compression: partition.compression_type,
        is_replicated: partition.replicas.len() > 1,
    })
}

/// The objects of a kind whose name contains `name`.
fn list<S>(sc: &mut Rpc, name: &str) -> Result<Vec<Metadata<S>>>
where
    S: AdminSpec,
    S::Status: fluvio_protocol::Encoder + fluvio_protocol::Decoder + std::fmt::Debug,
{
    let request = match name {
        "" => ListRequest::<S>::new(Vec::new(), false),
        name => ListRequest::<S>::new(name, false),
    };
    let version = sc.version::<ObjectApiListRequest>()?;
    let request = ObjectApiListRequest::try_encode_from(request, version).map_err(unencodable)?;
    let response = sc.call(&request)?;
    guarded(|| response.downcast())
        .and_then(|objects| {
            objects.ok_or_else(|| Error::undeliverable("a response of another kind"))
        })
        .map(|objects| objects.inner())
        .map_err(|error| sc.error(error.at(format!("list of {}", S::LABEL))))
}

fn unencodable(error: impl std::fmt::Display) -> Error {
    Error::new(Kind::Bug, "cannot encode a request to the SC").with_source(error.to_string())
}
