//! Order, filters, restarts and replays.

use heldar_base::{CameraId, Micros, Secret};
use heldar_store::op::{Prunable, Prune, QueueReplay};
use heldar_store::{DeliveryStatus, NewEvent, Severity, WebhookFields};
use hmac::{Hmac, Mac as _};
use serde_json::json;
use sha2::Sha256;

use crate::receiver::{Receiver, Say, Seen};
use crate::rig::{Rig, fields, new_event};

/// `sha256=` and the HMAC of some bytes, as a receiver makes it.
fn hmac(secret: &str, parts: &[&[u8]]) -> String {
    let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(secret.as_bytes()).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

fn seqs(seen: &[Seen]) -> Vec<i64> {
    seen.iter().map(Seen::seq).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_order_and_signed() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    rig.events(1..3).await;
    let secret = Some(Secret::new("s3cret".to_owned()));
    let id = rig.webhook(1, WebhookFields { secret, ..fields(receiver.url()) }).await;
    let expect = rig.events(3..43).await;
    let seen = receiver.wait(expect.len()).await;
    // Nothing from before it was made.
    assert_eq!(seqs(&seen), expect);
    for (number, request) in (3u32..).zip(&seen) {
        let event = new_event(number);
        let body = request.json();
        assert_eq!(
            body,
            json!({
                "id": event.id, "camera_id": "front", "site_id": null, "event_type": "zone_enter",
                "severity": "info", "timestamp": event.timestamp.to_string(), "payload": event.payload,
                "seq": request.seq(),
            })
        );
        let timestamp = request.header("x-heldar-timestamp");
        assert_eq!(timestamp, "1800000000");
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(request.header("x-heldar-event"), "zone_enter");
        assert_eq!(request.header("x-heldar-attempt"), "1");
        assert_eq!(request.header("x-heldar-replay"), "");
        assert_eq!(request.header("x-heldar-signature"), hmac("s3cret", &[&request.body]));
        let v2 = hmac("s3cret", &[timestamp.as_bytes(), b".", &request.body]);
        assert_eq!(request.header("x-heldar-signature-v2"), v2);
    }
    rig.passed(id, *expect.last().unwrap()).await;
    let deliveries = rig.deliveries(id).await;
    assert_eq!(deliveries.len(), expect.len());
    let mut ids: Vec<String> = seen.iter().map(|one| one.header("x-heldar-delivery").to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), expect.len());
    for delivery in deliveries {
        assert!(ids.contains(&delivery.id.to_string()));
        assert_eq!((delivery.status, delivery.attempts), (DeliveryStatus::Delivered, 1));
        assert_eq!((delivery.response_code, delivery.error), (Some(200), None));
    }
    let row = rig.row(id).await;
    assert_eq!(row.standing.cursor_seq, *expect.last().unwrap());
    assert_eq!((row.standing.failing_since, rig.webhooks.lag(&row).await.unwrap()), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_nothing_is_signed() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    rig.webhook(1, fields(receiver.url())).await;
    rig.events(1..2).await;
    let seen = receiver.wait(1).await;
    assert_eq!((seen[0].header("x-heldar-signature"), seen[0].header("x-heldar-signature-v2")), ("", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_wanted_is_sent() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let wanted = WebhookFields {
        event_types: vec!["zone_*".into(), "camera_offline".into()],
        min_severity: Severity::Warning,
        cameras: vec![CameraId::new("front").unwrap(), CameraId::new("yard").unwrap()],
        ..fields(receiver.url())
    };
    let id = rig.webhook(1, wanted).await;
    let warning = |number| NewEvent { severity: Severity::Warning, ..new_event(number) };
    let other = |camera: &str| CameraId::new(camera).ok();
    let mut expect = Vec::new();
    expect.push(rig.event(warning(1)).await);
    rig.event(new_event(2)).await;
    rig.event(NewEvent { event_type: "camera_online".into(), ..warning(3) }).await;
    rig.event(NewEvent { camera: other("gate"), ..warning(4) }).await;
    rig.event(NewEvent { camera: None, ..warning(5) }).await;
    let critical =
        NewEvent { severity: Severity::Critical, event_type: "camera_offline".into(), ..new_event(6) };
    expect.push(rig.event(NewEvent { camera: other("yard"), ..critical }).await);
    let last = rig.event(new_event(7)).await;
    rig.passed(id, last).await;
    assert_eq!(seqs(&receiver.seen()), expect);
    // Those that it did not want have no delivery; edits do not move the cursor.
    assert_eq!(rig.deliveries(id).await.len(), 2);
    rig.change(id, |fields| {
        fields.min_severity = Severity::Info;
        fields.cameras.clear();
        fields.event_types = vec!["*".into()];
    })
    .await;
    expect.push(rig.event(new_event(8)).await);
    receiver.wait(3).await;
    assert_eq!(seqs(&receiver.seen()), expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_disabled_for_a_while_misses_nothing() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.webhook(1, fields(receiver.url())).await;
    let mut expect = rig.events(1..3).await;
    receiver.wait(2).await;
    rig.passed(id, expect[1]).await;
    rig.change(id, |fields| fields.enabled = false).await;
    expect.extend(rig.events(3..6).await);
    rig.change(id, |fields| fields.enabled = true).await;
    receiver.wait(5).await;
    assert_eq!(seqs(&receiver.seen()), expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_it_was() {
    let (mut rig, receiver) = (Rig::start_with(&[], Micros::from_millis(200)).await, Receiver::start().await);
    let id = rig.webhook(1, fields(receiver.url())).await;
    // The third gets no answer: whether it was taken nobody knows.
    receiver.says([Say::Status(200), Say::Status(200), Say::Nothing]);
    let mut expect = rig.events(1..6).await;
    receiver.wait(3).await;
    rig.delivery(id, expect[2], |one| one.attempts == 1).await;
    rig.restart().await;
    expect.extend(rig.events(6..8).await);
    rig.pass(Micros::from_secs(10));
    let seen = receiver.wait(8).await;
    let third = seen[2].header("x-heldar-delivery").to_owned();
    let doubled: Vec<&Seen> = seen.iter().filter(|one| one.header("x-heldar-delivery") == third).collect();
    assert_eq!(doubled.iter().map(|one| one.header("x-heldar-attempt")).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(doubled[0].body, doubled[1].body);
    let mut all = seqs(&seen);
    all.remove(2);
    assert_eq!(all, expect);
    rig.passed(id, expect[6]).await;
    assert_eq!(rig.row(id).await.standing.failing_since, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_has_the_ids_of_before_and_leaves_the_order_alone() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.webhook(1, fields(receiver.url())).await;
    let seqs_of = rig.events(1..4).await;
    rig.passed(id, seqs_of[2]).await;
    let queue = QueueReplay { webhook: id, seqs: vec![seqs_of[2], seqs_of[0]] };
    assert_eq!(rig.store.write(queue).await.unwrap(), 2);
    rig.webhooks.wake();
    let seen = receiver.wait(5).await;
    assert_eq!(seqs(&seen[3..]), [seqs_of[0], seqs_of[2]]);
    for (replayed, first) in [(&seen[3], &seen[0]), (&seen[4], &seen[2])] {
        assert_eq!(replayed.header("x-heldar-delivery"), first.header("x-heldar-delivery"));
        assert_eq!((replayed.header("x-heldar-replay"), replayed.header("x-heldar-attempt")), ("1", "2"));
        assert_eq!(replayed.body, first.body);
    }
    rig.delivery(id, seqs_of[2], |one| one.attempts == 2).await;
    assert!(rig.store.webhook_replays(&heldar_base::Scope::All, id, 0, 10).await.unwrap().is_empty());
    // One that fails waits for itself alone.
    receiver.says([Say::Status(500)]);
    rig.store.write(QueueReplay { webhook: id, seqs: vec![seqs_of[1]] }).await.unwrap();
    rig.webhooks.wake();
    rig.delivery(id, seqs_of[1], |one| one.status == DeliveryStatus::Failed && one.attempts == 2).await;
    let live = rig.events(9..10).await;
    let seen = receiver.wait(7).await;
    assert_eq!((seen[6].seq(), seen[6].header("x-heldar-replay")), (live[0], ""));
    rig.pass(Micros::from_secs(10));
    rig.delivery(id, seqs_of[1], |one| one.status == DeliveryStatus::Delivered && one.attempts == 3).await;
    assert_eq!(rig.row(id).await.standing.failing_since, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_age_has_taken_is_told() {
    let (rig, mut receiver) = (Rig::start().await, Receiver::absent().await);
    let id = rig.webhook(1, fields(receiver.url())).await;
    let first = rig.events(1..2).await[0];
    rig.delivery(id, first, |one| one.attempts == 1).await;
    rig.change(id, |fields| fields.enabled = false).await;
    let gone = rig.events(2..5).await;
    let kept = rig.event(NewEvent { timestamp: rig.now() + Micros(1), ..new_event(5) }).await;
    let before = rig.now() + Micros(1);
    rig.store.write(Prune { what: Prunable::Events, before, limit: 100 }).await.unwrap();
    receiver.up().await;
    rig.change(id, |fields| fields.enabled = true).await;
    let seen = receiver.wait(1).await;
    assert_eq!(seqs(&seen), [kept]);
    rig.passed(id, kept).await;
    let notes: Vec<_> = rig.deliveries(id).await.into_iter().filter(|one| one.event.is_none()).collect();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].error.as_ref().unwrap().contains(&gone[2].to_string()), "{:?}", notes[0].error);
    assert_eq!((notes[0].status, notes[0].parked), (DeliveryStatus::Failed, true));
}
