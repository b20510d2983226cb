//! Who is who on the fabric: mutual TLS 1.3 under the cluster's own CA.
//!
//! A member's identity is the first DNS name of its certificate, and nothing else. The cluster's
//! name is in the ALPN, so that clusters never mix. May use rustls and webpki; does not know links.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::window::FlooredConfig;
use crate::node::{Pki, StartError};

/// What dialling sides say they look for. Names are checked after the handshake, since a seed's is
/// not known before; nothing of it goes over the wire (no SNI).
pub(super) const ANY_NAME: &str = "member.callring.invalid";

/// A connection without a word for this long is over.
const IDLE_MS: u32 = 8_000;
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// UDP payload that any IPv6 path carries, and leaves room for a membership datagram. Fixed:
/// black-hole detection would shrink it below that.
const MTU_BYTES: u16 = 1_232;
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// Membership's datagrams; older ones are of no use.
const DATAGRAM_BUFFER_BYTES: usize = 64 << 10;
const UNI_STREAMS_MAX: u32 = 1_024;
const BIDI_STREAMS_MAX: u32 = 64;

/// The configurations of both directions.
#[derive(Debug)]
pub(super) struct Tls {
    /// For dialled connections.
    pub(super) client: quinn::ClientConfig,
    /// For accepted ones.
    pub(super) server: quinn::ServerConfig,
}

impl Tls {
    /// Checks the certificates against each other and against `name`.
    pub(super) fn new(pki: &Pki, name: &str) -> Result<Self, StartError> {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(roots(&pki.ca_pem)?);
        let chain = certificates(&pki.cert_pem, "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(&pki.key_pem)
            .map_err(|error| refuse(format!("private key: {error}")))?;
        let leaf = chain.first().ok_or_else(|| refuse("no certificate"))?;
        let found = name_of(leaf).ok_or_else(|| refuse("the certificate names no node"))?;
        if found != name {
            return Err(refuse(format!(
                "the certificate is for node {found:?}, this node is {name:?}"
            )));
        }
        let verifier = Arc::new(AnyMember {
            roots: roots.clone(),
            provider: provider.clone(),
        });
        verifier
            .check(leaf, &chain[1..], UnixTime::now())
            .map_err(|error| {
                refuse(format!(
                    "the certificate is not good under this CA: {error}"
                ))
            })?;
        let alpn = vec![format!("callring/1/{}", pki.cluster_id).into_bytes()];
        let transport = Arc::new(transport());
        Ok(Self {
            client: client(
                &provider,
                verifier,
                &chain,
                key.clone_key(),
                &alpn,
                &transport,
            )?,
            server: server(&provider, roots, chain, key, alpn, transport)?,
        })
    }
}

fn client(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<AnyMember>,
    chain: &[CertificateDer<'static>],
    key: PrivateKeyDer<'static>,
    alpn: &[Vec<u8>],
    transport: &Arc<quinn::TransportConfig>,
) -> Result<quinn::ClientConfig, StartError> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| refuse(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain.to_vec(), key)
        .map_err(|error| refuse(format!("certificate and key: {error}")))?;
    config.alpn_protocols = alpn.to_vec();
    config.enable_sni = false;
    // Every connection shows its certificate anew.
    config.resumption = Resumption::disabled();
    let quic = QuicClientConfig::try_from(config).map_err(|error| refuse(error.to_string()))?;
    let mut config = quinn::ClientConfig::new(Arc::new(quic));
    config.transport_config(transport.clone());
    Ok(config)
}

fn server(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    alpn: Vec<Vec<u8>>,
    transport: Arc<quinn::TransportConfig>,
) -> Result<quinn::ServerConfig, StartError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| refuse(format!("CA: {error}")))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| refuse(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| refuse(format!("certificate and key: {error}")))?;
    config.alpn_protocols = alpn;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    let quic = QuicServerConfig::try_from(config).map_err(|error| refuse(error.to_string()))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(quic));
    config.transport_config(transport);
    // A link's other end does not move.
    config.migration(false);
    Ok(config)
}

fn transport() -> quinn::TransportConfig {
    let mut config = quinn::TransportConfig::default();
    config
        .max_idle_timeout(Some(quinn::VarInt::from_u32(IDLE_MS).into()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(Duration::from_millis(2))
        .initial_mtu(MTU_BYTES)
        .min_mtu(MTU_BYTES)
        .mtu_discovery_config(None)
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(CONNECTION_WINDOW_BYTES.into())
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        .max_concurrent_uni_streams(UNI_STREAMS_MAX.into())
        .max_concurrent_bidi_streams(BIDI_STREAMS_MAX.into())
        .congestion_controller_factory(Arc::new(FlooredConfig::default()));
    config
}

/// The node named by the certificate that the other end of `connection` has shown.
pub(super) fn peer_name(connection: &quinn::Connection) -> Option<String> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    name_of(chain.first()?)
}

/// Why TLS at either end turned the other away, in this node's own words: a stranger's text does
/// not get into the log. None if it was not TLS.
pub(super) fn distrust(error: &quinn::ConnectionError) -> Option<String> {
    // RFC 9001 4.8: the codes of TLS alerts. RFC 8446 6: their numbers.
    let alert = |code: quinn::TransportErrorCode| {
        let code = u64::from(code);
        (0x100..0x200).contains(&code).then(|| code - 0x100)
    };
    match error {
        quinn::ConnectionError::TransportError(error) => Some(match alert(error.code)? {
            116 => "it shows no certificate".into(),
            120 => "it belongs to a cluster of another name".into(),
            _ => error.reason.clone(),
        }),
        quinn::ConnectionError::ConnectionClosed(close) => Some(match alert(close.error_code)? {
            120 => "it belongs to a cluster of another name".into(),
            alert => format!("it does not trust this node's certificate (TLS alert {alert})"),
        }),
        _ => None,
    }
}

/// The first DNS name of a certificate.
fn name_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let name = parsed.valid_dns_names().next()?;
    Some(name.to_owned())
}

fn roots(pem: &[u8]) -> Result<RootCertStore, StartError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, "CA")? {
        roots
            .add(certificate)
            .map_err(|error| refuse(format!("CA: {error}")))?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let list: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| refuse(format!("{what}: {error}")))?;
    if list.is_empty() {
        return Err(refuse(format!("{what}: the PEM holds no certificate")));
    }
    Ok(list)
}

fn refuse(why: impl Into<String>) -> StartError {
    StartError::Pki(why.into())
}

/// Takes any node of the cluster's CA; which one it is, the caller asks [`peer_name`] afterwards.
#[derive(Debug)]
struct AnyMember {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl AnyMember {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, chain, now, algorithms)
    }
}

impl ServerCertVerifier for AnyMember {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(leaf, chain, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
pub(super) fn any_member(roots: RootCertStore) -> Arc<dyn ServerCertVerifier> {
    Arc::new(AnyMember {
        roots: Arc::new(roots),
        provider: Arc::new(ring::default_provider()),
    })
}
