//! The figures that matter most, as a picture: latency and wake-ups of each
//! contestant. Its colours are legible on white and on black.

use crate::{
    contestants::one,
    measure::{Figures, One},
};
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use std::{error::Error, ops::Range, path::Path};

const WIDTH: u32 = 1080;
const ROW: u32 = 24;
const LABELS: u32 = 390;
const HEAD: u32 = 50;
const FOOT: u32 = 30;

const TEXT: RGBColor = RGBColor(0x77, 0x80, 0x8a);
const OURS: RGBColor = RGBColor(0x1f, 0x9d, 0x78);
const FLOOR: RGBColor = RGBColor(0x8b, 0x93, 0x9c);
const OTHERS: RGBColor = RGBColor(0xd0, 0x84, 0x3a);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub fn draw(figures: &Figures, file: &Path) -> Result<(), Box<dyn Error>> {
    let rows: Vec<&One> = figures
        .one
        .iter()
        .filter(|row| row.contestant.name != one::FLOOR_AGAIN)
        .collect();
    let height = HEAD + ROW * rows.len() as u32 + FOOT;
    let root = SVGBackend::new(file, (WIDTH, height)).into_drawing_area();
    let (labels, panels) = root.split_horizontally(LABELS);
    let (left, right) = panels.split_horizontally((WIDTH - LABELS) / 2);

    for (i, row) in rows.iter().enumerate() {
        let text = row.contestant.label.replace(['`', '*'], "");
        let colour = if is_ours(row) { OURS } else { TEXT };
        let style = text_style(HPos::Right).color(&colour);
        labels.draw_text(&text, &style, (LABELS as i32 - 8, middle(i)))?;
    }
    bars(
        &left,
        "from exit to return in µs: median, child of 200 ms",
        10.0..1_000_000.0,
        rows.iter()
            .map(|row| (colour(row), Some(row.long.median / 1e3))),
    )?;
    bars(
        &right,
        "wake-ups per second of an idle wait",
        0.01..1_000.0,
        rows.iter().map(|row| {
            let idle = row.idle.as_ref();
            (colour(row), idle.map(|idle| idle.wakeups_per_second))
        }),
    )?;
    root.present()?;
    Ok(())
}

/// One bar below the other, from a logarithmic scale's beginning.
fn bars(
    area: &Area<'_>,
    title: &str,
    scale: Range<f64>,
    values: impl Iterator<Item = (RGBColor, Option<f64>)>,
) -> Result<(), Box<dyn Error>> {
    let (width, height) = area.dim_in_pixel();
    let (top, bottom) = (HEAD as i32, (height - FOOT) as i32);
    let axis: LogCoord<f64> = scale.clone().log_scale().into();
    // Some space for the figure beside the longest bar.
    let x = |value: f64| axis.map(&value, (0, width as i32 - 20));

    area.draw_text(title, &text_style(HPos::Left), (0, top / 2))?;
    let mut tick = scale.start;
    while tick < scale.end * 0.99 {
        let line = [(x(tick), top), (x(tick), bottom)];
        area.draw(&PathElement::new(line.to_vec(), TEXT.mix(0.35)))?;
        let place = (x(tick), bottom + FOOT as i32 / 2);
        area.draw_text(&figure(tick), &text_style(HPos::Center), place)?;
        tick *= 10.0;
    }
    for (i, (colour, value)) in values.enumerate() {
        let half = ROW as i32 / 2 - 4;
        let end = x(value.unwrap_or(scale.start));
        let corners = [(0, middle(i) - half), (end, middle(i) + half)];
        area.draw(&Rectangle::new(corners, colour.filled()))?;
        let text = value.map_or("has no timeout".into(), figure);
        area.draw_text(&text, &text_style(HPos::Left), (end + 5, middle(i)))?;
    }
    Ok(())
}

fn middle(row: usize) -> i32 {
    (HEAD + ROW * row as u32 + ROW / 2) as i32
}

fn text_style(horizontal: HPos) -> TextStyle<'static> {
    let style = TextStyle::from(("sans-serif", 16).into_font()).color(&TEXT);
    style.pos(Pos::new(horizontal, VPos::Center))
}

fn is_ours(row: &One) -> bool {
    row.contestant.label.contains("procwait")
}

fn colour(row: &One) -> RGBColor {
    match row.contestant.name {
        one::FLOOR | one::FLOOR_REAPING => FLOOR,
        _ if is_ours(row) => OURS,
        _ => OTHERS,
    }
}

fn figure(value: f64) -> String {
    match value {
        ..0.095 => format!("{value:.2}"),
        ..9.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
