//! A UAS: it answers, and hangs up after a minute, whichever node owns the call by then.
#![allow(clippy::print_stdout)]

use callring::apps::sdp::{Origin, answer};
use callring::proto::app::{App, Call, Event, Reply};
use callring::{Node, NodeConfig};
use std::{error::Error, time::Duration};

struct Hello;

impl App for Hello {
    type State = u32; // requests answered: it lies in the call's record

    fn name(&self) -> &'static str {
        "hello"
    }

    fn on_event(&self, call: &mut Call<'_, u32>, event: Event) {
        match event {
            Event::Request {
                id,
                message,
                initial: true,
            } => {
                let (id_of_sdp, version) = (call.id().nonce >> 2, 1);
                let address = [127, 0, 0, 1].into();
                let origin = Origin {
                    address,
                    id: id_of_sdp,
                    version,
                };
                call.set_timer(1, Duration::from_secs(60));
                call.respond(
                    id,
                    match answer(message.body(), origin) {
                        Ok(description) => Reply::new(200).body("application/sdp", description),
                        Err(_) => Reply::new(488),
                    },
                );
            }
            Event::Request { id, .. } => {
                *call.state += 1;
                call.respond(id, Reply::new(200));
            }
            Event::Timer(1) => call.hang_up(),
            _ => {}
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listen = std::env::args().nth(1).unwrap_or("127.0.0.1:5060".into());
    let node = Node::start(NodeConfig::standalone("hello", listen.parse()?, Hello)).await?;
    println!("ready sip={}", node.sip_addrs()[0].0);
    tokio::signal::ctrl_c().await?;
    node.shutdown().await;
    Ok(())
}
