//! The figures that matter most, as a picture that is legible on a phone, on white
//! and on black: latency and wake-ups of what people would take.

use crate::{
    contestants::one,
    measure::{Figures, One, find},
};

const FLOOR: &str = "#7d838a";
const OURS: &str = "#188a66";
const OTHER: &str = "#c4742a";

/// All reap the child but for waitpid-any, and so do the floor here and ours.
const ROWS: [(&str, &str, &str); 7] = [
    (one::FLOOR_REAPING, "bare system calls", FLOOR),
    (one::CHILD_EXT, "procwait", OURS),
    (one::WAITPID_ANY, "waitpid-any (no reap)", OTHER),
    (one::TOKIO_CHILD, "tokio’s Child", OTHER),
    (one::SHARED_CHILD, "shared_child", OTHER),
    (one::WAIT_TIMEOUT, "wait-timeout", OTHER),
    (one::PSUTIL, "a loop with sleep", OTHER),
];

const WIDTH: usize = 640;
/// Where the bars begin.
const LEFT: usize = 272;
/// Of a bar for each factor of ten.
const DECADE: f64 = 72.0;
const ROW: usize = 36;
const HEAD: usize = 74;
const GROUP: usize = HEAD + ROW * ROWS.len() + 26;

pub fn draw(figures: &Figures) -> String {
    let latency = |its: &One| its.long.median / 1e3;
    let wakeups = |its: &One| its.idle.as_ref().map_or(0.0, |it| it.wakeups_per_second);
    let value = |of: fn(&One) -> f64| ROWS.map(|(name, ..)| of(find(&figures.one, name)));
    let groups = [
        group(
            0,
            "From exit to return, reaped, in µs",
            "median, child of 200 ms; log scale, shorter is better",
            10.0,
            value(latency),
        ),
        group(
            GROUP,
            "Wake-ups per second while waiting",
            "in a wait of 10 s; log scale, shorter is better",
            0.01,
            value(wakeups),
        ),
    ];
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="21">
{}</svg>
"#,
        groups.concat(),
        height = 2 * GROUP,
    )
}

/// One bar below the other. `origin` is what a bar of no length would stand for.
fn group(top: usize, title: &str, what: &str, origin: f64, values: [f64; 7]) -> String {
    let mut group = format!(
        r#"<text x="0" y="{}" font-size="26" font-weight="bold" fill="{FLOOR}">{title}</text>
<text x="0" y="{}" fill="{FLOOR}">{what}</text>
"#,
        top + 26,
        top + 56,
    );
    for (i, ((_, label, colour), value)) in ROWS.into_iter().zip(values).enumerate() {
        let top = top + HEAD + i * ROW;
        let length = ((value / origin).log10() * DECADE).max(1.0);
        let (text, weight) = match colour {
            OURS => (OURS, "bold"),
            _ => (FLOOR, "normal"),
        };
        group += &format!(
            r#"<text x="{}" y="{}" text-anchor="end" fill="{text}" font-weight="{weight}">{label}</text>
<rect x="{LEFT}" y="{}" width="{length:.0}" height="{}" fill="{colour}"/>
<text x="{:.0}" y="{}" fill="{text}" font-weight="{weight}">{}</text>
"#,
            LEFT - 10,
            top + 25,
            top + 4,
            ROW - 8,
            LEFT as f64 + length + 8.0,
            top + 25,
            figure(value),
        );
    }
    group
}

fn figure(value: f64) -> String {
    match value {
        ..9.95 => format!("{value:.1}"),
        ..999.5 => format!("{value:.0}"),
        _ => {
            let value = value.round() as u64;
            format!("{},{:03}", value / 1_000, value % 1_000)
        }
    }
}
