//! Finding the server that leads a partition, and creating the topic when it is missing.

use std::thread;
use std::time::{Duration, Instant};

use fluvio::config::{ConfigError, ConfigFile, TlsPolicy};
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
use crate::error::{Error, Kind, Result};

/// How often the SC is asked again while it sets a new topic up.
const POLL: Duration = Duration::from_millis(50);

/// Where a partition is written.
pub struct Leader {
    /// The address of its SPU.
    pub address: String,
    /// What the topic allows.
    pub compression: CompressionAlgorithm,
}

/// The cluster: the configured endpoint, or that of the current profile.
pub fn endpoint(options: &Options) -> Result<FluvioClusterConfig> {
    let cluster = match &options.endpoint {
        Some(endpoint) => FluvioClusterConfig::new(endpoint),
        None => profile()?,
    };
    match cluster.tls {
        TlsPolicy::Disabled => Ok(cluster),
        _ => Err(Error::config(
            "the Fluvio profile asks for TLS, which this version does not have",
        )
        .with_hint("nothing was sent; use a profile without TLS")),
    }
}

fn profile() -> Result<FluvioClusterConfig> {
    const HINT: &str = "name the cluster in the config, \"fluvio: { endpoint: host:port }\", or set \
        a profile up with \"fluvio profile\"; it is read from FLV_PROFILE_PATH or ~/.fluvio/config";
    let file = ConfigFile::load(None).map_err(|e| unreadable(e).with_hint(HINT))?;
    let cluster = file.config().current_cluster();
    cluster.cloned().map_err(|e| {
        Error::config("no Fluvio profile")
            .with_source(e)
            .with_hint(HINT)
    })
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

/// Asks the SC for the leader of the partition, and creates the topic first if that is wanted.
pub fn find_leader(cluster: &FluvioClusterConfig, options: &Options) -> Result<Leader> {
    let deadline = Instant::now() + options.timeout;
    let mut sc = Rpc::connect(&cluster.endpoint, options.timeout)?;
    let topics = list::<TopicSpec>(&mut sc, &options.topic)?;
    if !topics.iter().any(|topic| topic.name == options.topic) {
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
    match status.error_code {
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
                format!("cannot create the topic {name}: {detail}"),
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
    let count = match list::<TopicSpec>(sc, topic) {
        Ok(topics) => topics
            .iter()
            .find(|found| found.name == *topic)
            .map_or(0, |found| found.spec.replicas().partitions()),
        Err(error) => return error,
    };
    if partition >= count {
        return Error::config(format!(
            "the topic {topic} has no partition {partition}, it has {count}"
        ))
        .with_hint("they are counted from 0; see \"partition\" in the config");
    }
    Error::unreachable(format!(
        "partition {partition} of the topic {topic} is not set up"
    ))
    .with_hint("is an SPU online? See \"fluvio cluster spu list\"")
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
        address,
        compression: partition.compression_type,
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
