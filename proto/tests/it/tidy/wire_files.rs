//! Files that make bytes on the fabric can't change unnoticed.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::root;

const LIST: &str = "proto/tests/golden/wire-files.txt";
const FILES: [&str; 11] = [
    "proto/src/base/flow.rs",
    "proto/src/base/ids.rs",
    "proto/src/shard/live.rs",
    "proto/src/shard/tasks.rs",
    "proto/src/wire/codec.rs",
    "proto/src/wire/frame.rs",
    "proto/src/wire/hello.rs",
    "proto/src/wire/record.rs",
    "proto/src/wire/relay.rs",
    "proto/src/wire/setup.rs",
    "proto/src/wire/v1.rs",
];

/// Of the code alone: comments, blank lines and the file's own tests may change freely.
fn hash(text: &str) -> u64 {
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    let mut hash = SipHasher13::new();
    for line in code.lines().map(str::trim) {
        if !line.is_empty() && !line.starts_with("//") {
            hash.write(line.as_bytes());
            hash.write_u8(b'\n');
        }
    }
    hash.finish()
}

/// Goal: nobody changes what members say to each other, or what lies in records, without saying
/// so. Method: a checked-in hash for each file that defines those bytes.
#[test]
fn a_changed_wire_file_has_a_version_note() {
    let read = |path: &str| {
        std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let expected: String = FILES
        .iter()
        .map(|file| format!("{:016x} {file}\n", hash(&read(file))))
        .collect();
    let noted: String = read(LIST)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(
        noted == expected,
        "\nA file that defines bytes between members or in records has changed.\n\
         1. Run the golden tests. If all pass, the bytes are the same: write the lines below into \
         {LIST}.\n\
         2. If one fails, the bytes are new. Old goldens stay: give the body a new frozen struct \
         (V2, with From<V1>), raise wire::VERSION (or the state's version), add the new goldens \
         beside the old ones, and note it in CHANGELOG.md under the version's number. Then write \
         the lines below.\n\n{expected}"
    );
}
