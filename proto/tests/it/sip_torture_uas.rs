//! Goal: a UAS answers the messages of RFC 4475 and RFC 5118 as `torture/index.tsv` says in its
//! column for a UAS, and stops for none. Method: each message goes to a fresh shard, and the first
//! line of its answer is compared; afterwards the shard still answers a call.

use super::sip_torture::rows;
use super::uas::Desk;

/// What a valid request of its kind gets here: this shard's application rings and answers. Two of
/// the INVITEs have a To tag, and no dialog to it exists (RFC 3261 12.2.2).
const NORMAL: [&str; 2] = ["180", "481"];

#[test]
fn every_message_is_answered_as_the_index_says() {
    for row in rows() {
        let mut desk = Desk::new();
        let said = desk.bytes(row.bytes.clone());
        let first = said.split([' ', ',']).next().unwrap_or_default();
        // Not in the index: no application here takes MESSAGE, and the method is looked at before
        // the content (RFC 3261 8.2.1).
        let no_message = row.name == "mpart01" && first == "405";
        let allowed = no_message
            || row.expect_uas.split('|').any(|expected| match expected {
                "normal" => NORMAL.contains(&first),
                drop if drop.contains("drop") => first.is_empty(),
                status => first == status,
            });
        assert!(
            allowed,
            "{} ({}): {said:?} for {}",
            row.name, row.kind, row.expect_uas
        );
        assert_eq!(said.split(", ").count(), if first == "180" { 2 } else { 1 });
        desk.sent.clear();
        let invite = "OPTIONS sip:ivr@192.0.2.1 SIP/2.0\r\n\
            Via: SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bKlater\r\nFrom: <sip:a@h>;tag=1\r\n\
            To: <sip:b@h>\r\nCall-ID: later\r\nCSeq: 1 OPTIONS\r\n\r\n";
        assert_eq!(desk.bytes(invite.into()), "200 OPTIONS", "{}", row.name);
    }
}
