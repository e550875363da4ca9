//! Topics that cannot be written, and files that are not as they should be.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::check::{check, healthy_server};
use crate::support::connector::ConfigFile;
use crate::support::pipeline::Pipeline;
use fluvio_sc_schema::topic::{CleanupPolicy, CompressionAlgorithm, SegmentBasedPolicy};

/// What a `config` mend says, in the place of what the config had.
fn with(config: ConfigFile, mends: &[String]) -> ConfigFile {
    let mend = mends.concat();
    let (key, value) = mend.split_once(": ").unwrap_or_else(|| panic!("{mend}"));
    config.set(key, value)
}

#[test]
fn a_topic_that_is_missing_or_has_no_such_partition() {
    let pipeline = Pipeline::on(healthy_server(), "no_topic");
    let url = pipeline.database.url();
    let config = pipeline.config().set("create-topic", "false");
    let checked = check(&config, &url);
    checked.assert_problems(&[("topic", "failure")], 78);
    let command = format!("fluvio topic create {}", pipeline.topic);
    assert_eq!(checked.mends("topic", "shell"), [command]);
    let config = with(config, &checked.mends("topic", "config"));
    check(&config, &url).assert_problems(&[], 0);

    pipeline.cluster().create_topic(&pipeline.topic);
    let config = pipeline.config().set("partition", "3");
    let checked = check(&config, &url);
    checked.assert_problems(&[("topic.partition", "failure")], 78);
    checked.assert_says("topic.partition", "has no partition 3, it has 1");
    let config = with(config, &checked.mends("topic.partition", "config"));
    check(&config, &url).assert_problems(&[], 0);
}

#[test]
fn batches_that_the_topic_or_its_consumers_do_not_take() {
    let pipeline = Pipeline::on(healthy_server(), "batches").in_process();
    let url = pipeline.database.url();
    let lz4 = CompressionAlgorithm::Lz4;
    pipeline
        .server()
        .create_topic_with_compression(&pipeline.topic, lz4);
    let config = pipeline.config().producer("compression", "gzip");
    let checked = check(&config, &url);
    checked.assert_problems(&[("topic.compression", "failure")], 78);
    let advice = checked.mends("topic.compression", "advice");
    assert_eq!(advice, ["remove \"compression\" from the config"]);
    check(&pipeline.config(), &url).assert_problems(&[], 0);

    let large = pipeline.config().producer("batch-size", "16MB");
    let checked = check(&large, &url);
    checked.assert_problems(&[("topic.batch_size", "warning")], 0);
    let config = with(
        pipeline.config(),
        &checked.mends("topic.batch_size", "config"),
    );
    check(&config, &url).assert_problems(&[], 0);
}

#[test]
fn records_that_do_not_stay_or_are_somebody_elses() {
    let pipeline = Pipeline::on(healthy_server(), "records").in_process();
    let url = pipeline.database.url();
    let hour = CleanupPolicy::Segment(SegmentBasedPolicy {
        time_in_seconds: 3600,
    });
    pipeline
        .server()
        .create_topic_with_cleanup(&pipeline.topic, hour);
    let checked = check(&pipeline.config(), &url);
    checked.assert_problems(&[("topic.retention", "warning")], 0);
    checked.assert_says("topic.retention", "removed after 1h");

    let other = pipeline.config().set("topic", "somebody-elses");
    pipeline.cluster().create_topic("somebody-elses");
    check(&other, &url).assert_problems(&[], 0);
    pipeline
        .cluster()
        .produce("somebody-elses", &[b"{\"what\":1}".to_vec()]);
    let checked = check(&other, &url);
    let problems = [("topic.tail", "failure"), ("slot", "failure")];
    checked.assert_problems(&problems, 76);
    checked.assert_says("topic.tail", "was not written by this program");
}

#[test]
fn files_that_others_read_or_that_cannot_be_written() {
    let pipeline = Pipeline::on(healthy_server(), "files");
    let url = pipeline.database.url();
    let config = pipeline
        .config()
        .raw("secrets: { FLUVIO_PG_DATABASE_URL: \"postgres://u:hunter2@h/db\" }");
    let path = config.path();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("it is ours");
    let checked = check(&config, &url);
    checked.assert_problems(&[("config.permissions", "warning")], 0);
    let command = checked.mends("config.permissions", "shell").concat();
    let status = Command::new("sh").args(["-c", &command]).status();
    assert!(status.expect("sh runs").success(), "{command}");
    check(&config, &url).assert_problems(&[], 0);

    let file = tempfile::NamedTempFile::new().expect("a file can be made");
    let state_dir = file.path().to_str().expect("UTF-8").to_owned();
    let checked = check(&pipeline.config().set("state_dir", &state_dir), &url);
    checked.assert_problems(&[("state_dir", "failure")], 78);
    checked.assert_says("state_dir", "cannot write the state file");
    drop(file);
    let checked = check(&pipeline.config().set("state_dir", &state_dir), &url);
    checked.assert_problems(&[], 0);
}
