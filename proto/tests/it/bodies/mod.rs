//! What is done to bytes that anybody may have made, and what must hold then: each function is the
//! body of a fuzz target of the same name (`proto/fuzz/`) and of a test that gives it the seeds in
//! the tree and damaged copies of them (`seeds.rs`).

pub(crate) mod dialled;
pub(crate) mod heir;
pub(crate) mod history;
mod transactions;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use callring_proto::base::time::Instant;
use callring_proto::sip::dialog::{has_sdp, origin, sdp_of};
use callring_proto::sip::stream::{Assembler, Framed};
use callring_proto::sip::{HeaderName, Message, NameAddr, Params, ResponseBuilder, Uri, Via};
use callring_proto::wire::{self, VERSION};

use crate::uas::Desk;
use dialled::Dialled;
use history::{Dice, History};
use transactions::Transaction;

/// A datagram: whatever is read of it is read, it is answered, and it reads back as itself.
pub(crate) fn message(data: &[u8]) {
    let message = match Message::parse(Bytes::copy_from_slice(data)) {
        Ok(message) => {
            let again = Message::parse(message.bytes().clone());
            assert_eq!(again.as_ref(), Ok(&message), "it reads back as itself");
            message
        }
        Err(malformed) => match malformed.partial {
            Some(partial) => *partial,
            None => return,
        },
    };
    for field in message.fields() {
        for value in message.values(field.name) {
            if let Ok(via) = Via::parse(value) {
                let _ = (via.received_ip(), via.host.ip(), walk(&via.params));
            }
            if let Ok(address) = NameAddr::parse(value) {
                let _ = (address.display_text(), walk(&address.params));
            }
        }
    }
    let via = message.top_via().expect("a Via that was found can be read");
    assert_eq!(
        Ok(via),
        Via::parse(message.values(HeaderName::Via).next().unwrap_or_default()),
        "the parts that were kept are those that are there"
    );
    let _ = (
        message.uri().map(|uri| uri.user_text()),
        message.from().map(|from| from.tag()),
        message.to().map(|to| to.tag()),
        message.contact(),
        message.expires(),
        message.max_forwards(),
        message.require().count(),
        has_sdp(&message).then(|| sdp_of(&message)),
    );
    if message.is_request() {
        let source = "192.0.2.7:5060".parse().expect("an address");
        let answer = ResponseBuilder::new(&message, 400).source(source);
        let _ = answer.to_tag("x").with_record_route().build();
    }
}

fn walk(params: &Params<'_>) -> usize {
    params.iter().map(|param| param.text().len()).sum()
}

/// A stream: cut anywhere, it gives the same messages.
pub(crate) fn stream(data: &[u8]) {
    let Some((cuts, data)) = data.split_first() else {
        return;
    };
    let size = usize::from(*cuts).max(1);
    let whole = framed(std::iter::once(data));
    let pieces = framed(data.chunks(size));
    // A fault is found sooner where less has come; what came before it is the same.
    let common = whole.len().min(pieces.len());
    assert_eq!(
        whole.get(..common),
        pieces.get(..common),
        "pieces of {size}"
    );
    for bytes in whole {
        message(&bytes);
    }
}

fn framed<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Bytes> {
    let mut assembler = Assembler::new(Instant::START);
    let mut found = Vec::new();
    for piece in pieces {
        assembler.push(piece, Instant::START);
        loop {
            match assembler.poll() {
                Ok(Some(Framed::Message(bytes))) => found.push(bytes),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return found,
            }
        }
    }
    found
}

/// A URI: it is equivalent to itself, and its parts are parts of it.
pub(crate) fn uri(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(uri) = Uri::parse(text) else {
        return;
    };
    assert_eq!(uri.as_str(), text);
    assert!(uri.is_equivalent(&uri), "{text}");
    let _ = (uri.user_text(), uri.is_loose(), uri.host.ip());
    let _ = (uri.params().count(), uri.headers().count());
}

/// Two session descriptions, parted by a NUL: the version of the later rises by one or stays.
pub(crate) fn sdp(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == 0);
    let (last, next) = data.split_at(at.unwrap_or(data.len() / 2));
    let (before, after) = (origin::version(last), origin::version(next));
    let told = origin::following(last, next);
    if let (Some(before), Some(_)) = (before, after) {
        let version = origin::version(&told).expect("it still has a version");
        assert!(
            version == before || before.checked_add(1).is_none_or(|next| version == next),
            "{before} then {version}"
        );
        assert_eq!(origin::following(&told, &told), told, "nothing has changed");
    }
}

/// A frame of a member: what is read can be written, and is read again as the same.
pub(crate) fn frame(data: &[u8]) {
    let _ = wire::peek(data);
    for version in 1..=VERSION {
        let Ok((address, frame)) = wire::decode(data, version) else {
            continue;
        };
        if let Some(bytes) = wire::encode(address, &frame, version) {
            let again = wire::decode(&bytes, version);
            assert_eq!(again.ok(), Some((address, frame)));
        }
    }
    let mut buffer = BytesMut::from(data);
    while let Ok(Some(_)) = wire::split(&mut buffer) {}
}

/// A call and what happens to it, each choice a byte.
pub(crate) fn call(data: &[u8]) {
    let data = data.get(..600).unwrap_or(data);
    let mut history = History::new(Dice(data));
    while history.goes_on() {
        history.step();
        history.image();
    }
    history.finish();
}

/// A call that an INVITE of ours began and what happens to it, each choice a byte.
pub(crate) fn dialled(data: &[u8]) {
    let data = data.get(..300).unwrap_or(data);
    let mut dialled = Dialled::new(Dice(data));
    while dialled.goes_on() {
        dialled.step();
    }
    dialled.finish();
}

/// The state in a record that an heir takes over: it runs, or is refused.
pub(crate) fn record(data: &[u8]) {
    let (age, state) = data.split_first().unwrap_or((&0, &[]));
    heir::bye_at_heir(Bytes::copy_from_slice(state), u32::from(*age) * 500);
}

/// A transaction and what happens to it, each choice a byte.
pub(crate) fn transaction(data: &[u8]) {
    let data = data.get(..200).unwrap_or(data);
    let mut transaction = Transaction::new(Dice(data));
    while transaction.goes_on() {
        transaction.step();
    }
    transaction.finish();
}

/// Datagrams to one shard, parted by `0xff`, with time passing in between.
pub(crate) fn shard(data: &[u8]) {
    let mut desk = Desk::new();
    for datagram in data.split(|byte| *byte == 0xff) {
        let wait = datagram.first().copied().unwrap_or_default();
        let bytes = datagram.get(1..).unwrap_or_default();
        desk.bytes(Bytes::copy_from_slice(bytes));
        desk.pass(Duration::from_millis(u64::from(wait) * u64::from(wait)));
    }
}
