//! For tests: a certificate authority, and waiting for what comes true.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::crypto::ring;

use crate::node::Pki;

/// A cluster's own CA.
pub(crate) struct Ca {
    cluster: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new(cluster: &str) -> Self {
        logs();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self {
            cluster: cluster.into(),
            issuer,
        }
    }

    /// A certificate for the node called `name`.
    pub(crate) fn pki(&self, name: &str) -> Pki {
        self.pki_of(name, &self.cluster)
    }

    /// The same, of a cluster with another name but the same CA.
    pub(crate) fn pki_of(&self, name: &str, cluster: &str) -> Pki {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.into()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pki {
            cluster_id: cluster.into(),
            ca_pem: self.issuer.pem().into_bytes(),
            cert_pem: certificate.pem().into_bytes(),
            key_pem: key.serialize_pem().into_bytes(),
        }
    }

    /// A client that trusts the CA and shows no certificate.
    pub(crate) fn client_without_certificate(&self, cluster: &str) -> quinn::ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let mut config =
            rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(crate::runtime::quic::any_member(roots))
                .with_no_client_auth();
        config.alpn_protocols = vec![format!("callring/1/{cluster}").into_bytes()];
        quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
    }
}

/// Logs of a failing test, as `RUST_LOG` has them.
fn logs() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let logs = tracing_subscriber::fmt().with_env_filter(filter);
    // Another test was first.
    let _ = logs.with_test_writer().try_init();
}

/// Waits until `true_now`, at most ten seconds.
pub(crate) async fn eventually(true_now: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if true_now() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come true within ten seconds");
}
