//! Secrets that cannot be opened, and none that leaks.

use heldar_base::{Micros, Scope, Secret};
use heldar_config::SecretKeys;
use heldar_kernel::registry::Author;
use heldar_kernel::secrets::{Sealer, SecretError};
use heldar_store::{DeliveryStatus, Webhook, WebhookFields};

use crate::receiver::Receiver;
use crate::rig::{Rig, fields};
use crate::until;

/// What no key of the server opens.
fn foreign() -> Secret<String> {
    Secret::new("enc:v2:00000000:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_is_never_sent_unsigned() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.webhook(1, WebhookFields { secret: Some(foreign()), ..fields(receiver.url()) }).await;
    let seq = rig.events(1..2).await[0];
    let halted = rig.delivery(id, seq, |one| one.error.is_some()).await;
    assert_eq!(halted.error.as_deref(), Some("webhook.signing_secret_unusable"));
    assert_eq!((halted.attempts, halted.status), (0, DeliveryStatus::Failed));
    assert!(rig.row(id).await.standing.cursor_seq < seq);
    let told = async || rig.told("webhook_signing_secret_unusable").await;
    assert_eq!(told().await.len(), 1);
    assert_eq!(told().await[0]["subscription_id"], id.to_string());
    // Once an hour at most; a look that finds nothing to tell leaves no trace but the time it took.
    rig.pass(Micros::from_secs(59 * 60));
    rig.change(id, |fields| fields.name = "other".to_owned()).await;
    until("the second event", async || (told().await.len() == 2).then_some(())).await;
    rig.pass(Micros::from_secs(61 * 60));
    until("the third event", async || (told().await.len() == 3).then_some(())).await;
    assert_eq!(receiver.count(), 0);
    // With a secret that opens it goes on, and nothing was lost.
    rig.change(id, |fields| fields.secret = Some(Secret::new("new".to_owned()))).await;
    let seen = receiver.wait(1).await;
    assert_eq!((seen[0].seq(), seen[0].header("x-heldar-attempt")), (seq, "1"));
    assert!(seen[0].header("x-heldar-signature").starts_with("sha256="));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_cannot_be_opened_is_told_too() {
    let rig = Rig::start().await;
    let id = rig.webhook(1, WebhookFields { url: foreign(), ..fields("x") }).await;
    let seq = rig.events(1..2).await[0];
    let halted = rig.delivery(id, seq, |one| one.error.is_some()).await;
    assert_eq!(halted.error.as_deref(), Some("webhook.url_unusable"));
    assert_eq!(rig.told("webhook_signing_secret_unusable").await[0]["error"], "webhook.url_unusable");
}

/// Keys of the configuration, made of one byte each.
fn keys(current: Option<u8>, old: Option<u8>) -> SecretKeys {
    let key = |seed: u8| Secret::new(std::array::from_fn(|at| seed.wrapping_add(at as u8)));
    SecretKeys { current: current.map(key), old: old.map(key) }
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_and_secrets_are_sealed_by_a_later_key_and_by_the_next_one() {
    let rig = Rig::start().await;
    let secret = Some(Secret::new("s3cret".to_owned()));
    let id = rig.webhook(1, WebhookFields { secret, enabled: false, ..fields("http://h/t0ken") }).await;
    rig.webhook(2, WebhookFields { enabled: false, ..fields("http://h/2") }).await;
    let row = async || rig.row(id).await;
    let opened = |sealer: &Sealer, row: &Webhook| {
        let open = |column, value: &Secret<String>| {
            sealer.open_value("webhook", column, &id.to_string(), value).map(|value| value.expose().clone())
        };
        let secret = row.fields.secret.as_ref().unwrap();
        open("url", &row.fields.url).and_then(|url| Ok((url, open("secret", secret)?)))
    };
    let clear = ("http://h/t0ken".to_owned(), "s3cret".to_owned());
    assert_eq!(row().await.fields.url.expose(), "http://h/t0ken");

    let first = Sealer::open(&keys(Some(1), None), &rig.store, rig.now()).await.unwrap();
    let sealed = row().await;
    let is_sealed = |value: &Secret<String>| value.expose().starts_with("enc:v2:");
    assert!(is_sealed(&sealed.fields.url) && sealed.fields.secret.as_ref().is_some_and(is_sealed));
    assert_eq!(opened(&first, &sealed).unwrap(), clear);
    assert_eq!((sealed.revision, sealed.fields.enabled), (1, false), "nobody has changed it");
    Sealer::open(&keys(Some(1), None), &rig.store, rig.now()).await.unwrap();
    assert_eq!(row().await, sealed, "what is sealed stays as it is");

    let second = Sealer::open(&keys(Some(2), Some(1)), &rig.store, rig.now()).await.unwrap();
    let (_, count) = second.rekey(&rig.store, &Author::server(), rig.now()).await.unwrap();
    assert_eq!(count, 3, "two URLs and a secret");
    let alone = Sealer::open(&keys(Some(2), None), &rig.store, rig.now()).await.unwrap();
    assert_eq!(opened(&alone, &row().await).unwrap(), clear);
    assert!(opened(&first, &row().await).is_err());
    // A value that no key opens stops it, and is named.
    rig.change(id, |fields| fields.secret = Some(foreign())).await;
    let stuck = alone.rekey(&rig.store, &Author::server(), rig.now()).await.unwrap_err();
    let SecretError::Stuck { table, column, row } = stuck else { panic!("{stuck}") };
    assert_eq!((table, column, row), ("webhook", "secret", id.to_string()));
    assert_eq!(rig.store.webhooks(&Scope::All).await.unwrap().len(), 2);
}
