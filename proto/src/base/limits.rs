//! Every bound of the core in one place: its value, its unit, its reason, and what happens at it.

use std::time::Duration;

/// Largest SIP message, bytes: what a UDP datagram can carry. Above: 513 or dropped.
pub const SIP_MESSAGE_BYTES_MAX: usize = 65_535;
/// Most header fields in a message; real ones have under 40. Above: 400.
pub const SIP_HEADERS_MAX: usize = 256;
/// Most Via or Route values in a message (70 is the default Max-Forwards). Above: 400.
pub const SIP_HOPS_MAX: usize = 72;
/// Largest single header field value, bytes. Above: 400.
pub const SIP_HEADER_BYTES_MAX: usize = 8_192;
/// Largest Request-URI, bytes. Above: 414.
pub const SIP_URI_BYTES_MAX: usize = 2_048;
/// Largest Call-ID, tag or branch that is kept, bytes. Above: 400.
pub const SIP_TOKEN_BYTES_MAX: usize = 512;
/// How long one message may take to arrive over a stream, from its first byte, however steadily it
/// drips. Above: the connection is closed.
pub const STREAM_ASSEMBLY: Duration = Duration::from_secs(10);

/// RFC 3261 17.1.1.1: estimate of the round-trip time.
pub const T1: Duration = Duration::from_millis(500);
/// RFC 3261 17.1.2.2: the longest retransmission interval.
pub const T2: Duration = Duration::from_secs(4);
/// RFC 3261 17.1.2.2: the longest time a message stays in the network.
pub const T4: Duration = Duration::from_secs(5);
/// 64*T1: how long a transaction may take (Timers B, F, H, J, L, M).
pub const T1_X64: Duration = Duration::from_secs(32);

/// Finished server transactions kept in one call for replay (Timers J and L). Above: the oldest goes.
pub const SERVER_TRANSACTIONS_PER_CALL_MAX: usize = 8;
/// Reliable provisionals that wait for their PRACK in one call. Above: the newest is not sent.
pub const RELIABLES_PER_CALL_MAX: usize = 8;
/// Subscriptions that REFERs have begun in one call. Above: 503 to a REFER.
pub const SUBSCRIPTIONS_PER_CALL_MAX: usize = 8;

/// Legs of one call at a time. Above: no further one is begun (SIP.md S2.4).
pub const LEGS_PER_CALL_MAX: usize = 24;

/// What an application keeps of one call, as it lies in the record. Above: the call ends, with an
/// error in the log; every change of it would send as much to each member that holds a copy.
pub const APP_STATE_BYTES_MAX: usize = 64 * 1_024;

/// Durable tasks of one call that have not come back. Above: the newest fails at once.
pub const TASKS_PER_CALL_MAX: usize = 16;
/// Name and payload of a durable task, and what it returns, bytes. Above: it fails.
pub const TASK_BYTES_MAX: usize = 16 * 1_024;

/// Dialogs that one INVITE of ours may be answered in. Above: a provisional response is not seen, a
/// 2xx is acknowledged and ended.
pub const FORKS_PER_LEG_MAX: usize = 12;
/// Calls of one source in set-up at one shard. Above: 503 to its new calls.
pub const SETUPS_PER_SOURCE_MAX: u32 = 8_192;
/// Calls in set-up at one shard. Above: 503 to new calls.
pub const SETUPS_MAX: u32 = 65_536;
/// Outputs held for one call while replicas are waited for. Above: a request is answered 500.
pub const HELD_OUTPUTS_PER_CALL_MAX: usize = 32;
/// Outputs held by one shard while replicas are waited for: seconds of answers that nobody
/// acknowledges. Above: 503 to new calls.
pub const HELD_OUTPUTS_MAX: usize = 16_384;
/// Messages kept for one call while its owner is looked for or changes. Above: the newest goes.
pub const QUEUED_INPUTS_PER_CALL_MAX: usize = 16;
/// Local CSeq numbers leased ahead at once (PROTOCOL.md rule 23).
pub const CSEQ_LEASE: u32 = 16;
/// From one phone to the next that a shard tells, after takeovers, where its call is now.
pub const REFRESH_PACE: Duration = Duration::from_millis(10);
/// Records in flight per lane before the next batch waits for an acknowledgement.
pub const LANE_WINDOW_RECORDS: usize = 4_096;
/// Records in one batch frame.
pub const BATCH_RECORDS_MAX: usize = 256;
/// Bytes of records in one batch frame; a frame stays far below the stream window.
pub const BATCH_BYTES_MAX: usize = 256 * 1_024;
/// Largest frame body, bytes. Above: the link is closed.
pub const FRAME_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// Birth notices that one shard keeps for others' and its own INVITEs. Above: the oldest goes.
pub const BIRTHS_MAX: usize = 65_536;
/// Transactions that are looked for at once, by one shard. Above: the request is dropped.
pub const SEEKS_MAX: usize = 4_096;
/// Requests without a final response that an ingress keeps to submit them again. Above: the oldest
/// goes.
pub const KEPT_MAX: usize = 16_384;
