//! Webhooks, how they stand, deliveries and replays.

use heldar_base::{PublicId, Scope, Secret};
use heldar_store::op::{
    AppendEvents, CreateWebhook, DeleteWebhook, DisableWebhook, FinishReplay, Prunable, Prune, PutDelivery,
    PutWebhookStanding, QueueReplay, RemoveDeliveries, SealWebhook, UpdateWebhook, WriteOp,
};
use heldar_store::{
    Attached, AuditFilter, DeliveredEvent, DeliveryStatus, ErrorKind, Severity, Store, Webhook,
    WebhookDelivery, WebhookFields, WebhookFormat, WebhookStanding,
};

use crate::world::{Db, at, audit, camera, event, scope};

fn webhook_id(number: u128) -> PublicId {
    PublicId::new(Webhook::PREFIX, number)
}

fn delivery_id(number: u128) -> PublicId {
    PublicId::new(WebhookDelivery::PREFIX, number)
}

fn fields(name: &str) -> WebhookFields {
    WebhookFields {
        name: name.to_owned(),
        url: Secret::new(format!("sealed:{name}")),
        secret: None,
        event_types: vec!["*".to_owned()],
        min_severity: Severity::Info,
        cameras: Vec::new(),
        format: WebhookFormat::Heldar,
        recipient: None,
        enabled: true,
    }
}

pub(crate) fn create_webhook(number: u128, name: &str, seconds: i64) -> CreateWebhook {
    CreateWebhook { id: webhook_id(number), fields: fields(name), now: at(seconds) }
}

/// A delivery of an event that failed.
fn delivery(number: u128, webhook: u128, seconds: i64) -> WebhookDelivery {
    WebhookDelivery {
        id: delivery_id(number),
        webhook: webhook_id(webhook),
        event: Some(DeliveredEvent {
            id: format!("00000000-0000-4000-8000-{number:012x}"),
            seq: i64::try_from(number).unwrap(),
        }),
        event_type: Some("zone_enter".to_owned()),
        status: DeliveryStatus::Failed,
        attempts: 1,
        refusals: 0,
        response_code: None,
        error: Some("connection refused".to_owned()),
        created_at: at(seconds),
        delivered_at: None,
        next_attempt_at: Some(at(seconds + 5)),
        parked: false,
    }
}

async fn put(store: &Store, delivery: &WebhookDelivery) {
    store.write(PutDelivery { delivery: delivery.clone() }).await.unwrap();
}

pub(crate) async fn webhooks_are_kept(db: Db) {
    let store = db.open().await;
    let all = Scope::All;
    let full = WebhookFields {
        secret: Some(Secret::new("sealed:secret".into())),
        event_types: vec!["zone_*".into(), "Ω".into()],
        min_severity: Severity::Warning,
        cameras: vec![camera("gate"), camera("yard")],
        format: WebhookFormat::Telegram,
        recipient: Some("-100".into()),
        enabled: false,
        ..fields("phone")
    };
    let create = CreateWebhook { id: webhook_id(2), fields: full.clone(), now: at(2) };
    let attached = Attached { audit: Some(audit(1, None, 2)), events: Vec::new() };
    let made = store.manage(create.clone(), attached).await.unwrap().value;
    assert_eq!((made.fields, made.created_at, made.updated_at, made.revision), (full, at(2), at(2), 1));
    store.write(create_webhook(3, "b", 2)).await.unwrap();
    store.write(create_webhook(1, "a", 3)).await.unwrap();
    // A refused write leaves no audit row.
    let attached = Attached { audit: Some(audit(2, None, 2)), events: Vec::new() };
    assert_eq!(store.manage(create, attached).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(store.audit(&all, &AuditFilter::default(), None, 10).await.unwrap().rows.len(), 1);

    let ids = |rows: Vec<Webhook>| rows.iter().map(|row| row.id.bits()).collect::<Vec<_>>();
    assert_eq!(ids(store.webhooks(&all).await.unwrap()), [2, 3, 1]);
    assert!(store.webhooks(&scope(&["gate"])).await.unwrap().is_empty());
    assert_eq!(store.webhook(&scope(&["gate"]), webhook_id(1)).await.unwrap(), None);

    let change = |revision| UpdateWebhook { id: webhook_id(1), fields: fields("c"), revision, now: at(9) };
    let changed = store.write(change(1)).await.unwrap();
    assert_eq!((changed.fields.name.as_str(), changed.revision, changed.updated_at), ("c", 2, at(9)));
    assert_eq!(store.write(change(1)).await.unwrap_err().kind(), ErrorKind::Conflict);
    let empty = WebhookFields { name: String::new(), ..fields("x") };
    let empty = UpdateWebhook { id: webhook_id(1), fields: empty, revision: 2, now: at(9) };
    assert_eq!(store.write(empty).await.unwrap_err().kind(), ErrorKind::Conflict);

    let (url, secret) = (Secret::new("new".to_owned()), Some(Secret::new("s".to_owned())));
    let seal =
        |revision| SealWebhook { id: webhook_id(1), url: url.clone(), secret: secret.clone(), revision };
    assert_eq!(store.write(seal(1)).await.unwrap_err().kind(), ErrorKind::Conflict);
    store.write(seal(2)).await.unwrap();
    let sealed = store.webhook(&all, webhook_id(1)).await.unwrap().unwrap();
    assert_eq!((&sealed.fields.url, &sealed.fields.secret), (&url, &secret));
    assert_eq!((sealed.revision, sealed.updated_at), (2, at(9)));

    store.write(DeleteWebhook { id: webhook_id(2) }).await.unwrap();
    let gone = store.write(DeleteWebhook { id: webhook_id(2) }).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert_eq!(ids(store.webhooks(&all).await.unwrap()), [3, 1]);
}

pub(crate) async fn a_webhook_begins_where_it_is_made(db: Db) {
    let store = db.open().await;
    let before = store.write(AppendEvents { events: vec![event(1, None, 1)] }).await.unwrap()[0];
    // In one commit: what is appended after it is for it.
    let outcomes = store
        .write_all(vec![
            AppendEvents { events: vec![event(2, None, 2)] }.into(),
            create_webhook(1, "a", 3).into(),
            AppendEvents { events: vec![event(3, None, 4)] }.into(),
        ])
        .await
        .unwrap();
    let seqs: Vec<i64> =
        outcomes.into_iter().filter_map(|outcome| outcome.of::<AppendEvents>().ok()).flatten().collect();
    let made = store.webhook(&Scope::All, webhook_id(1)).await.unwrap().unwrap();
    assert!(before < seqs[0] && seqs[0] <= made.standing.cursor_seq && made.standing.cursor_seq < seqs[1]);
    assert_eq!(store.events_after(&Scope::All, made.standing.cursor_seq, 10).await.unwrap(), 1);
    assert_eq!(store.events_after(&Scope::All, 0, 2).await.unwrap(), 2);
    assert_eq!(store.events_after(&scope(&["a"]), 0, 2).await.unwrap(), 0);
}

pub(crate) async fn standing_goes_forward(db: Db) {
    let store = db.open().await;
    let all = Scope::All;
    let id = webhook_id(1);
    store.write(create_webhook(1, "a", 0)).await.unwrap();
    let at_seq = |cursor_seq, seconds: i64| WebhookStanding {
        cursor_seq,
        cursor_at: Some(at(seconds)),
        failing_since: Some(at(1)),
        next_attempt_at: Some(at(60)),
        disabled_reason: None,
        warned_at: Some(at(3)),
    };
    let put = |standing| PutWebhookStanding { id, standing };
    let read = async || store.webhook(&all, id).await.unwrap().unwrap();
    store.write(put(at_seq(5000, 5))).await.unwrap();
    assert_eq!(read().await.standing, at_seq(5000, 5));
    // A cursor that comes late moves nothing back.
    store.write(put(WebhookStanding { failing_since: None, ..at_seq(4000, 4) })).await.unwrap();
    let late = WebhookStanding { failing_since: None, ..at_seq(5000, 5) };
    assert_eq!(read().await.standing, late);
    let without_time = WebhookStanding { cursor_at: None, ..at_seq(5001, 0) };
    store.write(put(without_time)).await.unwrap();
    assert_eq!(read().await.standing, at_seq(5001, 5));
    assert_eq!(read().await.revision, 1, "nobody has changed it");

    let disable = |reason: &str| DisableWebhook { id, reason: reason.to_owned(), now: at(70) };
    assert!(store.write(disable("gone")).await.unwrap());
    assert!(!store.write(disable("again")).await.unwrap());
    let row = read().await;
    assert_eq!((row.fields.enabled, row.standing.disabled_reason.as_deref()), (false, Some("gone")));
    assert_eq!((row.revision, row.updated_at, row.standing.next_attempt_at), (2, at(70), None));

    // Enabling it forgets that it failed, and nothing of where it was.
    let update = UpdateWebhook { id, fields: fields("a"), revision: 2, now: at(80) };
    let enabled = store.write(update).await.unwrap();
    let expect = WebhookStanding { cursor_seq: 5001, cursor_at: Some(at(5)), ..WebhookStanding::default() };
    assert_eq!((enabled.fields.enabled, enabled.standing), (true, expect));
    let nobody = PutWebhookStanding { id: webhook_id(9), standing: at_seq(1, 1) };
    assert_eq!(store.write(nobody).await.unwrap_err().kind(), ErrorKind::NotFound);
}

pub(crate) async fn deliveries_are_kept_once(db: Db) {
    let store = db.open().await;
    let all = Scope::All;
    for (number, name) in [(1, "a"), (2, "b")] {
        store.write(create_webhook(number, name, 0)).await.unwrap();
    }
    let failed = delivery(1, 1, 10);
    put(&store, &failed).await;
    assert_eq!(store.webhook_delivery(&all, failed.id).await.unwrap(), Some(failed.clone()));
    assert_eq!(store.webhook_delivery(&scope(&["a"]), failed.id).await.unwrap(), None);
    // Its row is updated; what it is about stays.
    let taken = WebhookDelivery {
        status: DeliveryStatus::Delivered,
        attempts: 3,
        refusals: 2,
        response_code: Some(204),
        error: None,
        created_at: at(99),
        delivered_at: Some(at(20)),
        next_attempt_at: None,
        ..failed.clone()
    };
    put(&store, &taken).await;
    let kept = WebhookDelivery { created_at: at(10), ..taken };
    assert_eq!(store.webhook_delivery(&all, failed.id).await.unwrap(), Some(kept.clone()));
    // A test is about no event, and there may be several.
    for number in [2, 3] {
        put(&store, &WebhookDelivery { event: None, ..delivery(number, 1, 10) }).await;
    }
    put(&store, &WebhookDelivery { parked: true, next_attempt_at: None, ..delivery(4, 1, 5) }).await;
    put(&store, &delivery(5, 2, 50)).await;
    let list = async |webhook, status, limit| {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let page =
                store.webhook_deliveries(&all, webhook_id(webhook), status, after, limit).await.unwrap();
            ids.extend(page.rows.iter().map(|row| row.id.bits()));
            after = page.next;
            if after.is_none() {
                return ids;
            }
        }
    };
    for limit in [1, 2, 10] {
        assert_eq!(list(1, None, limit).await, [3, 2, 1, 4]);
        assert_eq!(list(1, Some(DeliveryStatus::Failed), limit).await, [3, 2, 4]);
        assert_eq!(list(1, Some(DeliveryStatus::Delivered), limit).await, [1]);
    }
    assert_eq!(list(2, None, 10).await, [5]);
    assert_eq!(store.failed_deliveries(&all, webhook_id(1), 100, 10).await.unwrap(), [4]);
    assert!(store.failed_deliveries(&all, webhook_id(1), 3, 10).await.unwrap().is_empty());
    let nobody = PutDelivery { delivery: delivery(6, 9, 1) };
    assert_eq!(store.write(nobody).await.unwrap_err().kind(), ErrorKind::NotFound);
}

pub(crate) async fn replays_wait_for_their_turn(db: Db) {
    let store = db.open().await;
    let all = Scope::All;
    let id = webhook_id(1);
    store.write(create_webhook(1, "a", 0)).await.unwrap();
    let events = (1..=3).map(|number| event(number, None, 1)).collect();
    let seqs = store.write(AppendEvents { events }).await.unwrap();
    let queue = |seqs: &[i64]| QueueReplay { webhook: id, seqs: seqs.to_vec() };
    // What is not there is not sent.
    assert_eq!(store.write(queue(&[seqs[2], seqs[0], seqs[2] + 1_000_000])).await.unwrap(), 2);
    assert_eq!(store.write(queue(&[seqs[0], seqs[1]])).await.unwrap(), 1);
    assert_eq!(store.webhook_replays(&all, id, 0, 10).await.unwrap(), seqs);
    assert_eq!(store.webhook_replays(&all, id, seqs[0], 1).await.unwrap(), [seqs[1]]);
    store.write(FinishReplay { webhook: id, seq: seqs[1] }).await.unwrap();
    assert_eq!(store.webhook_replays(&all, id, 0, 10).await.unwrap(), [seqs[0], seqs[2]]);
    let nobody = QueueReplay { webhook: webhook_id(9), seqs: seqs.clone() };
    assert_eq!(store.write(nobody).await.unwrap_err().kind(), ErrorKind::NotFound);
    store.write(DeleteWebhook { id }).await.unwrap();
    assert!(store.webhook_replays(&all, id, 0, 10).await.unwrap().is_empty());
}

pub(crate) async fn deliveries_go_with_age_and_webhook(db: Db) {
    let store = db.open().await;
    let all = Scope::All;
    for (number, name) in [(1, "a"), (2, "b")] {
        store.write(create_webhook(number, name, 0)).await.unwrap();
    }
    for number in 1..=6 {
        put(&store, &delivery(number, 1 + number % 2, i64::try_from(number).unwrap())).await;
    }
    let prune = |limit| Prune { what: Prunable::Deliveries, before: at(3), limit };
    assert_eq!(store.write(prune(1)).await.unwrap(), 1);
    assert_eq!(store.write(prune(10)).await.unwrap(), 1);
    assert_eq!(store.write(prune(10)).await.unwrap(), 0);
    let left = async |webhook| {
        let page = store.webhook_deliveries(&all, webhook_id(webhook), None, None, 10).await.unwrap();
        page.rows.iter().map(|row| row.id.bits()).collect::<Vec<_>>()
    };
    assert_eq!((left(1).await, left(2).await), (vec![6, 4], vec![5, 3]));
    let remove = RemoveDeliveries { webhook: webhook_id(2), limit: 1 };
    assert_eq!(store.write(remove).await.unwrap(), 1);
    assert_eq!((left(1).await, left(2).await), (vec![6, 4], vec![5]));
    let both: Vec<WriteOp> =
        vec![DeleteWebhook { id: webhook_id(1) }.into(), DeleteWebhook { id: webhook_id(2) }.into()];
    store.write_all(both).await.unwrap();
    assert_eq!((left(1).await, left(2).await), (vec![], vec![]));
    assert_eq!(db.numbers("SELECT COUNT(*) FROM webhook_delivery").await, [[0]]);
}
