//! Ceiling B: pictures a second, weighted by width (perception.md 5.3).

use super::{Off, Running, SLACK, Why};

/// Gives out `ceiling` from the top down.
///
/// The cheapest cost of a unit is taken to be a quarter of its floor, which is not true of one whose frames may not
/// become narrow enough; one such unit may then be left with nothing while a later one finds room. When the later one
/// costs no less, the lowest unit is shed instead and all is given out anew.
pub(super) fn fit(units: &mut [Running<'_>], ceiling: f64) {
    let mut kept = most_units(units, ceiling);
    loop {
        for unit in &mut units[kept..] {
            unit.shed = Some(Off::ShedByRate);
        }
        give_out(&mut units[..kept], ceiling);
        if kept <= 1 || !passes_over(&units[..kept]) {
            return;
        }
        kept -= 1;
    }
}

/// Whether a unit is shed while one below it, no cheaper, is served.
fn passes_over(units: &[Running<'_>]) -> bool {
    let mut cheapest_shed = f64::INFINITY;
    units.iter().any(|unit| {
        let cost = unit.widths().last().map_or(0.0, |(_, cost)| cost);
        if unit.shed.is_some() {
            cheapest_shed = cheapest_shed.min(cost);
            return false;
        }
        cost >= cheapest_shed - SLACK
    })
}

/// As many units from the top as fit at their cheapest; at least one, if there is any.
fn most_units(units: &[Running<'_>], ceiling: f64) -> usize {
    let mut sum = 0.0;
    let fitting = units.iter().take_while(|unit| {
        sum += unit.cheapest();
        sum <= ceiling + SLACK
    });
    fitting.count().max(1).min(units.len())
}

fn give_out(units: &mut [Running<'_>], ceiling: f64) {
    let mut floors_after: f64 = units.iter().map(Running::floor).sum();
    let mut cheapest_after: f64 = units.iter().map(Running::cheapest).sum();
    let mut remaining = ceiling;
    for unit in units {
        unit.shed = None;
        let floor = unit.floor();
        floors_after -= floor;
        cheapest_after -= unit.cheapest();
        let headroom = remaining - floors_after;
        if headroom >= floor - SLACK {
            // Tier 1.
            unit.fps = unit.wanted_fps.min(headroom).max(floor);
            unit.width = unit.wanted_width;
            unit.why = if unit.fps < unit.wanted_fps { Why::RateShare } else { Why::Wanted };
            remaining -= unit.fps;
            continue;
        }
        // Tier 2.
        let headroom = (remaining - cheapest_after).max(0.0);
        match unit.widths().find(|(_, cost)| *cost <= headroom + SLACK) {
            Some((width, cost)) => {
                unit.fps = floor;
                unit.width = width;
                unit.why = Why::RateNarrowed;
                remaining -= cost;
            }
            None => unit.shed = Some(Off::ShedByRate),
        }
    }
}
