//! The SC: versions, topics, and the metadata that clients list or watch.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fluvio_protocol::api::{Request, RequestHeader};
use fluvio_protocol::link::ErrorCode;
use fluvio_protocol::link::versions::{ApiVersionsRequest, ApiVersionsResponse, PlatformVersion};
use fluvio_protocol::{Decoder, Encoder};
use fluvio_sc_schema::customspu::CustomSpuSpec;
use fluvio_sc_schema::message::Message;
use fluvio_sc_schema::mirroring::ObjectMirroringRequest;
use fluvio_sc_schema::objects::{
    CreateRequest, DeleteRequest, ListFilters, ListRequest, ListResponse, Metadata, MetadataUpdate,
    ObjectApiCreateRequest, ObjectApiDeleteRequest, ObjectApiListRequest, ObjectApiListResponse,
    ObjectApiUpdateRequest, ObjectApiWatchRequest, ObjectApiWatchResponse, WatchRequest,
    WatchResponse,
};
use fluvio_sc_schema::partition::PartitionSpec;
use fluvio_sc_schema::spu::SpuSpec;
use fluvio_sc_schema::store::KeyFilter;
use fluvio_sc_schema::topic::TopicSpec;
use fluvio_sc_schema::{AdminSpec, Status, TryEncodableFrom};

use super::Shared;
use super::connection::{Connection, FrameSender};
use super::faults::Close;
use super::net::Side;
use super::wire::{response_frame, version_range};

/// The ordinary client looks a topic up in what it watches. The answer to a create leaves a little
/// after the update, or that client does not find the topic that it has just created.
const CREATE_PAUSE: Duration = Duration::from_millis(5);

/// The platform of the protocol crates that this server is made of.
const PLATFORM_VERSION: &str = "0.50.1";

pub(super) async fn serve(connection: &mut Connection, shared: &Arc<Shared>) -> io::Result<Close> {
    while let Some(mut frame) = connection.frame().await? {
        let header = RequestHeader::decode_from(&mut frame, 0)?;
        shared.count(Side::Sc, header.api_key());
        match header.api_key() {
            ApiVersionsRequest::API_KEY => answer(connection, &header, versions(shared)?).await?,
            ObjectApiCreateRequest::API_KEY => {
                let status = create(&header, frame, shared)?;
                tokio::time::sleep(CREATE_PAUSE).await;
                answer(connection, &header, status).await?;
            }
            ObjectApiDeleteRequest::API_KEY => {
                let status = delete(&header, frame, shared)?;
                answer(connection, &header, status).await?;
            }
            ObjectApiListRequest::API_KEY => {
                let list = list(&header, frame, shared)?;
                answer(connection, &header, list).await?;
            }
            ObjectApiWatchRequest::API_KEY => start_watch(connection, header, frame, shared)?,
            key => return Err(unsupported(format!("the SC has no request {key}"))),
        }
    }
    Ok(Close::Fin)
}

async fn answer<P: Encoder + Default>(
    connection: &Connection,
    header: &RequestHeader,
    body: P,
) -> io::Result<()> {
    let frame = response_frame(header.correlation_id(), header.api_version(), body)?;
    connection.sender().send(frame).await
}

fn unsupported(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what)
}

fn versions(shared: &Shared) -> io::Result<ApiVersionsResponse> {
    let platform_version = Encoder::as_bytes(&PLATFORM_VERSION.to_owned(), 0)?;
    Ok(ApiVersionsResponse {
        error_code: ErrorCode::None,
        api_keys: shared.shifted(vec![
            version_range::<ObjectApiCreateRequest>(),
            version_range::<ObjectApiDeleteRequest>(),
            version_range::<ObjectApiListRequest>(),
            version_range::<ObjectApiWatchRequest>(),
            version_range::<ObjectMirroringRequest>(),
            version_range::<ObjectApiUpdateRequest>(),
        ]),
        platform_version: PlatformVersion::decode_from(&mut platform_version.as_ref(), 0)?,
    })
}

fn create(header: &RequestHeader, mut body: Bytes, shared: &Shared) -> io::Result<Status> {
    let request = ObjectApiCreateRequest::decode_from(&mut body, header.api_version())?;
    let request: Option<CreateRequest<TopicSpec>> = request.downcast().map_err(io::Error::other)?;
    let Some((common, spec)) = request.map(CreateRequest::parts) else {
        return Ok(Status::new(
            "create".to_owned(),
            ErrorCode::Other("only topics can be created here".to_owned()),
            None,
        ));
    };
    Ok(shared.change_topics(|topics| topics.create(&common.name, spec, common.dry_run)))
}

fn delete(header: &RequestHeader, mut body: Bytes, shared: &Shared) -> io::Result<Status> {
    let request = ObjectApiDeleteRequest::decode_from(&mut body, header.api_version())?;
    let request: Option<DeleteRequest<TopicSpec>> = request.downcast().map_err(io::Error::other)?;
    let Some(request) = request else {
        return Ok(Status::new(
            "delete".to_owned(),
            ErrorCode::Other("only topics can be deleted here".to_owned()),
            None,
        ));
    };
    let force = request.is_force();
    let name = request.key();
    Ok(shared.change_topics(|topics| topics.delete(&name, force)))
}

fn list(
    header: &RequestHeader,
    mut body: Bytes,
    shared: &Shared,
) -> io::Result<ObjectApiListResponse> {
    let version = header.api_version();
    let request = ObjectApiListRequest::decode_from(&mut body, version)?;
    let topics = shared.topics.lock().unwrap();
    if let Some(request) = listed::<TopicSpec>(&request)? {
        let mut all = topics.topic_metadata();
        all.retain(|topic| topic.spec.is_system() == request.system);
        return list_response(filtered(all, &request.name_filters), version);
    }
    if let Some(request) = listed::<PartitionSpec>(&request)? {
        // Like the real server, this does not look at the names.
        let mut all = topics.partition_metadata();
        all.retain(|partition| partition.spec.system == request.system);
        return list_response(all, version);
    }
    if let Some(request) = listed::<SpuSpec>(&request)? {
        return list_response(
            filtered(topics.spu_metadata(), &request.name_filters),
            version,
        );
    }
    if let Some(request) = listed::<CustomSpuSpec>(&request)? {
        let custom = topics.spu_metadata().into_iter().map(|spu| Metadata {
            name: spu.name,
            spec: CustomSpuSpec::from(spu.spec),
            status: spu.status,
        });
        return list_response(filtered(custom.collect(), &request.name_filters), version);
    }
    Err(unsupported(format!("a list of other objects: {request:?}")))
}

fn listed<S>(request: &ObjectApiListRequest) -> io::Result<Option<ListRequest<S>>>
where
    ObjectApiListRequest: TryEncodableFrom<ListRequest<S>>,
{
    request.downcast().map_err(io::Error::other)
}

fn filtered<S: AdminSpec>(mut all: Vec<Metadata<S>>, filters: &ListFilters) -> Vec<Metadata<S>>
where
    S::Status: Encoder + Decoder,
{
    all.retain(|object| filters.filter(&object.name));
    all
}

fn list_response<S: AdminSpec>(
    all: Vec<Metadata<S>>,
    version: i16,
) -> io::Result<ObjectApiListResponse>
where
    S::Status: Encoder + Decoder,
{
    ObjectApiListResponse::try_encode_from(ListResponse::new(all), version)
        .map_err(io::Error::other)
}

fn start_watch(
    connection: &mut Connection,
    header: RequestHeader,
    mut body: Bytes,
    shared: &Arc<Shared>,
) -> io::Result<()> {
    let request = ObjectApiWatchRequest::decode_from(&mut body, header.api_version())?;
    let sender = connection.sender();
    let shared = Arc::clone(shared);
    if watched::<TopicSpec>(&request)? {
        connection.spawn(watch(sender, header, shared, |shared| {
            shared.topics.lock().unwrap().topic_metadata()
        }));
    } else if watched::<PartitionSpec>(&request)? {
        connection.spawn(watch(sender, header, shared, |shared| {
            shared.topics.lock().unwrap().partition_metadata()
        }));
    } else if watched::<SpuSpec>(&request)? {
        connection.spawn(watch(sender, header, shared, |shared| {
            shared.topics.lock().unwrap().spu_metadata()
        }));
    } else {
        return Err(unsupported(format!(
            "a watch of other objects: {request:?}"
        )));
    }
    Ok(())
}

fn watched<S>(request: &ObjectApiWatchRequest) -> io::Result<bool>
where
    S: AdminSpec,
    ObjectApiWatchRequest: TryEncodableFrom<WatchRequest<S>>,
{
    let request: Option<WatchRequest<S>> = request.downcast().map_err(io::Error::other)?;
    Ok(request.is_some())
}

/// Sends everything once, then what came and what went. Objects do not change otherwise here: the
/// real server also sends how far partitions are.
async fn watch<S>(
    sender: FrameSender,
    header: RequestHeader,
    shared: Arc<Shared>,
    look: fn(&Shared) -> Vec<Metadata<S>>,
) -> io::Result<()>
where
    S: AdminSpec + Clone,
    S::Status: Encoder + Decoder,
    ObjectApiWatchResponse: TryEncodableFrom<WatchResponse<S>>,
{
    let mut changed = shared.topics_changed.subscribe();
    let mut epoch = 1;
    let mut known = by_name(look(&shared));
    let mut update = MetadataUpdate::with_all(epoch, known.values().cloned().collect());
    loop {
        let response = WatchResponse::new(update);
        let response = ObjectApiWatchResponse::try_encode_from(response, header.api_version())
            .map_err(io::Error::other)?;
        let frame = response_frame(header.correlation_id(), header.api_version(), response)?;
        sender.send(frame).await?;

        let mut changes = Vec::new();
        while changes.is_empty() {
            if changed.changed().await.is_err() {
                return Ok(());
            }
            let now = by_name(look(&shared));
            let came = now.iter().filter(|(name, _)| !known.contains_key(*name));
            changes.extend(came.map(|(_, object)| Message::update(object.clone())));
            let went = known.iter().filter(|(name, _)| !now.contains_key(*name));
            changes.extend(went.map(|(_, object)| Message::delete(object.clone())));
            known = now;
        }
        epoch += 1;
        update = MetadataUpdate::with_changes(epoch, changes);
    }
}

fn by_name<S: AdminSpec>(all: Vec<Metadata<S>>) -> BTreeMap<String, Metadata<S>>
where
    S::Status: Encoder + Decoder,
{
    all.into_iter()
        .map(|object| (object.name.clone(), object))
        .collect()
}
