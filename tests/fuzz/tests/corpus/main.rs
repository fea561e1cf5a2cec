//! The first seeds of each corpus, made by code, so that it can be read what is in them.
//!
//! The test compares the files with what the code makes; with `WEFT_WRITE_CORPUS=1` it writes them instead. What
//! fuzzing adds stands beside them under other names.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails here")]

mod bus;
mod dns;
mod dns_engine;
mod http2;
mod messages;
mod packets;
mod queue;
mod scripts;
mod texts;

use std::collections::BTreeMap;
use std::path::PathBuf;

use weft_fuzz::TARGETS;

/// The seeds of one target: names, which begin with `ok-` or `bad-`, and bytes.
type Seeds = Vec<(&'static str, Vec<u8>)>;

fn seeds() -> BTreeMap<&'static str, Seeds> {
    BTreeMap::from([
        ("bus_message", bus::seeds()),
        ("dns_answer", dns::client_answer()),
        ("dns_cache", messages::cache()),
        ("dns_engine", dns_engine::seeds()),
        ("dns_front", scripts::dns_front()),
        ("dns_message_edit", messages::edit()),
        ("dns_query", dns::query()),
        ("enrolment_link", texts::enrolment_link()),
        ("gateway_answer", dns::answer()),
        ("gateway_query", dns::query()),
        ("http2_answers", http2::seeds()),
        ("ipc_frame", texts::ipc_frame()),
        ("netstack_packet", scripts::netstack()),
        ("orchestration_answer", texts::orchestration_answer()),
        ("packet_coalesce", packets::coalesce()),
        ("packet_icmp", packets::icmp()),
        ("packet_queue", queue::seeds()),
        ("packet_split", packets::split()),
        ("packet_translate", packets::translate()),
        ("packet_view", packets::view()),
        ("policy_plan", texts::profile_json()),
        ("policy_verdict", packets::verdict()),
        ("profile_json", texts::profile_json()),
        ("resolv_conf", texts::resolv_conf()),
        ("wg_quick", texts::wg_quick()),
        ("wireguard_session", scripts::wireguard()),
    ])
}

#[test]
fn the_seeds_are_what_the_code_makes() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = std::env::var_os("WEFT_WRITE_CORPUS").is_some();
    let seeds = seeds();
    let targets: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(seeds.keys().copied().collect::<Vec<_>>(), targets, "seeds for every target, sorted");
    for (target, files) in seeds {
        let directory = corpus.join(target);
        for (name, bytes) in files {
            assert!(name.starts_with("ok-") || name.starts_with("bad-"), "{target}/{name}");
            let path = directory.join(name);
            if write {
                std::fs::create_dir_all(&directory).unwrap();
                std::fs::write(&path, &bytes).unwrap();
            }
            let found = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(found == bytes, "{}: run with WEFT_WRITE_CORPUS=1 to write it anew", path.display());
        }
    }
}
