//! Draws the most important results: the latency and the wake-ups of what people would use. The
//! chart is legible on a phone, on white and on black.

use crate::{
    implementations::one,
    measure::{One, Results, find},
};

const GREY: &str = "#7d838a";
const GREEN: &str = "#188a66";
const ORANGE: &str = "#c4742a";

/// All but waitpid-any reap the child, so these are the baseline and the procwait that do.
const BARS: [(&str, &str, &str); 7] = [
    (one::BASELINE_REAPING, "bare system calls", GREY),
    (one::CHILD_EXT, "procwait", GREEN),
    (one::WAITPID_ANY, "waitpid-any (no reap)", ORANGE),
    (one::TOKIO_CHILD, "tokio’s Child", ORANGE),
    (one::SHARED_CHILD, "shared_child", ORANGE),
    (one::WAIT_TIMEOUT, "wait-timeout", ORANGE),
    (one::SLEEP_LOOP, "a loop with sleep", ORANGE),
];

const WIDTH: usize = 640;
/// Where the bars begin.
const LEFT: usize = 272;
/// The length of a bar for each factor of ten.
const DECADE: f64 = 72.0;
const BAR_HEIGHT: usize = 36;
const TITLE_HEIGHT: usize = 74;
const GROUP_HEIGHT: usize = TITLE_HEIGHT + BAR_HEIGHT * BARS.len() + 26;

pub fn chart(results: &Results) -> String {
    let values = |value: fn(&One) -> f64| BARS.map(|(name, ..)| value(find(&results.one, name)));
    let latency = bars(
        0,
        "From exit to return, reaped, in µs",
        "median, child of 200 ms; log scale, shorter is better",
        10.0,
        values(|one| one.long.median / 1e3),
    );
    let wakeups = bars(
        GROUP_HEIGHT,
        "Wake-ups per second while waiting",
        "in a wait of 10 s; log scale, shorter is better",
        0.01,
        values(|one| {
            let idle = one.idle.as_ref().expect("each of these has a timeout");
            idle.wakeups_per_second
        }),
    );
    let height = 2 * GROUP_HEIGHT;
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="21">
{latency}{wakeups}</svg>
"#
    )
}

/// A title and its bars, from `top` downwards. A bar of length 0 means `origin`.
fn bars(top: usize, title: &str, subtitle: &str, origin: f64, values: [f64; 7]) -> String {
    let mut svg = format!(
        r#"<text x="0" y="{}" font-size="26" font-weight="bold" fill="{GREY}">{title}</text>
<text x="0" y="{}" fill="{GREY}">{subtitle}</text>
"#,
        top + 26,
        top + 56,
    );
    for (i, ((_, label, colour), value)) in BARS.into_iter().zip(values).enumerate() {
        let top = top + TITLE_HEIGHT + i * BAR_HEIGHT;
        let length = ((value / origin).log10() * DECADE).max(1.0);
        let (text, weight) = if colour == GREEN {
            (GREEN, "bold")
        } else {
            (GREY, "normal")
        };
        svg += &format!(
            r#"<text x="{}" y="{}" text-anchor="end" fill="{text}" font-weight="{weight}">{label}</text>
<rect x="{LEFT}" y="{}" width="{length:.0}" height="{}" fill="{colour}"/>
<text x="{:.0}" y="{}" fill="{text}" font-weight="{weight}">{}</text>
"#,
            LEFT - 10,
            top + 25,
            top + 4,
            BAR_HEIGHT - 8,
            LEFT as f64 + length + 8.0,
            top + 25,
            rounded(value),
        );
    }
    svg
}

fn rounded(value: f64) -> String {
    match value {
        ..9.95 => format!("{value:.1}"),
        ..999.5 => format!("{value:.0}"),
        _ => {
            let value = value.round() as u64;
            format!("{},{:03}", value / 1_000, value % 1_000)
        }
    }
}
