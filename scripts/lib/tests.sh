# Which tests are left out where. Sourced. Each name begins the path of a test under tests/it, and a test
# holds that.

# What does not depend on the version of the server, and runs on one only: what has no server of PostgreSQL
# or a scripted one, and what is about files, the command line, Fluvio, the log, or the program's own
# memory; besides, faults at random, and lines and processes that stand still, which take long. Not in it is
# what asks a real server about slots, publications, errors, values, rights or settings, nor what has ever
# failed on one version alone.
ANY_VERSION=(
    base::inputs:: base::no_threads:: base::orphans::
    pg::auth_script:: pg::hostile:: pg::password_command:: pg::session_script:: pg::tls_script::
    pg::decoder::every_flipped_bit pg::decoder::rows_under_a_damaged
    record::large:: record::types::large::
    sink::batches:: sink::fluvio_tls:: sink::hostile:: sink::in_flight:: sink::lanes::
    sink::leaders:: sink::replicas::
    observe::logging:: observe::long_work:: observe::service::
    config::
    pipeline::memory:: pipeline::torture:: pipeline::reader::silence::
    pipeline::resume::arithmetic:: pipeline::resume::arithmetic_history:: pipeline::resume::continuity_lanes::
    pipeline::rows::ways::
    pipeline::session::frozen:: pipeline::session::network::
    commands::check::topic:: commands::cli:: commands::looked_into:: commands::output::
    commands::status::lanes:: commands::verify::
    project::dashboard:: project::fuzz:: project::layers:: project::layout::
)

# What takes long for what it finds on a usual day: faults at random, lines and processes that stand still,
# copies of whole servers, very large or very many values, and the walk through the README's
# troubleshooting.
SLOW=(
    pg::decoder::every_flipped_bit pg::decoder::rows_under_a_damaged pg::timeouts::
    pg::tls::every_mode_ends
    record::large:: record::types::large::
    observe::long_work::
    pipeline::memory:: pipeline::torture:: pipeline::delivery::faults_in_any_order
    pipeline::reader::silence::
    pipeline::resume::continuity_cluster:: pipeline::resume::history::
    pipeline::resume::e2e::a_huge_open_transaction pipeline::resume::e2e::large_records
    pipeline::session::frozen:: pipeline::session::network:: pipeline::session::promotion::
    commands::check::publication::it_has_thousands_of_tables
    project::dashboard:: project::fuzz:: project::readme::commands:: project::troubleshooting::
)

# The arguments by which the tests leave out these.
skipping() {
    printf -- '--skip %s ' "$@"
}
