use super::*;
use crate::TrackKind::{Audio, Video};
use proptest::prelude::*;

const VIDEO_RATE: NonZeroU32 = NonZeroU32::new(90_000).unwrap();
const AUDIO_RATE: NonZeroU32 = NonZeroU32::new(16_000).unwrap();

/// Where UTC stands at monotonic zero in these tests.
const UTC: i64 = 1_700_000_000_000_000;

fn reading(rtp_us: i64, arrival_us: i64, reorder_depth: u8) -> Reading {
    Reading {
        rtp_time: Micros(rtp_us).to_ticks(90_000),
        clock_rate: VIDEO_RATE,
        reorder_depth,
        arrival: MonoTime(arrival_us),
        wall: WallTime(UTC + arrival_us),
    }
}

/// Times of capture in milliseconds for pictures of (RTP time, arrival) in milliseconds.
fn captured_ms(reorder_depth: u8, pictures: &[(i64, i64)]) -> Vec<i64> {
    let mut clock = CaptureClock::new();
    pictures
        .iter()
        .map(|(rtp, arrival)| {
            let reading = reading(rtp * 1000, arrival * 1000, reorder_depth);
            (clock.observe(Video, &reading).unwrap().0 - UTC).div_euclid(1000)
        })
        .collect()
}

fn check(reorder_depth: u8, pictures: &[(i64, i64)], expect_ms: &[i64]) {
    assert_eq!(captured_ms(reorder_depth, pictures), expect_ms, "{pictures:?}");
}

#[test]
fn rtp_time_decides_not_arrival() {
    check(0, &[(700, 0), (740, 45), (780, 95), (820, 121), (860, 160)], &[0, 40, 80, 120, 160]);
    // A link that stalls for two seconds and then delivers at once.
    check(0, &[(0, 0), (40, 40), (80, 2080), (120, 2080), (160, 2081)], &[0, 40, 80, 120, 160]);
    // One that holds a picture back for four seconds, while the camera drops three seconds of others.
    check(0, &[(0, 0), (40, 40), (80, 4080), (3120, 4081), (4160, 4160)], &[0, 40, 80, 3120, 4160]);
}

#[test]
fn reordered_pictures_keep_their_places() {
    check(1, &[(0, 0), (120, 120), (40, 121), (80, 122), (160, 160)], &[0, 120, 40, 80, 160]);
    // The same timestamp twice among them: distinct and in between.
    check(2, &[(0, 0), (120, 120), (40, 121), (40, 122), (160, 160)], &[0, 120, 40, 80, 160]);
}

#[test]
fn repeated_timestamps_are_told_apart() {
    // Two pictures per timestamp, the rate right on average: arrival tells.
    check(0, &[(0, 0), (0, 40), (80, 80), (80, 120), (160, 160)], &[0, 40, 80, 120, 160]);
    // A clock that stands still for two pictures: time goes on, and waits at half speed for the clock to come up.
    check(
        0,
        &[(0, 0), (40, 40), (40, 80), (40, 120), (80, 160), (120, 200), (160, 240), (200, 280)],
        &[0, 40, 80, 120, 140, 160, 180, 200],
    );
    // The same timestamp again after a stall: not much time is given to it.
    check(0, &[(0, 0), (40, 40), (40, 5040), (80, 5080)], &[0, 40, 1040, 1060]);
    // Both at once: one tick apart.
    let got = {
        let mut clock = CaptureClock::new();
        [0, 0, 0].map(|rtp| clock.observe(Video, &reading(rtp, 0, 0)).unwrap().0 - UTC)
    };
    assert!(got[0] == 0 && got[1] >= 12 && got[2] >= got[1] + 12 && got[2] < 100, "{got:?}");
}

#[test]
fn jumps_of_the_camera_start_anew_at_arrival() {
    let hour = 3_600_000;
    check(0, &[(0, 0), (40, 40), (hour, 80), (hour + 40, 120)], &[0, 40, 80, 120]);
    check(0, &[(hour, 0), (hour + 40, 40), (0, 80), (40, 120)], &[0, 40, 80, 120]);
    // By three seconds, as a camera that sets its clock: no picture of three seconds.
    check(0, &[(0, 0), (40, 40), (3080, 80), (3120, 120)], &[0, 40, 80, 120]);
    check(0, &[(9000, 0), (9040, 40), (6080, 80), (6120, 120)], &[0, 40, 80, 120]);
    // With B pictures around it: still behind all before, still in presentation order.
    check(
        1,
        &[(0, 0), (80, 80), (40, 81), (hour, 160), (hour - 40, 161), (hour + 80, 240), (hour + 40, 241)],
        &[0, 80, 40, 160, 120, 240, 200],
    );
    // Farther back than any reordering reaches.
    check(1, &[(20_000, 0), (0, 40), (40, 80)], &[0, 40, 80]);
    // More pictures back than the stream reorders.
    check(1, &[(0, 0), (40, 40), (80, 80), (120, 120), (0, 160), (40, 200)], &[0, 40, 80, 120, 160, 200]);
}

/// Times of capture in milliseconds of pictures of (RTP time, arrival) that were all expected before the first was placed.
fn expected_ms(not_before: i64, pictures: &[(i64, i64)]) -> Vec<i64> {
    let mut clock = CaptureClock::after(WallTime(UTC + not_before * 1000));
    let readings: Vec<Reading> = pictures.iter().map(|(rtp, at)| reading(rtp * 1000, at * 1000, 0)).collect();
    readings.iter().for_each(|reading| clock.expect(Video, reading));
    readings.iter().map(|r| (clock.observe(Video, r).unwrap().0 - UTC).div_euclid(1000)).collect()
}

#[test]
fn a_run_starts_where_its_first_moments_will_have_it() {
    // A first picture that is late.
    assert_eq!(expected_ms(0, &[(700, 90), (740, 95), (780, 120), (820, 160)]), [40, 80, 120, 160]);
    // A held GOP that comes faster than it was captured.
    let held: Vec<(i64, i64)> = (0..50).map(|n| (n * 40, 3000 + n)).collect();
    assert_eq!(expected_ms(0, &held), (0..50).map(|n| 3049 - 49 * 40 + n * 40).collect::<Vec<_>>());
    // Not into footage that exists: what is left is slewed as ever.
    let times = expected_ms(2500, &held);
    assert_eq!(times[0], 2500);
    assert!(times[49] < 2500 + 49 * 40 && times.is_sorted(), "{times:?}");
    // Arrival bounds it from above whatever the end of that footage claims, and an hour's jump is no delay.
    assert_eq!(expected_ms(9000, &[(0, 100), (40, 120)])[0], 100);
    assert_eq!(expected_ms(0, &[(0, 100), (40, 140), (3_600_000, 180)])[..2], [100, 140]);
}

/// Sender reports align two tracks from the first picture on, where they came before it was placed.
#[test]
fn reports_align_a_start() {
    let mut clock = CaptureClock::new();
    // Pictures take 120 ms longer than sound from capture to arrival.
    let picture = |n: i64| reading(n * 40_000, 1_120_000 + n * 40_000, 0);
    let sound = |n: i64| Reading {
        rtp_time: 5_000 + n * 320,
        clock_rate: AUDIO_RATE,
        ..reading(0, 1_000_000 + n * 20_000, 0)
    };
    for n in 0..10 {
        clock.expect(Audio, &sound(n));
        clock.expect(Video, &picture(n));
    }
    let sent_at = WallTime(UTC + 77_000_000);
    clock.expect_report(Video, 0, sent_at);
    clock.expect_report(Audio, 5_000, sent_at);
    for n in 0..10 {
        let (heard, seen) = (clock.observe(Audio, &sound(2 * n)), clock.observe(Video, &picture(n)));
        assert_eq!(heard.unwrap(), seen.unwrap(), "{n}");
    }
}

#[test]
fn a_new_clock_rate_starts_anew() {
    let mut clock = CaptureClock::new();
    let mut got = Vec::new();
    for n in 0..6i64 {
        let rate = if n < 3 { 8_000 } else { 16_000 };
        let reading = Reading {
            rtp_time: 1_000_000 + n * 20 * i64::from(rate) / 1000,
            clock_rate: NonZeroU32::new(rate).unwrap(),
            ..reading(0, n * 20_000, 0)
        };
        got.push((clock.observe(Audio, &reading).unwrap().0 - UTC) / 1000);
    }
    assert_eq!((got, clock.jumps()), (vec![0, 20, 40, 60, 80, 100], 1));
}

/// What is far ahead of arrival for another reason is no jump.
#[test]
fn a_burst_at_the_start_is_no_jump() {
    let got =
        captured_ms(0, &[(0, 1500), (500, 1500), (1000, 1500), (1500, 1500), (3500, 3500), (5500, 5500)]);
    assert_eq!(got[..4], [1500, 2000, 2475, 2938]);
    assert!((4700..4900).contains(&got[4]) && (6500..6800).contains(&got[5]), "{got:?}");
}

#[test]
fn one_timestamp_out_of_order_is_passed_over() {
    check(0, &[(0, 0), (40, 40), (30, 80), (120, 120), (160, 160)], &[0, 40, 80, 120, 160]);
}

#[test]
fn a_small_step_back_neither_stops_nor_reverses_time() {
    let mut pictures: Vec<(i64, i64)> = (0..50).map(|n| (n * 40, n * 40)).collect();
    pictures.extend((50..150).map(|n| (n * 40 - 200, n * 40)));
    let got = captured_ms(0, &pictures);
    for (pair, arrival) in got.windows(2).zip(1..) {
        assert!(pair[1] > pair[0] && pair[1] - pair[0] <= 45, "{pair:?}");
        assert!((pair[1] - arrival * 40).abs() <= 201, "{pair:?} {arrival}");
    }
}

/// What became of a stream of 25 pictures per second, in microseconds.
#[derive(Debug)]
struct Followed {
    /// Time of capture less the truth, at the end.
    error: i64,
    shortest: i64,
    longest: i64,
    jumps: u64,
}

/// Follows a camera whose RTP clock is a function of the true time.
fn follow(seconds: i64, rtp_of: impl Fn(i64) -> i64, arrival_of: impl Fn(i64) -> i64) -> Followed {
    let mut clock = CaptureClock::new();
    let mut followed = Followed { error: 0, shortest: i64::MAX, longest: 0, jumps: 0 };
    let mut last = None;
    for n in 0..seconds * 25 {
        let truth = n * 40_000;
        let got = clock.observe(Video, &reading(rtp_of(truth), arrival_of(truth), 0)).unwrap().0 - UTC;
        if let Some(last) = last {
            followed.shortest = followed.shortest.min(got - last);
            followed.longest = followed.longest.max(got - last);
        }
        last = Some(got);
        followed.error = got - truth;
    }
    followed.jumps = clock.jumps();
    followed
}

fn check_followed(followed: &Followed, error: i64, lengths_ms: std::ops::RangeInclusive<i64>, jumps: u64) {
    let lengths =
        lengths_ms.contains(&(followed.shortest / 1000)) && lengths_ms.contains(&(followed.longest / 1000));
    assert!(followed.error.abs() <= error && lengths && followed.jumps == jumps, "{followed:?}");
}

#[test]
fn odd_cameras_stay_near_the_truth() {
    let same = |t| t;
    // Quartz errors.
    for ppm in [-200, -20, 20, 200] {
        check_followed(&follow(1800, |t| t + t * ppm / 1_000_000, same), 8_000, 39..=40, 0);
    }
    // A clock that is plainly wrong.
    for percent in [-8, -4, 4, 8] {
        check_followed(&follow(600, |t| t + t * percent / 100, same), 5_000_000, 20..=100, 0);
    }
    // A camera that sends its last two seconds at once when it is asked to play.
    check_followed(&follow(300, same, |t| t.max(2_000_000)), 100_000, 35..=40, 0);
    // Its clock jumps by an hour, forward and back.
    for hour in [3_600_000_000i64, -3_600_000_000] {
        let jump = |t| if t < 20_000_000 { t } else { t + hour };
        check_followed(&follow(60, jump, same), 1_000, 39..=40, 1);
    }
    // A clock that stood still for five seconds.
    let still = |t: i64| if t < 10_000_000 { t } else { (t - 5_000_000).max(10_000_000) };
    check_followed(&follow(120, still, same), 200_000, 30..=60, 0);
    // Timestamps that stand still for every second picture and never catch up: half the rate.
    check_followed(&follow(600, |t| t / 80_000 * 40_000, same), 40_000_000, 1..=80, 0);
}

#[test]
fn spacing_is_a_tick() {
    for (rate, us) in [(90_000, 12), (8_000, 125), (48_000, 21), (1, 1_000_000), (u32::MAX, 1)] {
        assert_eq!(spacing(NonZeroU32::new(rate).unwrap()), Micros(us));
    }
}

/// Runs a stream of 25 pictures per second under a host clock with the given error, and gives back the time of the run less
/// the host's, in microseconds, at the end.
fn under_host_clock(seconds: i64, error_at: impl Fn(i64) -> i64, speed_ppm: i64) -> Result<i64, ClockStep> {
    let mut clock = CaptureClock::new();
    let mut last: Option<(i64, i64)> = None;
    for n in 0..seconds * 25 {
        let now = n * 40_000;
        let mut reading = reading(now, now, 0);
        reading.wall = WallTime(UTC + now + error_at(now));
        let got = clock.observe(Video, &reading)?.0;
        if let Some((before, at)) = last {
            let excess = (got - before) - (now - at);
            assert!(excess.abs() <= 40_000 * speed_ppm / 1_000_000 + 2, "{excess} at {now}");
        }
        last = Some((got, now));
    }
    Ok(clock.clock_offset().0)
}

#[test]
fn host_clock_errors_are_slewed() {
    let step = |at_s: i64, by: i64| move |now| if now < at_s * 1_000_000 { 0 } else { by };
    // 1 s at 500 ppm takes 2000 s; after 1000 s half of it is left.
    let left = under_host_clock(1010, step(10, 1_000_000), 500).unwrap();
    assert!((left + 500_000).abs() < 1_000, "{left}");
    let left = under_host_clock(1010, step(10, -1_000_000), 500).unwrap();
    assert!((left - 500_000).abs() < 1_000, "{left}");
    assert!(under_host_clock(20, step(10, 9_999_000), 500).is_ok());
    // Drift of the host against its monotonic clock, as NTP slews it.
    let left = under_host_clock(600, |now| now / 5_000, 500).unwrap();
    assert!(left.abs() < 1_000, "{left}");
}

#[test]
fn a_large_step_forward_ends_the_run() {
    let forward = under_host_clock(20, |now| if now < 10_000_000 { 0 } else { 11_000_000 }, 500);
    assert_eq!(forward, Err(ClockStep { by: Micros::from_secs(11) }));
}

#[test]
fn a_large_step_backward_keeps_the_runs_own_time() {
    let hour = 3_600_000_000i64;
    let back = |now: i64| if now < 10_000_000 { 0 } else { -hour };
    // 5 % of 100 s are 5 s.
    let offset = under_host_clock(110, back, 50_000).unwrap();
    assert!((offset - (hour - 5_000_000)).abs() < 50_000, "{offset}");
    // 20 s are gone after 400 s, and then the usual pace holds again.
    let back = |now: i64| if now < 10_000_000 { 0 } else { -20_000_000 };
    let offset = under_host_clock(420, back, 50_000).unwrap();
    assert!(offset.abs() < 2_000, "{offset}");
    // One more second after that is again slewed at 500 ppm: 35 ms in 70 s.
    let twice = |now: i64| match now {
        ..10_000_000 => 0,
        10_000_000..430_000_000 => -20_000_000,
        _ => -21_000_000,
    };
    let offset = under_host_clock(500, twice, 50_000).unwrap();
    assert!((955_000..975_000).contains(&offset), "{offset}");
    // The clock is set right again soon after: no large step forward against the run's own time.
    let there_and_back = |now: i64| if (10_000_000..20_000_000).contains(&now) { -hour } else { 0 };
    let offset = under_host_clock(30, there_and_back, 50_000).unwrap();
    assert!((-600_000..0).contains(&offset), "{offset}");
}

/// Sender reports of a camera in a test.
#[derive(Clone, Copy)]
struct Reports {
    /// Last second with a report.
    until_s: i64,
    /// What those of the audio track say too much, in microseconds.
    wrong: i64,
}

/// Audio and video of one camera whose audio arrives 150 ms later; how far the times of both are from the truth at the end,
/// in microseconds.
fn misalignment(seconds: i64, reports: Option<Reports>) -> (i64, i64) {
    let mut clock = CaptureClock::new();
    let mut error = (0, 0);
    for n in 0..seconds * 25 {
        let truth = n * 40_000;
        let late = truth + 150_000;
        let video = reading(truth + 77, truth, 0);
        let audio = Reading {
            rtp_time: Micros(truth + 5_000_000).to_ticks(16_000),
            clock_rate: AUDIO_RATE,
            reorder_depth: 0,
            arrival: MonoTime(late),
            wall: WallTime(UTC + late),
        };
        error.0 = clock.observe(Video, &video).unwrap().0 - UTC - truth;
        error.1 = clock.observe(Audio, &audio).unwrap().0 - UTC - truth;
        if let Some(reports) = reports.filter(|r| n % 125 == 0 && truth <= r.until_s * 1_000_000) {
            // The camera's clock is years off.
            let ntp = |t: i64| WallTime(1_000_000 + t);
            clock.sender_report(Video, video.rtp_time, ntp(truth), MonoTime(truth));
            clock.sender_report(Audio, audio.rtp_time, ntp(truth + reports.wrong), MonoTime(late));
        }
    }
    error
}

fn check_alignment(seconds: i64, reports: Option<(i64, i64)>, audio_ms: std::ops::RangeInclusive<i64>) {
    let reports = reports.map(|(until_s, wrong)| Reports { until_s, wrong });
    let (video, audio) = misalignment(seconds, reports);
    assert!(video.abs() < 2_000 && audio_ms.contains(&(audio / 1000)), "{video} {audio}");
}

#[test]
fn sender_reports_align_tracks_while_they_are_plausible() {
    // Without reports the delay of arrival is all there is.
    check_alignment(120, None, 149..=151);
    check_alignment(120, Some((120, 0)), -2..=2);
    // Reports that contradict arrival by two seconds are not believed.
    check_alignment(120, Some((120, 2_000_000)), 148..=152);
    // A minute after the last report arrival is all there is again, and slowly followed.
    check_alignment(170, Some((10, 0)), 60..=100);
}

/// One thing that comes in.
#[derive(Clone, Debug)]
struct Input {
    audio: bool,
    rtp_ticks: i64,
    arrival_us: i64,
    wall_us: i64,
    reorder_depth: u8,
    report: bool,
}

fn any_input() -> impl Strategy<Value = Input> {
    let rtp = prop_oneof![
        6 => 0i64..8_000,
        2 => -20_000i64..20_000,
        1 => Just(0i64),
        1 => -2_000_000i64..2_000_000,
        1 => any::<i64>(),
    ];
    let arrival = prop_oneof![6 => 0i64..80_000, 1 => 0i64..20_000_000];
    let wall = prop_oneof![8 => -100i64..100, 1 => -30_000_000i64..30_000_000, 1 => any::<i64>()];
    let depth = prop_oneof![Just(0u8), 0u8..5, Just(16u8)];
    (any::<bool>(), rtp, arrival, wall, depth, proptest::bool::weighted(0.1)).prop_map(
        |(audio, rtp_ticks, arrival_us, wall_us, reorder_depth, report)| Input {
            audio,
            rtp_ticks,
            arrival_us,
            wall_us,
            reorder_depth,
            report,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever comes: no panic, all times of a track at least a tick apart, and rising where nothing may be reordered.
    #[test]
    fn times_are_distinct_and_rise(inputs in proptest::collection::vec(any_input(), 1..150)) {
        let mut clock = CaptureClock::new();
        let (mut now, mut host) = (0i64, UTC);
        let mut rtp = [0i64; 2];
        let mut seen: [Vec<i64>; 2] = [Vec::new(), Vec::new()];
        for input in inputs {
            let track = usize::from(input.audio);
            let (kind, clock_rate) = [(Video, VIDEO_RATE), (Audio, AUDIO_RATE)][track];
            rtp[track] = rtp[track].saturating_add(input.rtp_ticks);
            now += input.arrival_us;
            host = host.saturating_add(input.arrival_us).saturating_add(input.wall_us);
            let reading = Reading {
                rtp_time: rtp[track],
                clock_rate,
                reorder_depth: input.reorder_depth,
                arrival: MonoTime(now),
                wall: WallTime(host),
            };
            if input.report {
                clock.sender_report(kind, rtp[track], WallTime(host), MonoTime(now));
            }
            let Ok(got) = clock.observe(kind, &reading) else {
                // A step forward: what a caller does is to begin anew.
                clock = CaptureClock::new();
                seen = [Vec::new(), Vec::new()];
                continue;
            };
            // Saturated times, after readings of the year 290 000, are beyond any order.
            if got.0.unsigned_abs() > 1 << 62 { return Ok(()); }
            let tick = spacing(clock_rate).0;
            if input.reorder_depth == 0 && let Some(newest) = seen[track].iter().max() {
                prop_assert!(got.0 >= newest + tick);
            }
            for other in &seen[track] {
                prop_assert!((got.0 - other).abs() >= tick, "{} and {}", got.0, other);
            }
            seen[track].push(got.0);
        }
    }

    /// Any pattern of B pictures under jitter and slewing: order of capture times is order of RTP times.
    #[test]
    fn order_of_rtp_is_order_of_capture(
        groups in proptest::collection::vec((1usize..5, 0i64..60_000), 1..60),
        host_step in -9_000_000i64..9_000_000,
    ) {
        let mut clock = CaptureClock::new();
        let mut got: Vec<(i64, i64)> = Vec::new();
        let (mut base, mut now) = (0i64, 0i64);
        for (n, (pictures, jitter)) in groups.into_iter().enumerate() {
            let pictures = pictures as i64;
            let order = std::iter::once(pictures).chain(1..pictures);
            for place in order {
                let rtp_us = (base + place) * 40_000;
                now = now.max(rtp_us + jitter);
                let mut reading = reading(rtp_us, now, 1);
                reading.wall = WallTime(UTC + now + if n > 10 { host_step } else { 0 });
                got.push((rtp_us, clock.observe(Video, &reading).unwrap().0));
            }
            base += pictures;
        }
        prop_assert_eq!(clock.jumps(), 0);
        got.sort_unstable();
        for pair in got.windows(2) {
            let (step, truth) = (pair[1].1 - pair[0].1, pair[1].0 - pair[0].0);
            prop_assert!((step - truth).abs() <= truth / 100, "{} for {}", step, truth);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Jitter of arrival and drift of the camera: near the truth and never faster than what is promised.
    #[test]
    fn error_and_speed_are_bounded(
        ppm in -200i64..=200,
        first_delay in 0i64..100_000,
        delays in proptest::collection::vec(0i64..50_000, 997),
    ) {
        let mut clock = CaptureClock::new();
        let (mut now, mut last) = (0i64, None);
        for n in 0..3000i64 {
            // Ten pictures per second for five minutes.
            let truth = n * 100_000;
            let delay = if n == 0 { first_delay } else { delays[n as usize % delays.len()] };
            now = now.max(truth + delay);
            let rtp_us = truth + truth * ppm / 1_000_000;
            let got = clock.observe(Video, &reading(rtp_us, now, 0)).unwrap().0 - UTC;
            if let Some(last) = last {
                let promised = if truth < 31_000_000 { 5_200 } else { 710 };
                let excess: i64 = got - last - 100_000;
                prop_assert!(excess.abs() <= 100_000 * promised / 1_000_000 + 12, "{} at {}", excess, truth);
            }
            if n > 1500 {
                // The least delay of 320 pictures, and the drift of half a minute.
                prop_assert!((-7_000..12_000).contains(&(got - truth)), "{} at {}", got - truth, truth);
            }
            last = Some(got);
        }
    }
}
