//! What forms need, and what services say.

use super::*;

#[test]
fn forms_say_what_they_need() {
    let check = |format, url: &str, has_secret, to, expect: Option<&str>| {
        let found = check(format, &Url::parse(url).unwrap(), has_secret, to).err();
        assert_eq!(found.map(|missing| missing.field), expect, "{format} {url}");
    };
    use WebhookFormat::{Heldar, Ntfy, Pushover, Slack, Telegram};
    check(Heldar, "http://h", false, None, None);
    check(Ntfy, "https://ntfy.sh", false, None, Some("url"));
    check(Ntfy, "https://ntfy.sh/t", false, None, None);
    check(Telegram, "https://api.telegram.org/bot1:x", false, None, Some("to"));
    check(Telegram, "https://api.telegram.org/bot", false, Some("1"), Some("url"));
    check(Telegram, "https://api.telegram.org/bot1:x/", false, Some("1"), None);
    check(Slack, "https://hooks.slack.com/services/a/b/c", false, None, None);
    check(Slack, "https://slack.com/api", false, Some("C1"), Some("secret"));
    check(Slack, "https://slack.com/api/", true, None, Some("to"));
    check(Slack, "https://slack.com/api", true, Some("C1"), None);
    check(Pushover, "https://api.pushover.net/1/messages.json", false, Some("u"), Some("secret"));
    check(Pushover, "https://api.pushover.net/1/messages.json", true, None, Some("to"));
}

#[test]
fn a_wait_is_a_number_or_a_date() {
    let now = WallTime::parse("2027-01-15T08:00:00Z").unwrap();
    let check = |text: &str, expect: Option<i64>| {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
        assert_eq!(retry_after(&headers, now), expect.map(Micros::from_secs), "{text}");
    };
    check("0", Some(0));
    check(" 120 ", Some(120));
    check("Fri, 15 Jan 2027 08:01:40 GMT", Some(100));
    check("Fri, 15 Jan 2027 07:59:00 GMT", Some(-60));
    check("soon", None);
    check("-5", None);
    assert_eq!(retry_after(&HeaderMap::new(), now), None);
}

#[test]
fn what_a_service_says_is_kept_unless_it_repeats_a_secret() {
    let receiver = Receiver {
        format: WebhookFormat::Telegram,
        url: Secret::new("https://api.telegram.org/bot1:t0ken".to_owned()),
        secret: Some(Secret::new("s3cret".to_owned())),
        to: Some("-1001".to_owned()),
    };
    let check = |said: &str, expect: &str| {
        let answer = explained(Answer::of(400, None), said, &receiver);
        assert_eq!(answer.error().unwrap(), expect);
    };
    check("chat not found", "the receiver answered 400: chat not found");
    check("", "the receiver answered 400");
    for leak in ["no bot1:t0ken", "wrong s3cret", "no chat -1001", "https://api.telegram.org/bot1:t0ken"] {
        check(leak, "the receiver answered 400");
    }
    let long = "x".repeat(500) + "\n";
    assert_eq!(explained(Answer::of(500, None), &long, &receiver).error().unwrap().len(), 25 + 2 + 160);
    let fine = Answer::of(200, None);
    assert_eq!(explained(fine.clone(), "ok", &receiver), fine);
}
