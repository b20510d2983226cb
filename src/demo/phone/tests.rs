//! Goal: the phone keeps RFC 3261 itself, so that what it finds is the node's doing.
//! Method: the agent without its socket, virtual time, messages made by hand.

use super::*;
use crate::proto::sip::{Message, RequestBuilder, ResponseBuilder};

const MS: Duration = Duration::from_millis(1);
const TAG: &str = "server1";

fn phone() -> Agent {
    Agent::new("127.0.0.1:40000".parse().unwrap(), "s")
}

fn node() -> SocketAddr {
    "127.0.0.1:5060".parse().unwrap()
}

fn other() -> SocketAddr {
    "127.0.0.1:5070".parse().unwrap()
}

fn sent(agent: &mut Agent) -> Vec<(SocketAddr, Message)> {
    std::iter::from_fn(|| agent.poll_send())
        .map(|out| (out.to, Message::parse(out.bytes).unwrap()))
        .collect()
}

fn one(agent: &mut Agent) -> (SocketAddr, Message) {
    let mut all = sent(agent);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn respond(agent: &mut Agent, now: Duration, request: &Message, status: u16) {
    let mut builder = ResponseBuilder::new(request, status).source(agent.local);
    if status > 100 {
        builder = builder.to_tag(TAG).contact("<sip:answer@127.0.0.1:5060>");
    }
    agent.on_datagram(now, node(), builder.build().unwrap());
}

/// When something is sent, in milliseconds, with nobody answering.
fn schedule(agent: &mut Agent) -> Vec<u128> {
    let mut times = Vec::new();
    while let Some(at) = agent.deadline() {
        agent.on_time(at);
        times.extend(sent(agent).iter().map(|_| at.as_millis()));
    }
    times
}

fn answered(agent: &mut Agent) -> CallNo {
    let (call, _) = agent.invite(MS, node(), "answer", AckRule::Same);
    let (_, invite) = one(agent);
    respond(agent, 2 * MS, &invite, 200);
    assert_eq!(one(agent).1.method(), &Method::Ack);
    call
}

fn incoming(agent: &Agent, call: CallNo, method: Method, cseq: u32, branch: &str) -> Bytes {
    let call = agent.call(call);
    RequestBuilder::new(method, "sip:phone@127.0.0.1:40000")
        .via(
            crate::proto::base::flow::Transport::Udp,
            "127.0.0.1:5060",
            format!("z9hG4bK{branch}"),
        )
        .from(call.remote.as_str())
        .to(call.local.as_str())
        .call_id(call.call_id.as_str())
        .cseq(cseq)
        .contact("<sip:answer@127.0.0.1:5060>")
        .build()
        .unwrap()
}

#[test]
fn requests_are_repeated_as_the_timers_say() {
    let mut agent = phone();
    let (call, _) = agent.invite(Duration::ZERO, node(), "answer", AckRule::Same);
    assert_eq!(one(&mut agent).1.method(), &Method::Invite);
    assert_eq!(
        schedule(&mut agent),
        [500, 1500, 3500, 7500, 15500, 31500],
        "Timer A"
    );
    assert_eq!(
        agent.call(call).state,
        CallState::Ended(End::Unreachable),
        "Timer B"
    );
    let mut agent = phone();
    let call = answered(&mut agent);
    let start = Duration::from_secs(100);
    agent.on_time(start);
    let bye = agent.request(start, call, Method::Bye, other());
    assert_eq!(one(&mut agent).0, other());
    let times: Vec<u128> = schedule(&mut agent).iter().map(|t| t - 100_000).collect();
    let e = [
        500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500,
    ];
    assert_eq!(times, e, "Timer E");
    assert!(matches!(
        agent.exchange(bye).outcome,
        Some(Outcome::TimedOut(_))
    ));
    assert_eq!(agent.exchange(bye).transmissions, 11);
}

#[test]
fn a_provisional_response_silences_an_invite() {
    let mut agent = phone();
    let (call, invite) = agent.invite(Duration::ZERO, node(), "answer", AckRule::Same);
    let (_, request) = one(&mut agent);
    respond(&mut agent, MS, &request, 100);
    assert_eq!(agent.call(call).state, CallState::Calling);
    respond(&mut agent, MS, &request, 180);
    assert_eq!(agent.call(call).state, CallState::Ringing);
    assert!(schedule(&mut agent).is_empty());
    assert!(agent.exchange(invite).outcome.is_none());
}

#[test]
fn each_success_is_acked_and_the_dialog_is_kept() {
    let mut agent = phone();
    let (no, _) = agent.invite(MS, node(), "answer", AckRule::Wait);
    let (_, invite) = one(&mut agent);
    respond(&mut agent, 2 * MS, &invite, 200);
    assert!(sent(&mut agent).is_empty(), "it was told to wait");
    agent.ack(no, other());
    let (to, ack) = one(&mut agent);
    assert_eq!((to, ack.cseq_number()), (other(), 1));
    assert_eq!(ack.to_tag(), Some(TAG));
    assert_ne!(ack.branch(), invite.branch());
    respond(&mut agent, 3 * MS, &invite, 200);
    assert_eq!(one(&mut agent), (other(), ack), "a repeated 2xx");
    assert_eq!(agent.call(no).target, "sip:answer@127.0.0.1:5060");
    agent.request(4 * MS, no, Method::Info, other());
    let (_, info) = one(&mut agent);
    assert_eq!((info.cseq_number(), info.to_tag()), (2, Some(TAG)));
}

#[test]
fn a_refusal_is_acked_in_its_transaction() {
    let mut agent = phone();
    let (no, _) = agent.invite(MS, node(), "answer", AckRule::Same);
    let (_, invite) = one(&mut agent);
    respond(&mut agent, 2 * MS, &invite, 503);
    let (_, ack) = one(&mut agent);
    assert_eq!(
        (ack.method(), ack.branch()),
        (&Method::Ack, invite.branch())
    );
    assert_eq!(agent.call(no).state, CallState::Ended(End::Refused(503)));
}

#[test]
fn a_bye_is_answered_once_and_replayed() {
    let mut agent = phone();
    let no = answered(&mut agent);
    let bye = incoming(&agent, no, Method::Bye, 7, "one");
    agent.on_datagram(3 * MS, node(), bye.clone());
    let first = one(&mut agent);
    assert_eq!((first.0, first.1.status()), (node(), Some(200)));
    agent.on_datagram(4 * MS, other(), bye);
    assert_eq!(one(&mut agent), first);
    assert_eq!(agent.call(no).state, CallState::Ended(End::Remote));
    assert_eq!(agent.call(no).incoming[0].repeats, 1);
    let again = incoming(&agent, no, Method::Bye, 8, "two");
    agent.on_datagram(5 * MS, node(), again);
    assert_eq!(one(&mut agent).1.status(), Some(481));
}

#[test]
fn what_fits_no_dialog_or_comes_out_of_order_is_refused() {
    let mut agent = phone();
    let no = answered(&mut agent);
    let info = incoming(&agent, no, Method::Info, 7, "one");
    agent.on_datagram(3 * MS, node(), info);
    assert_eq!(one(&mut agent).1.status(), Some(200));
    let late = incoming(&agent, no, Method::Info, 7, "two");
    agent.on_datagram(3 * MS, node(), late);
    assert_eq!(one(&mut agent).1.status(), Some(500));
    agent.calls[no.0].remote_tag = Some("else".into());
    let stray = incoming(&agent, no, Method::Info, 9, "three");
    agent.on_datagram(3 * MS, node(), stray);
    assert_eq!(one(&mut agent).1.status(), Some(481));
}

#[test]
fn the_answer_to_a_reinvite_is_repeated_until_its_ack() {
    let mut agent = phone();
    let no = answered(&mut agent);
    agent.on_time(GIVE_UP * 2);
    let now = GIVE_UP * 2;
    let reinvite = incoming(&agent, no, Method::Invite, 7, "one");
    agent.on_datagram(now, node(), reinvite);
    assert!(!one(&mut agent).1.body().is_empty());
    agent.on_time(now + T1);
    assert_eq!(one(&mut agent).1.status(), Some(200));
    let ack = incoming(&agent, no, Method::Ack, 7, "two");
    agent.on_datagram(now + T1, node(), ack);
    assert!(schedule(&mut agent).is_empty());
}

#[test]
fn an_adopted_dialog_is_carried_on() {
    let mut agent = phone();
    let no = agent.adopt(
        MS,
        Adopted {
            call_id: "c@h".into(),
            local: "<sip:a@h>;tag=1".into(),
            remote: "<sip:b@h>;tag=2".into(),
            target: "sip:b@127.0.0.1:5060".into(),
            cseq: 1,
        },
    );
    agent.request(MS, no, Method::Bye, other());
    let (to, bye) = one(&mut agent);
    assert_eq!((to, bye.cseq_number()), (other(), 2));
    assert_eq!((bye.from_tag(), bye.to_tag()), (Some("1"), Some("2")));
    respond(&mut agent, 2 * MS, &bye, 200);
    assert_eq!(agent.call(no).state, CallState::Ended(End::Local));
}

#[test]
fn two_phones_on_loopback_see_what_was_sent() {
    let phone = Phone::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (call, invite) = phone.invite(deaf.local_addr().unwrap(), AckRule::Same);
    let mut buffer = [0; 2000];
    let (length, source) = deaf.recv_from(&mut buffer).unwrap();
    assert_eq!(source, phone.local());
    let request = Message::parse(Bytes::copy_from_slice(&buffer[..length])).unwrap();
    let busy = ResponseBuilder::new(&request, 486).to_tag(TAG).build();
    deaf.send_to(&busy.unwrap(), source).unwrap();
    let answer = phone.wait_final(invite, GIVE_UP).unwrap();
    assert_eq!(answer.status, 486);
    assert_eq!(phone.wait_end(call, GIVE_UP), Some(End::Refused(486)));
    let capture = phone.capture();
    let ways: Vec<Direction> = capture
        .of_call(call)
        .map(|packet| packet.direction)
        .collect();
    use Direction::{Received, Sent};
    assert!(
        ways.ends_with(&[Received, Sent]) && ways[0] == Sent,
        "{ways:?}"
    );
}
