//! A B2BUA whose routes are code: calls to `sales` try its desks in turn, nobody else is known.
#![allow(clippy::print_stdout)]

use callring::apps::B2bua;
use callring::apps::b2bua::Plan;
use callring::proto::app::{Message, Reply};
use callring::{Node, NodeConfig};
use std::{error::Error, net::IpAddr, time::Duration};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let listen = args.next().unwrap_or("127.0.0.1:5060".into()).parse()?;
    let desks: Vec<String> = args.collect();
    run(NodeConfig::standalone(
        "desk",
        listen,
        B2bua::new(move |invite: &Message, _: IpAddr| {
            let user = invite.uri().ok().and_then(|uri| uri.user_text());
            match user.as_deref() {
                Some("sales") => Ok(Plan {
                    targets: desks
                        .iter()
                        .map(|desk| format!("sip:sales@{desk}"))
                        .collect(),
                    ring_timeout: Duration::from_secs(20),
                }),
                _ => Err(Reply::new(404)),
            }
        }),
    ))
}

#[tokio::main]
async fn run(config: NodeConfig) -> Result<(), Box<dyn Error>> {
    let node = Node::start(config).await?;
    println!("ready sip={}", node.sip_addrs()[0].0);
    tokio::signal::ctrl_c().await?;
    node.shutdown().await;
    Ok(())
}
