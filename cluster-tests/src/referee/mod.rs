//! The referee: judges what a run put on the wire, from the captures of the test's user agents
//! alone, by the rules that every SIP peer relies on and by `SIP.md` S1.1.
//!
//! | file | what it judges |
//! |---|---|
//! | `book` | puts a capture in order: messages, dialogs, transactions |
//! | `dialog` | tags, CSeq, ACK, BYE, calls that were lost |
//! | `response` | what a response repeats, where it goes, one final each |
//! | `address` | Contact and Via sent-by |
//!
//! May touch: captures and the SIP room's parser. Must not know: processes, the admin interface,
//! what a test meant to happen.

mod address;
mod book;
mod dialog;
mod response;

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callring::demo::capture::Capture;

use book::Book;

/// A node, as far as the wire shows it.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The node's name, for reports.
    pub node: String,
    /// The address its datagrams come from.
    pub address: SocketAddr,
    /// `host:port` that its Contact and Via name.
    pub advertised: String,
    /// When it was killed: from then on another node may speak in its place.
    pub down: Option<Instant>,
}

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Every datagram is a SIP message or a keep-alive.
    NotSip,
    /// Datagrams come from listeners of the cluster.
    UnknownSource,
    /// Every response but 100 has a To tag (RFC 3261 8.2.6.2).
    ToTagMissing,
    /// A side's tag never changes (RFC 3261 8.2.6.2, 12.2).
    TagChanged,
    /// New requests of a side have rising CSeq numbers (RFC 3261 12.2.1.1).
    CSeqNotRising,
    /// A request that comes again is the same, byte for byte (RFC 3261 17).
    RepeatDiffers,
    /// An ACK has the CSeq number of an INVITE of its side (RFC 3261 13.2.2.4).
    AckCSeq,
    /// A transaction has one final response; a repeated one is the same, byte for byte. Only
    /// Contact may differ, when it leaves by another node (`SIP.md` S1.1).
    TwoFinals,
    /// No BYE after one was answered.
    SecondBye,
    /// No other new request in a dialog that is over.
    AfterEnd,
    /// Contact names the listener that the message left by (`SIP.md` S1.1).
    Contact,
    /// Via sent-by names the listener that the request left by (`SIP.md` S1.1).
    SentBy,
    /// A response comes from the address that the request went to, unless that node is dead, and
    /// goes to the one it came from (RFC 3581 4, `SIP.md` S1.3).
    WrongWay,
    /// A response repeats Via, From, To, Call-ID and CSeq (RFC 3261 8.2.6.2).
    NotCopied,
    /// `rport` and `received` say where the request came from (RFC 3581 4).
    NotMarked,
    /// What arrives belongs to a request or a dialog of ours.
    Stray,
    /// No 481 for an answered call that is not over.
    Lost,
}

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// When, since the capture began.
    pub at: Duration,
    /// In which call.
    pub call_id: String,
    /// How.
    pub text: String,
}

/// The referee's findings.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Verdict {
    /// Datagrams looked at.
    pub datagrams: usize,
    /// Dialogs looked at.
    pub dialogs: usize,
    /// What was wrong, in the order it happened.
    pub violations: Vec<Violation>,
    /// All that was seen of the first call with a violation, one message a line.
    pub story: String,
}

impl Verdict {
    /// # Panics
    /// If a rule was broken.
    pub fn expect_clean(&self) {
        assert!(self.violations.is_empty(), "{self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            datagrams,
            dialogs,
            violations,
            story,
        } = self;
        let count = violations.len();
        write!(
            f,
            "referee: {datagrams} datagrams in {dialogs} dialogs, {count} violations"
        )?;
        for violation in violations.iter().take(20) {
            let Violation {
                rule,
                at,
                call_id,
                text,
            } = violation;
            write!(f, "\n  {at:.3?} {rule:?} in {call_id}: {text}")?;
        }
        if count > 20 {
            write!(f, "\n  ...")?;
        }
        if count > 0 {
            write!(f, "\nthe first of them in full:{story}")?;
        }
        Ok(())
    }
}

/// Judges one user agent's capture. `nodes` are all that may have spoken to it.
pub fn judge(capture: &Capture, nodes: &[Listener]) -> Verdict {
    let (book, mut violations) = Book::new(capture, nodes);
    for story in book.stories.values() {
        dialog::judge(story, &mut violations);
        response::judge(&book, story, &mut violations);
        address::judge(&book, story, &mut violations);
    }
    violations.sort_by_key(|violation| violation.at);
    let first = violations.first().map(|violation| &violation.call_id);
    let story = first.and_then(|call_id| book.stories.get(call_id));
    Verdict {
        datagrams: capture.packets.len(),
        dialogs: book.stories.len(),
        story: story.map_or_else(String::new, |story| book.tell(story)),
        violations,
    }
}

#[cfg(test)]
mod tests;
