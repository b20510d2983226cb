//! The demo's plot: a cluster starts, calls are set up through one node, that node is killed, and
//! the calls are carried on through others.
//!
//! May touch: cluster, phone. Prints through the teller alone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::figures::{Figures, ms};
use super::phone::{AckRule, CallNo, CallState, End, ExchangeNo, Phone};
use super::{Broken, DemoArgs, Teller};
use crate::admin::api::Call as Line;
use crate::proto::sip::Method;

/// Requests on their way at one time.
const WINDOW: usize = 64;
/// How long anything may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(35);
/// One call in this many is ended by the cluster, not by the phone.
const HANG_UP_EVERY: usize = 5;

/// A call of the demo, and who has what of it.
struct Part {
    call: CallNo,
    key: String,
    /// A living node that neither owned it nor held a copy.
    other: usize,
    /// The cluster is to end it.
    by_cluster: bool,
    kept: bool,
}

/// Plays it. True if every answered call was kept.
pub(super) fn play(args: &DemoArgs, mut cluster: Cluster, teller: &Teller) -> Result<bool, Broken> {
    raise(args, &mut cluster, teller)?;
    let phone = Phone::bind(([127, 0, 0, 1], 0).into())?;
    let answered = set_up(args, &cluster, &phone, teller)?;
    let (victim, mut parts) = look(&cluster, &phone, &answered, teller)?;
    let killed = cluster.node_mut(victim).kill()?;
    let (name, pid) = (cluster.node(victim).name(), cluster.node(victim).pid());
    teller.tell(
        "kill",
        &format!("SIGKILL to {name}, pid {pid}, which owned the calls"),
    );
    carry_on(&cluster, &phone, &mut parts, killed, teller);
    hang_up(&cluster, &phone, &mut parts, teller);
    aftermath(&cluster, teller);
    Ok(verdict(args, &parts, teller))
}

fn raise(args: &DemoArgs, cluster: &mut Cluster, teller: &Teller) -> Result<(), Broken> {
    let start = Instant::now();
    for _ in 0..args.nodes {
        cluster.add()?;
    }
    cluster.meet()?;
    let text = format!(
        "{} processes on loopback, two copies of each call; ready in {}",
        args.nodes,
        ms(start.elapsed())
    );
    teller.tell("cluster", &text);
    for node in cluster.nodes() {
        let (name, pid, sip) = (node.name(), node.pid(), node.sip());
        teller.tell("", &format!("{name}  pid {pid}  sip:{sip}"));
    }
    Ok(())
}

/// Sets up all calls through the first node.
fn set_up(
    args: &DemoArgs,
    cluster: &Cluster,
    phone: &Phone,
    teller: &Teller,
) -> Result<Vec<CallNo>, Broken> {
    let first = cluster.node(0);
    let start = Instant::now();
    let mut invites = Vec::new();
    for _ in 0..args.calls {
        make_room(phone, &invites);
        invites.push(phone.invite(first.sip(), AckRule::Same).1);
    }
    let figures = settle(phone, &invites);
    let calls = phone.look(|agent| {
        let all = invites.iter().map(|invite| agent.exchange(*invite).call);
        all.filter(|call| agent.call(*call).was_answered())
            .collect::<Vec<_>>()
    });
    let text = format!(
        "{} of {} set up through {} in {}; INVITE to 200: {figures}",
        calls.len(),
        args.calls,
        first.name(),
        ms(start.elapsed())
    );
    teller.tell("calls", &text);
    if calls.is_empty() {
        return Err(Broken("no call was answered".into()));
    }
    Ok(calls)
}

/// Asks the cluster who owns the calls and who has copies.
fn look(
    cluster: &Cluster,
    phone: &Phone,
    answered: &[CallNo],
    teller: &Teller,
) -> Result<(usize, Vec<Part>), Broken> {
    // An ACK is still on its way when its 200 has come.
    let lines = phone_calls(cluster, phone, answered)?;
    let count = |names: &mut dyn Iterator<Item = &String>| {
        let mut counts = BTreeMap::new();
        for name in names {
            *counts.entry(name.clone()).or_insert(0_usize) += 1;
        }
        counts
    };
    let owners = count(&mut lines.values().map(|line| &line.owner));
    let replicas = count(&mut lines.values().flat_map(|line| &line.replicas));
    teller.tell("owners", &list(&owners));
    teller.tell("copies", &list(&replicas));
    let (victim, _) = owners
        .iter()
        .max_by_key(|(_, count)| **count)
        .and_then(|(name, _)| cluster.by_name(name).zip(Some(())))
        .ok_or_else(|| Broken("the cluster lists no calls".into()))?;
    let victim_name = cluster.node(victim).name().to_owned();
    let mut parts = Vec::new();
    for (n, &call) in answered.iter().enumerate() {
        let line = &lines[&call];
        let outsiders: Vec<usize> = (0..cluster.nodes().len())
            .filter(|at| {
                let name = cluster.node(*at).name();
                name != victim_name
                    && name != line.owner
                    && !line.replicas.iter().any(|replica| replica == name)
            })
            .collect();
        let other = *outsiders
            .get(n % outsiders.len().max(1))
            .ok_or_else(|| Broken("every node has a part in this call".into()))?;
        parts.push(Part {
            call,
            key: line.key.clone(),
            other,
            by_cluster: n % HANG_UP_EVERY == HANG_UP_EVERY - 1,
            kept: false,
        });
    }
    Ok((victim, parts))
}

/// The cluster's lines for our calls, once it lists all of them.
fn phone_calls(
    cluster: &Cluster,
    phone: &Phone,
    answered: &[CallNo],
) -> Result<BTreeMap<CallNo, Line>, Broken> {
    let by_id: BTreeMap<String, CallNo> = answered
        .iter()
        .map(|call| (phone.call(*call).call_id, *call))
        .collect();
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let lines: BTreeMap<CallNo, Line> = cluster
            .calls(1, 10_000)?
            .into_iter()
            .filter_map(|line| Some((*by_id.get(&line.call_id)?, line)))
            .collect();
        if lines.len() == answered.len() {
            return Ok(lines);
        }
        if Instant::now() > until {
            let (got, all) = (lines.len(), answered.len());
            return Err(Broken(format!("the cluster lists {got} of {all} calls")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A re-INVITE and then a BYE for each call, through a node that had no part in it.
fn carry_on(
    cluster: &Cluster,
    phone: &Phone,
    parts: &mut [Part],
    killed: Instant,
    teller: &Teller,
) {
    let ours: Vec<&mut Part> = parts.iter_mut().filter(|part| !part.by_cluster).collect();
    let ask = |method: Method, parts: &[&mut Part]| {
        let mut asked = Vec::new();
        for part in parts {
            make_room(phone, &asked);
            let to = cluster.node(part.other).sip();
            asked.push(phone.request(part.call, method.clone(), to));
        }
        let figures = settle(phone, &asked);
        (asked, figures)
    };
    let (invites, figures) = ask(Method::Invite, &ours);
    let first = phone.look(|agent| {
        let answers = invites.iter().map(|invite| agent.exchange(*invite));
        let times = answers.filter_map(|exchange| Some(exchange.sent_at + exchange.took()?));
        times.min()
    });
    let since_kill = first.map(|at| (phone.epoch() + at).saturating_duration_since(killed));
    let text = format!(
        "{} re-INVITEs to nodes that were neither owner nor replica: {} got 200",
        invites.len(),
        count_ok(phone, &invites)
    );
    teller.tell("carry on", &text);
    let text = format!(
        "first answer {} after the kill; request to answer: {figures}",
        since_kill.map_or_else(|| "never".into(), ms)
    );
    teller.tell("", &text);
    let (byes, figures) = ask(Method::Bye, &ours);
    let text = format!(
        "{} BYEs to the same nodes: {} got 200; {figures}",
        byes.len(),
        count_ok(phone, &byes)
    );
    teller.tell("", &text);
    for (part, (invite, bye)) in ours.into_iter().zip(invites.iter().zip(&byes)) {
        part.kept = [invite, bye]
            .iter()
            .all(|asked| phone.exchange(**asked).status() == Some(200));
    }
}

/// The rest of the calls: a node that had no part in them is told to end them.
fn hang_up(cluster: &Cluster, phone: &Phone, parts: &mut [Part], teller: &Teller) {
    let mut theirs: Vec<&mut Part> = parts.iter_mut().filter(|part| part.by_cluster).collect();
    if theirs.is_empty() {
        return;
    }
    let mut refused = None;
    for part in &theirs {
        if let Err(error) = cluster.hang_up(part.other, &part.key) {
            refused.get_or_insert(error.to_string());
        }
    }
    let living: Vec<_> = cluster
        .running()
        .into_iter()
        .map(|at| cluster.node(at).sip())
        .collect();
    let until = Instant::now() + PATIENCE;
    for part in &mut theirs {
        let left = until.saturating_duration_since(Instant::now());
        let ended = phone.wait_end(part.call, left) == Some(End::Remote);
        let call = phone.call(part.call);
        let byes: Vec<_> = call.incoming_with(&Method::Bye).collect();
        let one = byes.len() == 1 && byes[0].answered == 200 && living.contains(&byes[0].source);
        part.kept = ended && one;
    }
    let kept = theirs.iter().filter(|part| part.kept).count();
    let text = format!(
        "{} calls ended from another node: {kept} phones got one BYE, from a living node",
        theirs.len()
    );
    teller.tell("hang up", &text);
    if let Some(text) = refused {
        teller.tell("", &format!("a node refused: {text}"));
    }
}

fn aftermath(cluster: &Cluster, teller: &Teller) {
    let Some(status) = cluster
        .running()
        .first()
        .and_then(|at| cluster.status(*at).ok())
    else {
        return;
    };
    let status = status.status;
    let text = format!(
        "{} takeovers, {} messages relayed, {} calls left",
        status.takeovers, status.relayed, status.calls_owned
    );
    teller.tell("cluster", &text);
}

fn verdict(args: &DemoArgs, parts: &[Part], teller: &Teller) -> bool {
    let kept = parts.iter().filter(|part| part.kept).count();
    let unanswered = args.calls as usize - parts.len();
    let mut text = format!("{kept} of {} answered calls kept", parts.len());
    if unanswered > 0 {
        text.push_str(&format!("; {unanswered} were never answered"));
    }
    teller.tell("result", &text);
    kept == parts.len() && unanswered == 0
}

/// Waits until fewer than [`WINDOW`] of these requests are open.
fn make_room(phone: &Phone, asked: &[ExchangeNo]) {
    let oldest = asked.len().checked_sub(WINDOW).map(|at| asked[at]);
    if let Some(oldest) = oldest {
        let _ = phone.wait(PATIENCE, |agent| {
            agent.exchange(oldest).outcome.is_some().then_some(())
        });
    }
}

/// Waits until all of these requests are over; how long the answered ones took.
fn settle(phone: &Phone, asked: &[ExchangeNo]) -> Figures {
    let _ = phone.wait(PATIENCE, |agent| {
        let over = |asked: &ExchangeNo| {
            let exchange = agent.exchange(*asked);
            let ended = matches!(agent.call(exchange.call).state, CallState::Ended(_));
            exchange.outcome.is_some() || ended
        };
        asked.iter().all(over).then_some(())
    });
    phone.look(|agent| {
        let times = asked
            .iter()
            .filter_map(|asked| agent.exchange(*asked).took());
        times.collect()
    })
}

fn count_ok(phone: &Phone, asked: &[ExchangeNo]) -> usize {
    phone.look(|agent| {
        let statuses = asked.iter().map(|asked| agent.exchange(*asked).status());
        statuses.filter(|status| *status == Some(200)).count()
    })
}

fn list(counts: &BTreeMap<String, usize>) -> String {
    let items: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name}: {count}"))
        .collect();
    items.join("  ")
}
