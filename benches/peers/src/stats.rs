//! Medians and percentiles.

/// Of several measurements.
#[derive(Clone, Copy)]
pub struct Stats {
    pub median: f64,
    pub p99: f64,
}

impl Stats {
    pub fn of(values: &mut [f64]) -> Stats {
        Stats {
            median: median(values),
            p99: quantile(values, 0.99),
        }
    }
}

pub fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}
