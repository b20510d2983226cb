//! Goal: the hot path allocates nothing but what it sends. Method: an allocator that counts, for
//! one thread at a time, around reading a message and its fields, and around an answer.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use callring_proto::sip::{Message, ResponseBuilder};

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is the system allocator's own; beside it only a number of this thread moves.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps alloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `alloc`, with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

fn allocations<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = COUNT.with(Cell::get);
    let done = work();
    (done, COUNT.with(Cell::get) - before)
}

const FIELDS: &str = "Via: SIP/2.0/UDP 192.0.2.17:5060;rport;branch=z9hG4bK-524287-1\r\n\
    Max-Forwards: 70\r\nFrom: \"Alice\" <sip:alice@example.com>;tag=9fxced76sl\r\n\
    To: <sip:+4930123456@example.com>;tag=n4mejo2c\r\nCall-ID: 38482762982@192.0.2.17\r\n\
    CSeq: 314159 INVITE\r\nContact: <sip:alice@192.0.2.17:5060>\r\n\
    Content-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n";

#[test]
fn reading_allocates_nothing_and_answering_its_buffer() {
    for line in ["INVITE sip:b@example.com SIP/2.0", "SIP/2.0 200 OK"] {
        let bytes = Bytes::from(format!("{line}\r\n{FIELDS}").into_bytes());
        let (message, count) = allocations(|| {
            // Sharing a buffer for the first time makes its count of owners: the reader's own.
            let message = Message::parse(bytes).expect("it reads");
            let via = message.top_via().expect("a Via");
            assert_eq!(via.port, Some(5060));
            assert!(message.branch().is_some() && message.to_tag().is_some());
            assert!(message.from_tag().is_some() && message.cseq_number() == 314_159);
            assert!(!message.call_id().is_empty() && message.body().len() == 5);
            message
        });
        assert_eq!(count, 0, "{line}");
        if !message.is_request() {
            continue;
        }
        let source = "192.0.2.17:5061".parse().expect("an address");
        let (response, count) = allocations(|| {
            ResponseBuilder::new(&message, 200)
                .source(source)
                .to_tag("mine")
                .contact("<sip:192.0.2.1>")
                .body("application/sdp", b"v=0\r\n".as_slice())
                .build()
        });
        assert!(response.is_ok());
        assert_eq!(count, 1, "the output itself");
    }
}
