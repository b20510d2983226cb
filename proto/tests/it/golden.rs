//! Goal: the bytes between members, and those in records, are what they were. Method: an example of
//! each against a file; every cut of it; seeded damage to it; a call brought to life from a record
//! that lies in a file.

mod examples;

use std::fs;
use std::path::{Path, PathBuf};

use callring_proto::base::rng;
use callring_proto::wire::{Greeting, HEADER_BYTES, HELLO_HEAD_BYTES, decode, encode};
use rand::RngExt as _;

pub(crate) use examples::member;
use examples::{ADDRESS, frames, greetings, record};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

/// A golden's bytes; none if there is no such file.
#[expect(
    clippy::disallowed_methods,
    reason = "the wall is the core's, tests read files"
)]
pub(crate) fn golden(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap_or_default()
}

/// The bytes must be the goldens'; what was made instead is left for comparison.
fn check(made: &[(String, Vec<u8>)]) {
    let beside = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut other = Vec::new();
    for (name, made) in made {
        if golden(name) != *made {
            fs::write(beside.join(name), made).expect("the test's own folder can be written");
            other.push(name);
        }
    }
    assert!(
        other.is_empty(),
        "{other:?}: this build writes other bytes, see {}. The goldens stay: a new layout is a new \
         version (tests/golden/README.md)",
        beside.display()
    );
}

#[test]
fn frames_are_written_and_read_as_ever() {
    let file = |name: &str| format!("frame-{name}.bin");
    let made: Vec<_> = frames()
        .iter()
        .map(|(name, frame)| (file(name), encode(ADDRESS, frame).to_vec()))
        .collect();
    check(&made);
    for (name, frame) in frames() {
        let file = file(name);
        assert_eq!(decode(&golden(&file)), Ok((ADDRESS, frame)), "{file}");
    }
}

#[test]
fn records_are_written_and_read_as_ever() {
    let made = postcard::to_stdvec(&record()).expect("a record is plain data");
    check(&[("record.bin".into(), made)]);
    assert_eq!(postcard::from_bytes(&golden("record.bin")), Ok(record()));
}

#[test]
fn greetings_are_written_and_read_as_ever() {
    let file = |name: &str| format!("greeting-{name}.bin");
    let made: Vec<_> = greetings()
        .iter()
        .map(|(name, greeting)| (file(name), greeting.encode()))
        .collect();
    check(&made);
    for (name, greeting) in greetings() {
        let file = file(name);
        let bytes = golden(&file);
        let (head, body) = bytes
            .split_first_chunk::<HELLO_HEAD_BYTES>()
            .expect("a head");
        assert_eq!(Greeting::body_length(head), Ok(body.len()), "{file}");
        assert_eq!(Greeting::decode_body(body), Ok(greeting), "{file}");
    }
}

/// Every file of the folder is looked at by some test here.
#[test]
fn no_golden_is_forgotten() {
    let frames = frames()
        .into_iter()
        .map(|(name, _)| format!("frame-{name}.bin"));
    let greetings = greetings()
        .into_iter()
        .map(|(name, _)| format!("greeting-{name}.bin"));
    let others = ["call-state.bin", "call-tag.txt", "record.bin"].map(str::to_owned);
    let mut expected: Vec<String> = frames.chain(greetings).chain(others).collect();
    expected.sort();
    let entries = fs::read_dir(folder()).expect("the goldens can be listed");
    let mut found: Vec<String> = entries
        .map(|entry| entry.expect("an entry can be read").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, expected);
}

/// A frame cut anywhere is an error, also when its header agrees with the cut.
#[test]
fn a_cut_frame_is_an_error() {
    for (name, frame) in frames() {
        let whole = encode(ADDRESS, &frame);
        for cut in 0..whole.len() {
            assert!(decode(&whole[..cut]).is_err(), "{name} cut at {cut}");
            if cut >= HEADER_BYTES {
                let agreeing = with_length(&whole[..cut]);
                assert!(decode(&agreeing).is_err(), "{name} cut at {cut}, told so");
            }
        }
    }
}

/// A frame with a byte too many is an error, after it or inside it.
#[test]
fn a_frame_with_more_than_itself_is_an_error() {
    for (name, frame) in frames() {
        let mut longer = encode(ADDRESS, &frame).to_vec();
        longer.push(0);
        assert!(decode(&longer).is_err(), "{name} and a byte");
        assert!(
            decode(&with_length(&longer)).is_err(),
            "{name} and a byte, told so"
        );
    }
}

/// The frame with its header's length made to fit.
fn with_length(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let body = bytes.len().saturating_sub(HEADER_BYTES);
    if let Some(field) = bytes.get_mut(8..HEADER_BYTES) {
        field.copy_from_slice(&u32::try_from(body).expect("a short body").to_be_bytes());
    }
    bytes
}

/// Damage makes an error or another frame, never a panic; and what is read can be written and reads
/// back the same.
#[test]
fn damaged_frames_are_read_totally() {
    const ROUNDS: u32 = 2_000;
    let mut rng = rng::from_seed([42; 32]);
    let mut still_frames = 0;
    for (name, frame) in frames() {
        let whole = encode(ADDRESS, &frame).to_vec();
        for _ in 0..ROUNDS {
            let damaged = damage(whole.clone(), &mut rng);
            for bytes in [with_length(&damaged), damaged] {
                let Ok((address, read)) = decode(&bytes) else {
                    continue;
                };
                still_frames += 1;
                let again = encode(address, &read);
                assert_eq!(decode(&again), Ok((address, read)), "{name}: {bytes:02x?}");
            }
        }
    }
    // Else the damage is too coarse to try the bodies.
    assert!(still_frames > ROUNDS, "{still_frames}");
}

/// A few bytes of it changed, repeated, added or gone.
pub(crate) fn damage(mut bytes: Vec<u8>, rng: &mut rng::Rng) -> Vec<u8> {
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..bytes.len().max(1)).min(bytes.len());
        match rng.random_range(0..5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.random()),
            2 => bytes.extend_from_within(at..),
            3 => drop(bytes.splice(at..(at + 4).min(bytes.len()), [0xff; 10])),
            _ => bytes
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|byte| *byte ^= 1 << (at % 8)),
        }
    }
    bytes
}

/// The same for greetings: a stranger's first bytes.
#[test]
fn damaged_greetings_are_read_totally() {
    let mut rng = rng::from_seed([43; 32]);
    for (name, greeting) in greetings() {
        let body = greeting.encode().split_off(HELLO_HEAD_BYTES);
        for cut in 0..body.len() {
            assert!(
                Greeting::decode_body(&body[..cut]).is_err(),
                "{name} cut at {cut}"
            );
        }
        for _ in 0..2_000 {
            let damaged = damage(body.clone(), &mut rng);
            if let Ok(read) = Greeting::decode_body(&damaged) {
                let again = read.encode().split_off(HELLO_HEAD_BYTES);
                assert_eq!(
                    Greeting::decode_body(&again),
                    Ok(read),
                    "{name}: {damaged:02x?}"
                );
            }
        }
    }
}
