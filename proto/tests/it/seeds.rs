//! Goal: what the fuzz targets look for isn't there, as far as the seeds in the tree and damaged
//! copies of them tell. Method: the targets' bodies, the torture messages, the golden frames, the
//! targets' own seeds, and seeded damage: bytes changed, dropped, repeated.

use std::fs;
use std::path::{Path, PathBuf};

use callring_proto::base::rng;
use rand::RngExt as _;

use crate::bodies;

const DAMAGES: usize = 20;

#[expect(
    clippy::disallowed_methods,
    reason = "the wall is the core's, tests read files"
)]
fn files(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let read = |path: &PathBuf| fs::read(path).expect("a seed can be read");
    let entries = fs::read_dir(folder).expect("the folder of seeds is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    paths.iter().map(read).collect()
}

fn check(body: fn(&[u8]), seeds: &[Vec<u8>]) {
    assert!(!seeds.is_empty(), "there are seeds");
    let mut rng = rng::from_seed([4; 32]);
    for seed in seeds {
        body(seed);
        for _ in 0..DAMAGES {
            let mut copy = seed.clone();
            for _ in 0..rng.random_range(1..4) {
                if copy.is_empty() {
                    break;
                }
                let at = rng.random_range(0..copy.len());
                match rng.random_range(0..4) {
                    0 => copy[at] = rng.random(),
                    1 => drop(copy.remove(at)),
                    2 => copy.insert(at, copy[at]),
                    _ => copy.truncate(at),
                }
            }
            body(&copy);
        }
    }
}

fn messages() -> Vec<Vec<u8>> {
    let mut all = files("tests/torture/rfc4475");
    all.extend(files("tests/torture/rfc5118"));
    all.extend(files("fuzz/seeds/message"));
    all
}

fn before(first: u8, seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let with = |seed: Vec<u8>| [&[first][..], &seed].concat();
    seeds.into_iter().map(with).collect()
}

#[test]
fn messages_are_read_and_answered() {
    check(bodies::message, &messages());
}

#[test]
fn streams_are_cut_alike() {
    check(bodies::stream, &before(7, messages()));
}

#[test]
fn uris_are_read() {
    check(bodies::uri, &files("fuzz/seeds/uri"));
}

#[test]
fn versions_of_descriptions_rise_by_one() {
    check(bodies::sdp, &files("fuzz/seeds/sdp"));
}

#[test]
fn frames_are_read() {
    for version in 1..=callring_proto::wire::VERSION {
        check(bodies::frame, &files(&format!("tests/golden/v{version}")));
    }
}

#[test]
fn calls_keep_their_word() {
    check(bodies::call, &files("fuzz/seeds/call"));
}

#[test]
fn calls_of_ours_come_to_their_end() {
    check(bodies::dialled, &files("fuzz/seeds/dialled"));
}

#[test]
fn transactions_keep_their_word() {
    check(bodies::transaction, &files("fuzz/seeds/transaction"));
}

#[test]
fn records_come_to_life_or_are_refused() {
    check(bodies::record, &files("fuzz/seeds/record"));
}

#[test]
fn a_shard_takes_anything() {
    check(bodies::shard, &before(20, messages()));
    check(bodies::shard, &files("fuzz/seeds/shard"));
}
