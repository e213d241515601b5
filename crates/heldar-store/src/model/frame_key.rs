//! The stored form of frame ids: what follows from the task is left out.

use heldar_base::PublicId;

/// Stands for `w:`, the id of the task and a colon.
const OF_TASK: &str = "t:";
/// Stands before any other text that begins with one of the two.
const AS_IT_IS: &str = "=";

/// The stored form of a frame id of a batch of a task.
pub(crate) fn encode(frame_id: &str, task: Option<PublicId>) -> String {
    let of_task = task.and_then(|task| {
        let rest = frame_id.strip_prefix("w:")?.strip_prefix(&task.to_string())?.strip_prefix(':')?;
        Some([OF_TASK, rest].concat())
    });
    match of_task {
        Some(key) => key,
        None if frame_id.starts_with(OF_TASK) || frame_id.starts_with(AS_IT_IS) => {
            [AS_IT_IS, frame_id].concat()
        }
        None => frame_id.to_owned(),
    }
}

/// Reads back [`encode`].
pub(crate) fn decode(key: String, task: Option<PublicId>) -> String {
    if let (Some(rest), Some(task)) = (key.strip_prefix(OF_TASK), task) {
        return format!("w:{task}:{rest}");
    }
    match key.strip_prefix(AS_IT_IS) {
        Some(frame_id) => frame_id.to_owned(),
        None => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_of_a_task_are_short() {
        let task = PublicId::new("ai", 7);
        for (frame_id, key) in [
            (format!("w:{task}:1767225600123"), "t:1767225600123"),
            (format!("w:{task}:"), "t:"),
            ("w:f1".to_owned(), "w:f1"),
            ("t:1".to_owned(), "=t:1"),
            ("=".to_owned(), "=="),
            ("k:native_anpr:9".to_owned(), "k:native_anpr:9"),
        ] {
            assert_eq!(encode(&frame_id, Some(task)), key);
        }
        assert_eq!(encode(&format!("w:{task}:1"), None), format!("w:{task}:1"));
    }

    proptest! {
        #[test]
        fn frame_ids_round_trip(
            start in "(w:|t:|=|k:)?(ai_00000000000000000000000000000007:)?",
            rest in ".{0,8}",
            named: bool,
        ) {
            let task = named.then_some(PublicId::new("ai", 7));
            let frame_id = format!("{start}{rest}");
            prop_assert_eq!(decode(encode(&frame_id, task), task), frame_id);
        }

        #[test]
        fn different_ids_have_different_keys(a in "[wt=]:?(ai_00000000000000000000000000000007:)?.?", b in "[wt=]:?.?.?") {
            let task = Some(PublicId::new("ai", 7));
            prop_assert_eq!(encode(&a, task) == encode(&b, task), a == b);
        }
    }
}
