//! Receivers that are down, slow, refuse or are gone.

use heldar_base::Micros;
use heldar_store::DeliveryStatus;

use crate::receiver::{Receiver, Say, Seen};
use crate::rig::{NOW, Rig, fields};
use crate::until;

fn seqs(seen: &[Seen]) -> Vec<i64> {
    seen.iter().map(Seen::seq).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_holds_the_order() {
    let (rig, mut receiver) = (Rig::start().await, Receiver::absent().await);
    let id = rig.webhook(1, fields(receiver.url())).await;
    let expect = rig.events(1..4).await;
    let failed = rig.delivery(id, expect[0], |one| one.attempts == 1).await;
    assert_eq!((failed.status, failed.response_code, failed.parked), (DeliveryStatus::Failed, None, false));
    assert_eq!(failed.error.as_deref(), Some("no connection to the receiver: connection refused"));
    // 5 s, by a fifth more or less.
    let wait = failed.next_attempt_at.unwrap() - NOW;
    assert!((4_000_000..=6_000_000).contains(&wait.0), "{wait:?}");
    let row = rig.row(id).await;
    assert_eq!(row.standing.failing_since, Some(NOW));
    assert_eq!(row.standing.next_attempt_at, failed.next_attempt_at);
    assert!(row.standing.cursor_seq < expect[0]);
    assert_eq!(rig.webhooks.lag(&row).await.unwrap(), 3);

    rig.pass(Micros::from_secs(6));
    let failed = rig.delivery(id, expect[0], |one| one.attempts == 2).await;
    let wait = failed.next_attempt_at.unwrap() - rig.now();
    assert!((8_000_000..=12_000_000).contains(&wait.0), "{wait:?}");
    receiver.up().await;
    rig.pass(Micros::from_secs(12));
    let seen = receiver.wait(3).await;
    assert_eq!(seqs(&seen), expect);
    assert_eq!(seen[0].header("x-heldar-attempt"), "3");
    rig.passed(id, expect[2]).await;
    let row = rig.row(id).await;
    assert_eq!((row.standing.failing_since, row.standing.next_attempt_at), (None, None));
    assert_eq!(rig.webhooks.lag(&row).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hours_of_silence_lose_nothing_and_keep_the_order() {
    let (mut rig, mut receiver) = (Rig::start().await, Receiver::absent().await);
    let healthy = Receiver::start().await;
    let id = rig.webhook(1, fields(receiver.url())).await;
    let other = rig.webhook(2, fields(healthy.url())).await;
    let mut expect = Vec::new();
    for minute in 0..120 {
        expect.extend(rig.events(2 * minute + 1..2 * minute + 3).await);
        if minute == 0 {
            rig.delivery(id, expect[0], |one| one.attempts == 1).await;
        }
        rig.pass(Micros::from_secs(60));
        // The other one is never kept waiting.
        rig.passed(other, *expect.last().unwrap()).await;
        if minute == 60 {
            rig.restart().await;
        }
    }
    let row = rig.row(id).await;
    assert_eq!(row.standing.failing_since, Some(NOW));
    let waits = rig.delivery(id, expect[0], |one| one.attempts > 8).await;
    assert!(waits.next_attempt_at.unwrap() - rig.now() <= Micros::from_secs(900));
    receiver.up().await;
    rig.pass(Micros::from_secs(900));
    let seen = receiver.wait(expect.len()).await;
    assert_eq!(seqs(&seen), expect);
    assert_eq!(seqs(&healthy.seen()), expect);
    rig.passed(id, *expect.last().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_is_left_after_a_while() {
    let rig = Rig::start_with(&[], Micros::from_millis(200)).await;
    let (receiver, healthy) = (Receiver::start().await, Receiver::start().await);
    receiver.says([Say::Nothing]);
    let id = rig.webhook(1, fields(receiver.url())).await;
    let other = rig.webhook(2, fields(healthy.url())).await;
    let expect = rig.events(1..3).await;
    let failed = rig.delivery(id, expect[0], |one| one.attempts == 1).await;
    assert_eq!(failed.error.as_deref(), Some("no answer within the time allowed"));
    rig.passed(other, expect[1]).await;
    rig.pass(Micros::from_secs(6));
    assert_eq!(seqs(&receiver.wait(3).await), [expect[0], expect[0], expect[1]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_may_ask_for_time() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    receiver.says([
        Say::Status(500),
        Say::With(429, "retry-after", "77".into()),
        Say::With(503, "retry-after", "Fri, 15 Jan 2027 09:00:00 GMT".into()),
    ]);
    let id = rig.webhook(1, fields(receiver.url())).await;
    let seq = rig.events(1..2).await[0];
    let failed = rig.delivery(id, seq, |one| one.attempts == 1).await;
    assert_eq!(
        (failed.response_code, failed.error.as_deref()),
        (Some(500), Some("the receiver answered 500"))
    );
    rig.pass(Micros::from_secs(6));
    let failed = rig.delivery(id, seq, |one| one.attempts == 2).await;
    assert_eq!(failed.next_attempt_at, Some(rig.now() + Micros::from_secs(77)));
    rig.pass(Micros::from_secs(76));
    // Not before; a second webhook shows that time has been looked at.
    let healthy = Receiver::start().await;
    let other = rig.webhook(2, fields(healthy.url())).await;
    let second = rig.events(2..3).await[0];
    rig.passed(other, second).await;
    assert_eq!(receiver.count(), 2);
    rig.pass(Micros::from_secs(1));
    // An hour is longer than anybody waits.
    let failed = rig.delivery(id, seq, |one| one.attempts == 3).await;
    assert_eq!(failed.next_attempt_at, Some(rig.now() + Micros::from_secs(900)));
    rig.pass(Micros::from_secs(900));
    receiver.wait(5).await;
    rig.passed(id, second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_five_times_is_given_up() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    receiver.says((0..5).map(|_| Say::Status(422)));
    let id = rig.webhook(1, fields(receiver.url())).await;
    let expect = rig.events(1..3).await;
    for attempts in 1..5 {
        let failed = rig.delivery(id, expect[0], |one| one.attempts == attempts).await;
        assert_eq!((failed.parked, failed.refusals), (false, attempts));
        rig.pass(Micros::from_secs(100));
    }
    let parked = rig.delivery(id, expect[0], |one| one.attempts == 5).await;
    assert_eq!((parked.status, parked.parked), (DeliveryStatus::Failed, true));
    assert_eq!((parked.next_attempt_at, parked.response_code), (None, Some(422)));
    let seen = receiver.wait(6).await;
    assert_eq!(seqs(&seen[4..]), expect);
    rig.passed(id, expect[1]).await;
    assert_eq!(rig.row(id).await.standing.failing_since, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_disabled_at_once() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    receiver.says([Say::Status(410)]);
    let id = rig.webhook(1, fields(receiver.url())).await;
    let expect = rig.events(1..3).await;
    let row = until("the end", async || Some(rig.row(id).await).filter(|row| !row.fields.enabled)).await;
    assert_eq!(row.standing.disabled_reason.as_deref(), Some("the receiver answered 410: it is gone"));
    assert!(row.standing.cursor_seq < expect[0]);
    let told = rig.told("webhook_disabled").await;
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["subscription_id"], &told[0]["name"]), (&id.to_string().into(), &"phone".into()));
    assert_eq!(told[0]["last_error"], "the receiver answered 410");
    // Whoever enables it again gets everything, that event too.
    rig.change(id, |fields| fields.enabled = true).await;
    let seen = receiver.wait(4).await;
    assert_eq!(seqs(&seen[1..3]), expect);
    assert_eq!(seen[3].header("x-heldar-event"), "webhook_disabled");
    let row = rig.row(id).await;
    assert_eq!((row.fields.enabled, row.standing.disabled_reason), (true, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_for_three_days_is_disabled() {
    let (rig, receiver) = (Rig::start().await, Receiver::absent().await);
    let id = rig.webhook(1, fields(receiver.url())).await;
    let seq = rig.events(1..2).await[0];
    rig.delivery(id, seq, |one| one.attempts == 1).await;
    rig.pass(Micros::from_hours(71));
    rig.delivery(id, seq, |one| one.attempts == 2).await;
    assert!(rig.row(id).await.fields.enabled);
    rig.pass(Micros::from_hours(1));
    let row = until("the end", async || Some(rig.row(id).await).filter(|row| !row.fields.enabled)).await;
    assert_eq!(row.standing.disabled_reason.as_deref(), Some("nothing was delivered for too long"));
    let told = rig.told("webhook_disabled").await;
    assert_eq!(told[0]["failing_since"], NOW.to_string());
    assert_eq!(told[0]["last_error"], "no connection to the receiver: connection refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let (rig, receiver, inward) = (Rig::start().await, Receiver::start().await, Receiver::start().await);
    receiver.says([Say::With(302, "location", inward.url()), Say::With(307, "location", inward.url())]);
    let id = rig.webhook(1, fields(receiver.url())).await;
    let expect = rig.events(1..2).await;
    let failed = rig.delivery(id, expect[0], |one| one.attempts == 1).await;
    assert_eq!((failed.response_code, failed.refusals), (Some(302), 1));
    rig.pass(Micros::from_secs(6));
    rig.delivery(id, expect[0], |one| one.attempts == 2).await;
    rig.pass(Micros::from_secs(12));
    receiver.wait(3).await;
    rig.passed(id, expect[0]).await;
    assert_eq!(inward.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_where_nobody_may_go_is_not_followed() {
    let deny = [("HELDAR_EGRESS_DENY", "127.0.0.0/8,::1/128")];
    let (rig, receiver) = (Rig::start_with(&deny, Micros::from_secs(10)).await, Receiver::start().await);
    let url = format!("http://localhost:{}/t0ken", receiver.address.port());
    let id = rig.webhook(1, fields(url)).await;
    let seq = rig.events(1..2).await[0];
    let failed = rig.delivery(id, seq, |one| one.attempts == 1).await;
    assert_eq!(failed.error.as_deref(), Some("the address of the receiver must not be contacted"));
    assert_eq!((failed.response_code, receiver.count()), (None, 0));
}
