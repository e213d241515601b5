//! Receivers over TLS whose certificate the system does not trust.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::io::AsyncReadExt as _;

use crate::rig::{Rig, fields};

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (came, read) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, bytes) = (came.clone(), read.clone());
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut buffer = [0; 64];
                let count = stream.read(&mut buffer).await.unwrap_or(0);
                bytes.fetch_add(count, Ordering::SeqCst);
            }
        }
    });
    let rig = Rig::start().await;
    let id = rig.webhook(1, fields(format!("https://localhost:{port}/x"))).await;
    let seq = rig.events(1..2).await[0];
    let failed = rig.delivery(id, seq, |one| one.attempts == 1).await;
    let error = failed.error.unwrap();
    assert!(error.starts_with("no TLS with the receiver: "), "{error}");
    assert_eq!((came.load(Ordering::SeqCst), read.load(Ordering::SeqCst)), (1, 0), "nothing was sent");
    server.abort();
}
