//! Where answers leave from (SIP.md S1.3).

use callring_proto::shard::Listener;

use super::*;

/// What a node listens on, with an address to advertise.
fn listener(ip: [u8; 4]) -> SipListener {
    SipListener {
        listen: (ip, 0).into(),
        advertise: Some("sip.example.com:5060".into()),
        scope: Scope::Cluster,
    }
}

/// Asks `to` from `phone`; where the answer comes from.
async fn answered_from(phone: &UdpSocket, to: SocketAddr, question: &str) -> SocketAddr {
    phone.send_to(question.as_bytes(), to).await.unwrap();
    let mut buffer = [0; 64];
    let answer = timeout(Duration::from_secs(5), phone.recv_from(&mut buffer));
    let (length, from) = answer.await.expect("an answer").unwrap();
    assert!(question.ends_with(std::str::from_utf8(&buffer[..length]).unwrap()));
    from
}

/// Goal: an answer comes from the address that was asked, at whichever listener, wildcard or not,
/// and through whichever shard. Method: two wildcard listeners and one that is not, each asked at
/// several addresses of loopback, straight and across two shards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_leave_from_where_the_question_came_to() {
    let mut config = config("everywhere");
    config.sip = vec![
        listener([0, 0, 0, 0]),
        listener([127, 0, 0, 9]),
        listener([0, 0, 0, 0]),
    ];
    let (node, _) = start(config).await;
    let phone = UdpSocket::bind(SocketAddr::from(LOOPBACK)).await.unwrap();
    for (place, (bound, _)) in node.sip_addrs().iter().enumerate() {
        let hosts = if place == 1 { vec![9] } else { vec![1, 2, 3] };
        for host in hosts {
            for question in ["straight", "on across"] {
                let asked = SocketAddr::from(([127, 0, 0, host], bound.port()));
                let from = answered_from(&phone, asked, question).await;
                assert_eq!(from, asked, "{question}");
            }
        }
    }
    node.shutdown().await;
}

/// Goal: an address that is not here yet is listened on. Method: one of the block for
/// documentation, which no machine has; an address that is taken is refused as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_to_come_is_listened_on() {
    for ip in ["192.0.2.77", "2001:db8::77"] {
        let mut config = config("patient");
        config.sip[0].listen = SocketAddr::new(ip.parse().unwrap(), 0);
        let (node, _) = start(config.clone()).await;
        let bound = node.sip_addrs()[0].0;
        assert_eq!(bound.ip().to_string(), ip);
        config.sip[0].listen = bound;
        let refused = Running::start(config).await.err();
        assert!(matches!(refused, Some(StartError::Bind { .. })));
        node.shutdown().await;
    }
}

/// Goal: the core is told of each listener what was configured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_core_knows_advertise_and_scope() {
    let mut config = config("named");
    config.sip.push(listener([0, 0, 0, 0]));
    let told: Arc<Mutex<Vec<Listener>>> = Arc::default();
    let noted = told.clone();
    let running = Running::start_with(config, move |config| {
        noted.lock().unwrap().clone_from(&config.listeners);
        Echo {
            config,
            seen: Seen::default(),
            outputs: Vec::new(),
            deadline: None,
        }
    });
    let node = running.await.unwrap();
    eventually(|| !told.lock().unwrap().is_empty()).await;
    let told = told.lock().unwrap().clone();
    assert_eq!(*told[0].advertise, *node.sip_addrs()[0].0.to_string());
    assert_eq!(&*told[1].advertise, "sip.example.com:5060");
    assert_eq!(
        [told[0].scope, told[1].scope],
        [Scope::Node, Scope::Cluster]
    );
    node.shutdown().await;
}
