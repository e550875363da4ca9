//! Finding the servers that lead partitions, and creating the topics that are missing.

use std::collections::{HashMap, HashSet};
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

use super::rpc::{Rpc, guarded};
use super::server::FluvioServer;
use super::{LanePlace, Options, WantedTopic};
use crate::base::error::{Error, Kind, Result};
use crate::base::input;
use crate::base::printable::capped;

/// How often the SC is asked again while it sets a new topic up.
const POLL: Duration = Duration::from_millis(50);

/// Where a partition is written.
pub struct Leader {
    /// The number that the cluster gives the SPU that leads it.
    pub spu: i32,
    /// Where that is.
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
pub fn topic(
    cluster: &FluvioClusterConfig,
    options: &Options,
    name: &str,
) -> Result<Option<TopicSpec>> {
    let mut sc = Rpc::connect(&FluvioServer::sc(cluster), options.timeout)?;
    Ok(topics(&mut sc, [name])?.remove(name))
}

/// Topics as the SC describes them, those of these names that there are; none is created.
pub fn topics_named<'a>(
    cluster: &FluvioClusterConfig,
    options: &Options,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<HashMap<String, TopicSpec>> {
    let mut sc = Rpc::connect(&FluvioServer::sc(cluster), options.timeout)?;
    topics(&mut sc, names)
}

/// The topics of these names that there are. A filter takes each that contains it, and is of use for one.
fn topics<'a>(
    sc: &mut Rpc,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<HashMap<String, TopicSpec>> {
    let names: HashSet<&str> = names.into_iter().collect();
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let filter = match names.len() {
        1 => names.iter().next().copied().unwrap_or_default(),
        _ => "",
    };
    let found = list::<TopicSpec>(sc, filter)?.into_iter();
    let found = found.filter(|found| names.contains(&*found.name));
    Ok(found.map(|found| (found.name, found.spec)).collect())
}

/// Asks the SC for the leaders of the partitions, in their order, and creates the topics first that are
/// missing, if that is wanted.
pub fn find_leaders(
    cluster: &FluvioClusterConfig,
    options: &Options,
    wanted: &[WantedTopic],
    places: &[LanePlace],
) -> Result<Vec<Leader>> {
    let deadline = Instant::now() + options.timeout;
    let mut sc = Rpc::connect(&FluvioServer::sc(cluster), options.timeout)?;
    let names = || wanted.iter().map(|topic| &*topic.name);
    let found = topics(&mut sc, names())?;
    for topic in wanted {
        match found.get(&*topic.name) {
            Some(found) => check_count(found, topic)?,
            None => create_topic(&mut sc, options, topic)?,
        }
    }
    let partitions = loop {
        let partitions = partitions(&mut sc, places)?;
        match partitions.iter().position(Option::is_none) {
            None => break partitions,
            // A topic that was just made has no partition for a moment.
            Some(_) if Instant::now() < deadline => thread::sleep(POLL),
            Some(missing) => return Err(no_partition(&mut sc, &places[missing])),
        }
    };
    leaders(&mut sc, cluster, places, partitions.into_iter().flatten())
}

/// Fails when a topic has fewer partitions than are wanted of it.
pub fn check_count(found: &TopicSpec, wanted: &WantedTopic) -> Result<()> {
    let count = found.replicas().partitions();
    if count >= wanted.partitions {
        return Ok(());
    }
    let WantedTopic { name, partitions } = wanted;
    let what = format!("the topic {name} has {count} partitions, the config has {partitions}");
    Err(Error::config(what).with_hint(
        "set \"partitions\" to what the topic has, or name another topic: keys would move if it got more",
    ))
}

/// The error of a topic that is missing and not created.
pub fn does_not_exist(topic: &WantedTopic) -> Error {
    let what = format!("the topic {} does not exist", topic.name);
    Error::config(what).with_hint(format!(
        "run \"{}\", or set \"create-topic: true\"",
        topic.create_command()
    ))
}

fn create_topic(sc: &mut Rpc, options: &Options, topic: &WantedTopic) -> Result<()> {
    let (name, partitions) = (topic.name.to_string(), topic.partitions);
    if !options.create_topic {
        return Err(does_not_exist(topic));
    }
    let common = CommonCreateRequest {
        name: name.clone(),
        dry_run: false,
        timeout: u32::try_from(options.timeout.as_millis()).ok(),
    };
    let request = CreateRequest::new(common, TopicSpec::new_computed(partitions, 1, None));
    let version = sc.version::<ObjectApiCreateRequest>()?;
    let request = ObjectApiCreateRequest::try_encode_from(request, version).map_err(unencodable)?;
    let status = sc.call(&request)?;
    match status.error_code.0 {
        ErrorCode::None if partitions == 1 => {
            log::info!("created the topic {name} with one partition");
        }
        ErrorCode::None => log::info!("created the topic {name} with {partitions} partitions"),
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

/// The partitions, as far as they are set up. The SC does not look at names here, and lists all.
fn partitions(sc: &mut Rpc, places: &[LanePlace]) -> Result<Vec<Option<PartitionSpec>>> {
    let name = |place: &LanePlace| format!("{}-{}", place.topic, place.partition);
    let filter = match places {
        [place] => name(place),
        _ => String::new(),
    };
    let found = list::<PartitionSpec>(sc, &filter)?.into_iter();
    let mut found: HashMap<_, _> = found.map(|found| (found.name, found.spec)).collect();
    Ok(places
        .iter()
        .map(|place| found.remove(&name(place)))
        .collect())
}

fn no_partition(sc: &mut Rpc, place: &LanePlace) -> Error {
    let (topic, partition) = (&*place.topic, place.partition);
    let found = match topics(sc, [topic]) {
        Ok(mut found) => found.remove(topic),
        Err(error) => return error,
    };
    if let Err(error) = check_partition(found.as_ref(), place) {
        return error;
    }
    Error::unreachable(format!(
        "partition {partition} of the topic {topic} is not set up"
    ))
    .with_hint("is an SPU online? See \"fluvio cluster spu list\"")
}

/// Fails when the topic does not have the partition at all.
pub fn check_partition(found: Option<&TopicSpec>, place: &LanePlace) -> Result<()> {
    let (topic, partition) = (&place.topic, place.partition);
    let count = found.map_or(0, |topic| topic.replicas().partitions());
    if partition < count {
        return Ok(());
    }
    let what = format!("the topic {topic} has no partition {partition}, it has {count}");
    Err(Error::config(what).with_hint("they are counted from 0; see \"partition\" in the config"))
}

/// The leaders of partitions that are set up, in the order of `places`.
fn leaders(
    sc: &mut Rpc,
    cluster: &FluvioClusterConfig,
    places: &[LanePlace],
    partitions: impl Iterator<Item = PartitionSpec>,
) -> Result<Vec<Leader>> {
    let spus = list::<SpuSpec>(sc, "")?.into_iter();
    let spus: HashMap<_, _> = spus.map(|spu| (spu.spec.id, spu)).collect();
    let mut leaders = Vec::with_capacity(places.len());
    for (place, partition) in places.iter().zip(partitions) {
        let id = partition.leader;
        let unusable =
            |what: &str| Error::unreachable(format!("the leader of {place}, SPU {id}, {what}"));
        let spu = spus.get(&id).ok_or_else(|| unusable("is not known"))?;
        if !spu.status.is_online() {
            return Err(unusable("is offline").with_hint("see \"fluvio cluster spu list\""));
        }
        let address = match &spu.spec.public_endpoint_local {
            Some(local) if cluster.use_spu_local_address => local.to_string(),
            _ => spu.spec.public_endpoint.addr(),
        };
        leaders.push(Leader {
            spu: id,
            server: FluvioServer::sc(cluster).spu(address, &spu.name),
            compression: partition.compression_type,
            is_replicated: partition.replicas.len() > 1,
        });
    }
    Ok(leaders)
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
